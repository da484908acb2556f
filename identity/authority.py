"""A private CA and the certificates it gives: the name in a certificate is an edge's identity."""

import os
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from bus.topics import checked

# Names with a role of their own; every other is an edge.
BROKER = "cloud-broker"
PROCESSOR = "processor"

CA_VALID = timedelta(days=3650)
VALID = timedelta(days=730)
CLOCK_SKEW = timedelta(hours=1)  # a device's clock may be behind ours
BROKER_HOSTS = (BROKER, "localhost", "127.0.0.1")

OWNER_ONLY = 0o600
FOR_ALL = 0o644


class PkiError(Exception):
    """A certificate cannot be made; the text says why and what to do."""


class Authority:
    """The CA in `folder`, made there on first use: EC P-256, keys readable by their owner only.

    Raises PkiError if the folder holds half a CA, or one whose key is of another kind.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        key_file = folder / "ca.key"
        crt_file = folder / "ca.crt"
        if key_file.exists() != crt_file.exists():
            raise PkiError(
                f"{folder} holds only one of ca.key and ca.crt:"
                " put the other back, or move the folder away"
            )
        if not crt_file.exists():
            _make_authority(key_file, crt_file)
        key = load_pem_private_key(key_file.read_bytes(), password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise PkiError(f"{key_file} is no EC key: move {folder} away and enrol again")
        self._key = key
        self._crt = x509.load_pem_x509_certificate(crt_file.read_bytes())

    def has(self, name: str) -> bool:
        """Whether the bundle of `name` is there."""
        return (self._folder / name / "tls.key").exists()

    def issue(
        self,
        name: str,
        hosts: Iterable[str] = (),
        *,
        force: bool = False,
        valid: timedelta = VALID,
    ) -> Path:
        """Make the bundle of `name` below the CA's folder and return its folder.

        The bundle is ca.crt, tls.crt, tls.key and, of an edge, edge.env. `cloud-broker` gets a
        server's certificate, for `hosts` too. Raises ContractError for what is no name, PkiError
        if the bundle is there already and not `force`.
        """
        folder = self._folder / checked(name, "NAME")
        if self.has(name) and not force:
            raise PkiError(
                f"{folder} is there already: use it, or --force to replace its certificate"
            )
        key = ec.generate_private_key(ec.SECP256R1())
        request = _builder(
            subject=_common_name(name),
            issuer=self._crt.subject,
            key=key.public_key(),
            valid=valid,
        )
        request = _as_end_entity(request, issuer=self._key.public_key())
        if name == BROKER:
            request = _as_server(request, hosts=(*BROKER_HOSTS, *hosts))
        else:
            request = _with_usage(request, ExtendedKeyUsageOID.CLIENT_AUTH)
        crt = request.sign(self._key, hashes.SHA256())

        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_whole(folder / "tls.key", _key_pem(key), mode=OWNER_ONLY)
        write_whole(folder / "tls.crt", _crt_pem(crt), mode=FOR_ALL)
        write_whole(folder / "ca.crt", _crt_pem(self._crt), mode=FOR_ALL)
        if name not in (BROKER, PROCESSOR):
            write_whole(folder / "edge.env", f"EDGE={name}\n".encode(), mode=FOR_ALL)
        return folder


def write_whole(file: Path, content: bytes, *, mode: int) -> None:
    """Write whole or not at all, and never readable by others for a moment."""
    fresh = file.with_name(f".{file.name}.new")
    fresh.unlink(missing_ok=True)
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(handle, "wb") as out:
        out.write(content)
    fresh.replace(file)


def _make_authority(key_file: Path, crt_file: Path) -> None:
    """Make a CA that signs certificates of devices, and no other CA."""
    key_file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    key = ec.generate_private_key(ec.SECP256R1())
    name = _common_name("Facebridge CA")
    request = _builder(subject=name, issuer=name, key=key.public_key(), valid=CA_VALID)
    request = request.add_extension(
        x509.BasicConstraints(ca=True, path_length=0),
        critical=True,
    )
    request = request.add_extension(
        x509.KeyUsage(
            digital_signature=False,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=True,
            crl_sign=True,
            encipher_only=False,
            decipher_only=False,
        ),
        critical=True,
    )
    crt = request.sign(key, hashes.SHA256())
    write_whole(key_file, _key_pem(key), mode=OWNER_ONLY)
    write_whole(crt_file, _crt_pem(crt), mode=FOR_ALL)


def _builder(
    *,
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    valid: timedelta,
) -> x509.CertificateBuilder:
    """What every certificate of ours has."""
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + valid)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _as_end_entity(
    request: x509.CertificateBuilder,
    issuer: ec.EllipticCurvePublicKey,
) -> x509.CertificateBuilder:
    """A certificate that signs no other."""
    request = request.add_extension(
        x509.BasicConstraints(ca=False, path_length=None),
        critical=True,
    )
    return request.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer),
        critical=False,
    )


def _as_server(
    request: x509.CertificateBuilder,
    hosts: Iterable[str],
) -> x509.CertificateBuilder:
    """A certificate of a server with these names, and of the client that its health check is."""
    names = [_general_name(host) for host in dict.fromkeys(hosts)]
    request = request.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return _with_usage(
        request,
        ExtendedKeyUsageOID.CLIENT_AUTH,
        ExtendedKeyUsageOID.SERVER_AUTH,
    )


def _with_usage(
    request: x509.CertificateBuilder,
    *usages: x509.ObjectIdentifier,
) -> x509.CertificateBuilder:
    return request.add_extension(x509.ExtendedKeyUsage(usages), critical=False)


def _common_name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _crt_pem(crt: x509.Certificate) -> bytes:
    return crt.public_bytes(Encoding.PEM)
