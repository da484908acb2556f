"""What is there under one name, at AWS and in the CA's folder."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from ipaddress import IPv4Network, collapse_addresses
from itertools import zip_longest
from pathlib import Path

from deploy.archive import Archive
from deploy.aws import Aws
from deploy.bucket import Bucket
from deploy.errors import AwsError
from deploy.stack import Stack
from identity.authority import BROKER, PROCESSOR, Authority, is_current

PORT = 8883
# The template's places for networks: by the option, the port and how many there are.
NETWORKS = {"Allow": (PORT, 8), "Ssh": (22, 2)}


@dataclass(frozen=True)
class Row:
    """A thing, what becomes of it or how it is, the call for that, and whether all is well."""

    thing: str
    id: str
    what: str
    call: Callable[[], str | None] | None = None
    well: bool = True


class Site:
    """What is there under one name; `settled`: once an earlier run has ended at AWS too."""

    def __init__(
        self, aws: Aws, *, wanted_bucket: str | None = None, settled: bool = False
    ) -> None:
        self.aws = aws
        self.stack = Stack(aws)
        if settled:
            self.stack.settle()
        self.bucket = Bucket(aws, self.stack, wanted_bucket)
        self.instance = aws.instance(self.stack.resources.get("Instance", "-"))
        own = self.stack.resources.values()
        # With our tag, and not the stack's.
        self.old_instances = [id for id in aws.tagged_instances() if id not in own]
        self.old_addresses = {ip: id for ip, id in aws.tagged_addresses().items() if ip not in own}

    def address(self) -> str:
        """What edges have as CLOUD_ADDRESS."""
        return self.stack.resources.get("Address") or next(iter(self.old_addresses), "-")

    def version(self, pki: Path) -> str | None:
        """What this checkout would run, once there are identities."""
        if all(row.what == "keep" for row in identities(pki)):
            return Archive(pki, self.bucket.name, self.aws.region).version
        return None


def identities(pki: Path) -> list[Row]:
    """What the broker and the processor are to be known by; made here, for the CA is here."""
    rows = []
    for name in (BROKER, PROCESSOR):
        key, crt, ca = pki / name / "tls.key", pki / name / "tls.crt", pki / "ca.crt"
        missing = [file for file in (key, crt, ca) if not file.exists()]
        row = Row("identity", f"{pki}/{name}", "keep")
        if key in missing and crt in missing:
            row = replace(row, what="make", call=partial(_issue, pki, name))
        elif missing:
            # Not for ca.crt: another CA would be one that no edge knows.
            another = "" if ca in missing else f", or ./just enroll {name} --force"
            row = replace(row, what=f"{missing[0]} is missing: put it back{another}", well=False)
        elif not is_current(pki, name):
            row = replace(row, what="bring up to date", call=partial(_issue, pki, name))
        rows.append(row)
    return rows


def _issue(pki: Path, name: str) -> None:
    Authority(pki).keep(name)


def places(option: str, networks: list[IPv4Network]) -> dict[str, str]:
    """The networks of an option as parameters of the template, the rest of its places empty."""
    _, most = NETWORKS[option]
    wide = [str(network) for network in collapse_addresses(networks)]
    if len(wide) > most:
        raise AwsError(f"--{option.lower()}: {most} networks at most: name wider ones")
    names = [option, *(f"{option}{number}" for number in range(2, most + 1))]
    return dict(zip_longest(names, wide, fillvalue=""))


def rules(parameters: dict[str, str]) -> list[str]:
    """Whom these parameters let in where."""
    found = []
    for name, network in parameters.items():
        option = name.rstrip("0123456789")
        if network and option in NETWORKS:
            found.append(f"{NETWORKS[option][0]} from {network}")
    return found
