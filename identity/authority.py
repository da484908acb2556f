"""The private CAs and the certificates they give: the name in one is an edge's identity."""

from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from bus.topics import checked
from identity.access_rules import AccessRules
from identity.files import FOR_ALL, OWNER_ONLY, write_whole
from identity.issuer import Issuer, PkiError, key_pem, new_key
from identity.register import Register

# Names with a role of their own; every other is an edge.
BROKER = "cloud-broker"
PROCESSOR = "processor"
SERVICES = (BROKER, PROCESSOR)

SERVICES_CRT = "services.crt"
VALID = timedelta(days=730)
BROKER_HOSTS = (BROKER, "localhost", "127.0.0.1")


class Authority:
    """The CAs in `folder`, made there on first use: EC P-256, keys readable by their owner only.

    `ca` is for edges and the cloud broker. `services` is for processors alone, so that no edge's
    certificate opens their listener. Raises PkiError if the folder holds half of one, or a key of
    another kind.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._edges = Issuer.kept(folder, "ca", name="Facebridge CA")
        self._services = Issuer.kept(folder, "services", name="Facebridge services CA")
        self._register = Register(folder / "register.csv")
        self._rules = AccessRules(folder)

    def has(self, name: str) -> bool:
        """Whether the bundle of `name` is there."""
        return (self._folder / name / "tls.key").exists()

    def keep(self, name: str, hosts: Iterable[str] = (), *, valid: timedelta = VALID) -> bool:
        """Make the bundle of `name` if it is not there, or is an older version's.

        Returns whether anything was made. A cloud broker keeps its key and certificate.
        """
        if not self.has(name):
            self.issue(name, hosts, valid=valid)
            return True
        self._remember(name)
        self._write_rules()
        if is_current(self._folder, name):
            return False
        if name == BROKER:
            write_whole(self._folder / BROKER / SERVICES_CRT, self._services.pem(), mode=FOR_ALL)
        else:
            self.issue(name, force=True, valid=valid)
        return True

    def issue(
        self,
        name: str,
        hosts: Iterable[str] = (),
        *,
        force: bool = False,
        valid: timedelta = VALID,
    ) -> Path:
        """Make the bundle of `name` below the CA's folder and return its folder.

        The bundle is ca.crt, tls.crt, tls.key, of an edge also edge.env, of the cloud broker also
        services.crt, which tells it who is a processor. `cloud-broker` gets a server's certificate,
        for `hosts` too. Raises ContractError for what is no name, PkiError if the bundle is there
        already and not `force`.
        """
        folder = self._folder / checked(name, "NAME")
        if self.has(name) and not force:
            raise PkiError(
                f"{folder} is there already: use it, or --force to replace its certificate"
            )
        self._remember(name)
        key = new_key()
        crt = self._signed(name, key.public_key(), hosts=(*BROKER_HOSTS, *hosts), valid=valid)
        self._register.add(crt, name)

        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_whole(folder / "tls.key", key_pem(key), mode=OWNER_ONLY)
        write_whole(folder / "tls.crt", crt.public_bytes(Encoding.PEM), mode=FOR_ALL)
        write_whole(folder / "ca.crt", self._edges.pem(), mode=FOR_ALL)
        if name == BROKER:
            write_whole(folder / SERVICES_CRT, self._services.pem(), mode=FOR_ALL)
        if name not in SERVICES:
            write_whole(folder / "edge.env", f"EDGE={name}\n".encode(), mode=FOR_ALL)
        self._write_rules()
        return folder

    def revoke(self, name: str) -> int:
        """Shut an edge out; returns how many certificates of it are good no more.

        A cloud broker that runs knows it once it has the access rules and gets a SIGHUP. Raises
        ContractError for what is no name, PkiError for one that has no certificate of an edge.
        """
        checked(name, "NAME")
        if name in SERVICES:
            raise PkiError(
                f"{name} is no edge: move {self._folder}/services.key and services.crt away, then"
                f" ./just enroll {BROKER} {PROCESSOR} --force"
            )
        self._remember(name)
        revoked = self._register.revoke(name)
        if not revoked:
            raise PkiError(
                f"{name} was never enrolled in {self._folder}: its register.csv says who was"
            )
        self._write_rules(revoked_more=True)
        return revoked

    def _signed(
        self,
        name: str,
        key: ec.EllipticCurvePublicKey,
        *,
        hosts: Iterable[str],
        valid: timedelta,
    ) -> x509.Certificate:
        if name == BROKER:
            return self._edges.server(name, key, hosts=hosts, valid=valid)
        if name == PROCESSOR:
            return self._services.client(name, key, valid=valid)
        return self._edges.client(name, key, valid=valid)

    def _remember(self, name: str) -> None:
        """Write down a certificate that an older version made."""
        crt = self._folder / name / "tls.crt"
        if crt.exists():
            self._register.add(x509.load_pem_x509_certificate(crt.read_bytes()), name)

    def _write_rules(self, *, revoked_more: bool = False) -> None:
        self._rules.write(self._register.entries(), self._edges, revoked_more=revoked_more)


def is_current(folder: Path, name: str) -> bool:
    """Whether the bundle of `name` in a CA's folder is as this version makes it."""
    if name not in SERVICES:
        return True
    services = folder / SERVICES_CRT
    if not services.exists():
        return False
    if name == BROKER:
        own = folder / BROKER / SERVICES_CRT
        return own.exists() and own.read_bytes() == services.read_bytes()
    crt = x509.load_pem_x509_certificate((folder / name / "tls.crt").read_bytes())
    try:
        crt.verify_directly_issued_by(x509.load_pem_x509_certificate(services.read_bytes()))
    except (ValueError, InvalidSignature):
        return False
    return True
