"""A certificate authority of ours: its key, its certificate, and what it signs."""

from collections.abc import Iterable
from dataclasses import dataclass
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

from identity.files import FOR_ALL, OWNER_ONLY, write_whole

CA_VALID = timedelta(days=3650)
CRL_VALID = timedelta(days=3650)  # a list past its date refuses everybody
CLOCK_SKEW = timedelta(hours=1)  # a device's clock may be behind ours


class PkiError(Exception):
    """A certificate cannot be made or revoked; the text says why and what to do."""


@dataclass(frozen=True)
class Issuer:
    """Who signs, by EC P-256."""

    key: ec.EllipticCurvePrivateKey
    crt: x509.Certificate

    @classmethod
    def kept(cls, folder: Path, stem: str, *, name: str) -> "Issuer":
        """The one in STEM.key and STEM.crt, made there as `name` if neither is there.

        Raises PkiError if only one of the two is there, or the key is of another kind.
        """
        key_file = folder / f"{stem}.key"
        crt_file = folder / f"{stem}.crt"
        if key_file.exists() != crt_file.exists():
            raise PkiError(
                f"{folder} holds only one of {stem}.key and {stem}.crt:"
                " put the other back, or move the folder away"
            )
        if not crt_file.exists():
            made = _make(name)
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_whole(key_file, key_pem(made.key), mode=OWNER_ONLY)
            write_whole(crt_file, made.pem(), mode=FOR_ALL)
        key = load_pem_private_key(key_file.read_bytes(), password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise PkiError(f"{key_file} is no EC key: move {folder} away and enrol again")
        return cls(key, x509.load_pem_x509_certificate(crt_file.read_bytes()))

    def pem(self) -> bytes:
        """Its certificate, as files hold it."""
        return self.crt.public_bytes(Encoding.PEM)

    def client(
        self, name: str, key: ec.EllipticCurvePublicKey, *, valid: timedelta
    ) -> x509.Certificate:
        """The certificate of a client."""
        request = self._end_entity(name, key, valid=valid)
        request = _with_usage(request, ExtendedKeyUsageOID.CLIENT_AUTH)
        return request.sign(self.key, hashes.SHA256())

    def server(
        self,
        name: str,
        key: ec.EllipticCurvePublicKey,
        *,
        hosts: Iterable[str],
        valid: timedelta,
    ) -> x509.Certificate:
        """The certificate of a server with these names, and of the client of its health check."""
        request = self._end_entity(name, key, valid=valid)
        names = [_general_name(host) for host in dict.fromkeys(hosts)]
        request = request.add_extension(x509.SubjectAlternativeName(names), critical=False)
        request = _with_usage(
            request,
            ExtendedKeyUsageOID.CLIENT_AUTH,
            ExtendedKeyUsageOID.SERVER_AUTH,
        )
        return request.sign(self.key, hashes.SHA256())

    def revocations(self, serials: Iterable[int]) -> bytes:
        """The list (CRL, RFC 5280 section 5) of the certificates that are good no more, as PEM."""
        now = datetime.now(UTC)
        request = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.crt.subject)
            .last_update(self.crt.not_valid_before_utc)  # good by any clock by which we are
            .next_update(now + CRL_VALID)
        )
        for serial in serials:
            revoked = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now)
            request = request.add_revoked_certificate(revoked.build())
        return request.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM)

    def _end_entity(
        self, name: str, key: ec.EllipticCurvePublicKey, *, valid: timedelta
    ) -> x509.CertificateBuilder:
        """A certificate that signs no other."""
        subject = _common_name(name)
        request = _builder(subject=subject, issuer=self.crt.subject, key=key, valid=valid)
        request = request.add_extension(
            x509.BasicConstraints(ca=False, path_length=None),
            critical=True,
        )
        return request.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()),
            critical=False,
        )


def new_key() -> ec.EllipticCurvePrivateKey:
    """A key for a certificate."""
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A private key, as files hold it."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _make(name: str) -> Issuer:
    """Make a CA that signs certificates of devices, and no other CA."""
    key = new_key()
    called = _common_name(name)
    request = _builder(subject=called, issuer=called, key=key.public_key(), valid=CA_VALID)
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
    return Issuer(key, request.sign(key, hashes.SHA256()))


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
