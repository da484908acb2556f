"""Whom the cloud broker lets in, and to what: its access rules and the revoked certificates.

They have a folder of their own, because a broker that runs reads them again at a SIGHUP.
"""

from collections.abc import Iterable
from pathlib import Path

from identity.files import FOR_ALL, OWNER_ONLY, write_whole
from identity.issuer import Issuer
from identity.register import Entry

FOLDER = "access_rules"
ACL = "cloud.acl"
CRL = "crl.pem"
_SHIPPED = Path(__file__).resolve().parent.parent / "mosquitto" / ACL
_SHUT_OUT = "\nuser {name}\ntopic deny #\n"


class AccessRules:
    """The folder `access_rules` of a CA."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / FOLDER

    def write(self, entries: Iterable[Entry], issuer: Issuer, *, revoked_more: bool) -> None:
        """Write what follows from the register; the list of revoked ones is signed only for more.

        Who is shut out loses a connection that he has, too: a name whose newest certificate is
        revoked is denied every topic.
        """
        entries = list(entries)
        newest = {entry.name: entry for entry in entries}
        text = _SHIPPED.read_text()
        for name in sorted(newest):
            if newest[name].revoked:
                text += _SHUT_OUT.format(name=name)
        self._folder.mkdir(exist_ok=True, mode=0o700)
        acl = self._folder / ACL
        if not acl.exists() or acl.read_text() != text:
            write_whole(acl, text.encode(), mode=OWNER_ONLY)
        crl = self._folder / CRL
        if revoked_more or not crl.exists():
            serials = [int(entry.serial, base=16) for entry in entries if entry.revoked]
            write_whole(crl, issuer.revocations(serials), mode=FOR_ALL)
