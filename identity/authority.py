"""A private CA and the certificates it gives: the name in a certificate is an edge's identity."""

import os
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

BROKER, PROCESSOR = (
    "cloud-broker",
    "processor",
)  # names with a role of their own; every other is an edge


class PkiError(Exception):
    """A certificate cannot be made; the text says why and what to do."""


class Authority:
    """The CA in `folder`, made there on first use: EC P-256, keys readable by their owner only."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        key_file, crt_file = folder / "ca.key", folder / "ca.crt"
        if key_file.exists() != crt_file.exists():
            raise PkiError(
                f"{folder} holds only one of ca.key and ca.crt: put the other back, or move the folder away"
            )
        if not crt_file.exists():
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            key = ec.generate_private_key(ec.SECP256R1())
            name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Facebridge CA")])
            usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
            crt = (
                _builder(name, name, key.public_key(), timedelta(days=3650))
                .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
                .add_extension(usage, critical=True)
                .sign(key, hashes.SHA256())
            )
            _write(key_file, _pem(key), 0o600)
            _write(crt_file, crt.public_bytes(Encoding.PEM), 0o644)
        loaded = load_pem_private_key(key_file.read_bytes(), None)
        if not isinstance(loaded, ec.EllipticCurvePrivateKey):
            raise PkiError(f"{key_file} is no EC key: move {folder} away and enrol again")
        self._key, self._crt = loaded, x509.load_pem_x509_certificate(crt_file.read_bytes())

    def has(self, name: str) -> bool:
        """Whether the bundle of `name` is there."""
        return (self._folder / name / "tls.key").exists()

    def issue(
        self,
        name: str,
        hosts: tuple[str, ...] = (),
        force: bool = False,
        valid: timedelta = timedelta(days=730),
    ) -> Path:
        """Make the bundle of `name` below the CA's folder and return its folder: ca.crt, tls.crt, tls.key, edge.env.

        `cloud-broker` gets a server's certificate, for `hosts` too. Raises ContractError for what is no name, PkiError
        if the bundle is there already and not `force`.
        """
        folder = self._folder / checked(name, "NAME")
        if self.has(name) and not force:
            raise PkiError(
                f"{folder} is there already: use it, or --force to replace its certificate"
            )
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        roles = [ExtendedKeyUsageOID.CLIENT_AUTH]
        if name == BROKER:
            roles.append(ExtendedKeyUsageOID.SERVER_AUTH)  # and a client, of its own health check
        builder = _builder(subject, self._crt.subject, key.public_key(), valid)
        builder = builder.add_extension(
            x509.BasicConstraints(ca=False, path_length=None), critical=True
        )
        builder = builder.add_extension(x509.ExtendedKeyUsage(roles), critical=False)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = builder.add_extension(issuer, critical=False)
        if name == BROKER:
            names = [
                _general(host) for host in dict.fromkeys((BROKER, "localhost", "127.0.0.1", *hosts))
            ]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        _write(folder / "tls.key", _pem(key), 0o600)
        _write(
            folder / "tls.crt",
            builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM),
            0o644,
        )
        _write(folder / "ca.crt", self._crt.public_bytes(Encoding.PEM), 0o644)
        if name not in (BROKER, PROCESSOR):
            _write(folder / "edge.env", f"EDGE={name}\n".encode(), 0o644)
        return folder


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, valid: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))  # a device's clock may be behind ours
        .not_valid_after(now + valid)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _general(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write(file: Path, content: bytes, mode: int) -> None:
    """Write whole or not at all, and never readable by others for a moment."""
    fresh = file.with_name(f".{file.name}.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as out:
        out.write(content)
    fresh.replace(file)
