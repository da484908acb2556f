"""The cloud half on an EC2 instance, with a bucket of its own: ./just ec2 up|status|down.

Tried against moto, which stands in for AWS; it has not met a real AWS account yet.
"""

import argparse
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache, partial
from ipaddress import IPv4Network
from pathlib import Path
from typing import NoReturn

from botocore import exceptions
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError
from rich.console import Console
from rich.table import Table

from deploy.archive import Parcel
from deploy.aws import (
    PORT,
    SILENT,
    TYPE,
    UBUNTU,
    Address,
    Aws,
    AwsError,
    Bucket,
    Group,
    Instance,
    Order,
    Role,
    Row,
)
from identity.authority import BROKER, PROCESSOR, Authority, PkiError

SSH = 22
NOT_AWS = "it may not be AWS that answers: check AWS_ENDPOINT_URL and HTTPS_PROXY"
THINGS = ("bucket", "role", "instance profile", "security group", "instance", "address")


class Progress:
    """What has been changed so far, and what was about to be."""

    def __init__(self) -> None:
        self._done: list[str] = []
        self._begun = ""

    def through(self, rows: Iterable[Row]) -> None:
        """Make the calls of a plan one after the other, and say each that is done."""
        for row in rows:
            if row.call:
                verb = row.what.split(":")[0]
                self._begun = f"{verb} {row.thing} {row.id}".removesuffix(" -")
                made = row.call()
                done = f"{verb} {row.thing} {made}" if isinstance(made, str) else self._begun
                self._done, self._begun = (
                    [*self._done, done],
                    "",
                )  # at once: Ctrl-C does not come in between
                print(f"done: {done}", file=sys.stderr)

    def __str__(self) -> str:
        if not (self._done or self._begun):
            return "nothing was changed"
        begun = [f"perhaps in part: {self._begun}"] * bool(self._begun)
        return f"done so far: {', '.join(self._done) or 'nothing'}; {'; '.join([*begun, 'the same command goes on'])}"


def up(aws: Aws, chosen: argparse.Namespace, progress: Progress) -> None:
    """Make what is missing, change what differs, and say how edges get there."""
    bucket = Bucket(aws, chosen.bucket)
    role, group = Role(aws, bucket), Group(aws)
    instance = Instance(aws, bucket, role, group)
    address = Address(aws, instance)
    pack = cache(lambda: Parcel(chosen.pki, bucket.name, aws.region))
    order = Order(
        chosen.type, chosen.ami, chosen.key, chosen.replace, _version(chosen.pki, pack), pack
    )
    wanted = {(PORT, str(network)) for network in chosen.allow} | {
        (SSH, str(network)) for network in chosen.ssh
    }
    identities = _identities(chosen.pki)
    for row in identities:
        if not row.well:
            raise AwsError(row.what)
    rows = [*identities, *bucket.up(), *role.up(), *group.up(wanted), *instance.up(order)]
    rows += address.up(renewed=rows[-1].what.startswith("make"))
    if _agreed(rows, chosen, f"{aws.name} in {aws.region}: what up does"):
        progress.through(rows)
    if not chosen.dry_run:
        print(
            f"the cloud broker: {address.ip}:{PORT}; a new instance takes some minutes: ./just ec2 status"
        )
        print(
            f"next: ./just enroll edge-07; then CLOUD_ADDRESS={address.ip} in compose/.env on the device,"
        )
        print(
            "or, with k3s, the EndpointSlice form in k8s/edge/cloud.yaml, with this address and port 8883"
        )


def status(aws: Aws, chosen: argparse.Namespace, _: Progress) -> None:
    """Show what there is; exit with 1 unless all of it is there and well."""
    bucket = Bucket(aws)
    role, group = Role(aws, bucket), Group(aws)
    instance = Instance(aws, bucket, role, group)
    pack = cache(lambda: Parcel(chosen.pki, bucket.name, aws.region))
    rows = [*bucket.status(), *role.status(), *group.status()]
    rows += [*instance.status(_version(chosen.pki, pack)), *Address(aws, instance).status()]
    if not rows:
        sys.exit(f"nothing of {aws.name} in {aws.region}: ./just ec2 up")
    there = {row.thing for row in rows}
    rows += [
        Row(thing, "-", "missing: ./just ec2 up makes it", well=False)
        for thing in THINGS
        if thing not in there
    ]
    rows += [row for row in _identities(chosen.pki) if not row.well]
    _show(rows, f"{aws.name} in {aws.region}")
    if any(row.what.endswith(SILENT) for row in rows):
        print(
            f"{PORT} {SILENT}: a new instance builds for some minutes after up; /var/log/cloud-init-output.log"
        )
        print("there says how far it is; and is the network that you ask from in --allow?")
    sys.exit(not all(row.well for row in rows))


def down(aws: Aws, chosen: argparse.Namespace, progress: Progress) -> None:
    """Remove what up made, from the instance to the bucket."""
    bucket = Bucket(aws)
    role, group = Role(aws, bucket), Group(aws)
    instance = Instance(aws, bucket, role, group)
    rows = [*instance.down(), *Address(aws, instance).down(), *group.down(), *role.down()]
    rows += bucket.down(chosen.delete_faces)
    if not rows:
        print(f"nothing of {aws.name} in {aws.region}")
    elif _agreed(rows, chosen, f"{aws.name} in {aws.region}: what down does"):
        progress.through(rows)


def _identities(pki: Path) -> list[Row]:
    """What the broker and the processor are to be known by; made here, for the CA is here."""
    rows = []
    for name in (BROKER, PROCESSOR):
        files = [pki / name / "tls.key", pki / name / "tls.crt", pki / "ca.crt"]
        missing = [file for file in files if not file.exists()]
        row = Row("identity", f"{pki}/{name}", "keep")
        if files[0] in missing and files[1] in missing:
            row = replace(
                row, what="make", call=partial(lambda name: Authority(pki).issue(name), name)
            )
        elif missing:
            # Not for ca.crt: another CA would be one that no edge knows.
            another = f", or ./just enroll {name} --force" * (files[2] not in missing)
            row = replace(row, what=f"{missing[0]} is missing: put it back{another}", well=False)
        rows.append(row)
    return rows


def _version(pki: Path, pack: Callable[[], Parcel]) -> str | None:
    """What this checkout would run, once there are identities."""
    return pack().version if all(row.what == "keep" for row in _identities(pki)) else None


def _show(rows: Iterable[Row], title: str) -> None:
    table = Table("", "name", "", title=title)
    for row in rows:
        table.add_row(row.thing, row.id, row.what)
    Console().print(table)


def _agreed(rows: list[Row], chosen: argparse.Namespace, title: str) -> bool:
    """Show the plan, and say whether there is something to do and it is wanted."""
    _show(rows, title)
    if not any(row.call for row in rows):
        print("no change")
        return False
    if chosen.which == "up":
        print(
            "an instance, its disk, its address and the bucket cost money at AWS, until ./just ec2 down"
        )
    if chosen.dry_run:
        print("nothing was changed (--dry-run)")
        return False
    if not chosen.yes and not sys.stdin.isatty():
        raise AwsError("there is no terminal to ask on: --yes goes on")
    if not chosen.yes and input("go on? [y/N] ").strip().lower() not in ("y", "yes"):
        raise AwsError("not wanted")
    return True


def _said(error: Exception) -> str:
    """An error in one line, with what to do next."""
    text = " ".join(str(error).split())
    match error:
        case exceptions.NoRegionError():
            return "which region? --region eu-central-1, or AWS_DEFAULT_REGION, or aws configure"
        case exceptions.NoCredentialsError() | exceptions.PartialCredentialsError():
            return f"AWS: {text}: aws configure, or set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        case exceptions.ConnectionError() | exceptions.HTTPClientError():
            return f"AWS: {text}: check the network, --region and AWS_ENDPOINT_URL"
        case ClientError():
            code, call = error.response["Error"]["Code"], error.operation_name
            text = re.sub(
                r"\s*Encoded authorization failure message:.*",
                "",
                error.response["Error"]["Message"],
            )
            what = f"AWS says no to {call}: {' '.join(text.split())} ({code})"
            if re.search("AccessDenied|Unauthorized|Forbidden", code):
                return f"{what}: ask for the right to {call}, or set another AWS_PROFILE"
            if re.search("Token|Signature|AuthFailure|AccessKeyId|Credential", code):
                return f"{what}: log in again, or check AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            if code == "IdempotentParameterMismatch":
                return f"{what}: another up was just there: wait five minutes"
            if "LimitExceeded" in code:
                return f"{what}: free some, or ask for more in Service Quotas"
            return what if code and not code.isdigit() else f"{what}: {NOT_AWS}"
        case ResponseParserError():
            return f"AWS: {text[:60]}...: {NOT_AWS}"
        case BotoCoreError():
            return f"AWS: {text}: check the settings in ~/.aws and AWS_*"
    return text


def _name(text: str) -> str:
    if not re.fullmatch("(?!sg-)[a-z][a-z0-9-]{0,31}", text):
        raise argparse.ArgumentTypeError(
            "a-z, 0-9 and '-', led by a letter, at most 32, not sg-..."
        )
    return text


def _bucket(text: str) -> str:
    if not re.fullmatch("[a-z0-9][a-z0-9-]{1,61}[a-z0-9]", text):
        raise argparse.ArgumentTypeError("3 to 63 of a-z, 0-9 and '-', not '-' first or last")
    return text


def _network(text: str) -> IPv4Network:
    try:
        return IPv4Network(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{error}; an IPv4 network is written as 203.0.113.0/24"
        ) from None


class _Parser(argparse.ArgumentParser):
    """Says in one line what is wrong."""

    def error(self, message: str) -> NoReturn:
        sys.exit(f"{message} ({self.prog} --help shows all)")


def main() -> None:
    """Set the cloud half up at AWS, show it, or take it down."""
    common = _Parser(add_help=False)
    common.add_argument(
        "--name", type=_name, default="facebridge", help="its name and tag (%(default)s)"
    )
    common.add_argument("--region", help="(AWS's own settings)")
    pki = _Parser(add_help=False)
    pki.add_argument("--pki", type=Path, default=Path("pki"), help="the CA's folder (%(default)s)")
    change = _Parser(add_help=False)
    change.add_argument("--dry-run", action="store_true", help="show the plan and end")
    change.add_argument("--yes", action="store_true", help="do not ask")
    parser = _Parser("./just ec2", description=__doc__)
    which = parser.add_subparsers(dest="which", required=True, metavar="up|status|down")
    making = which.add_parser(
        "up", parents=[common, pki, change], help="make it, or bring it up to date"
    )
    making.add_argument("--bucket", type=_bucket, help="for the faces; needed the first time")
    making.add_argument("--allow", type=_network, action="append", required=True, metavar="CIDR",
                        help=f"who may reach {PORT}: your edges' networks; may be repeated")  # fmt: skip
    making.add_argument(
        "--ssh", type=_network, action="append", default=[], metavar="CIDR", help="who may log in"
    )
    making.add_argument("--key", metavar="NAME", help="with which EC2 key pair")
    making.add_argument("--type", help=f"of the instance, arm64 or amd64 ({TYPE})")
    making.add_argument(
        "--ami",
        metavar="PARAMETER",
        help=f"the SSM parameter that names it ({UBUNTU.format('...')})",
    )
    making.add_argument(
        "--replace", action="store_true", help="make another instance if it is not as wanted"
    )
    which.add_parser("status", parents=[common, pki], help="show what there is")
    ending = which.add_parser(
        "down", parents=[common, change], help="remove it; a bucket with faces in it stays"
    )
    ending.add_argument(
        "--delete-faces", action="store_true", help="the bucket too, with all faces in all versions"
    )
    chosen = parser.parse_args()
    if chosen.which == "up" and bool(chosen.ssh) != bool(chosen.key):
        parser.error("--ssh CIDR and --key NAME go together")
    progress = Progress()
    try:
        {"up": up, "status": status, "down": down}[chosen.which](
            Aws(chosen.name, chosen.region), chosen, progress
        )
    except (KeyboardInterrupt, EOFError):
        sys.exit(f"stopped; {progress}")
    except (AwsError, PkiError, BotoCoreError, ClientError, ResponseParserError, OSError) as error:
        sys.exit(f"{_said(error)}; {progress}" if chosen.which != "status" else _said(error))


if __name__ == "__main__":
    main()
