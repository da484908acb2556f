"""The cloud half on an EC2 instance, with a bucket of its own: ./just ec2 up|status|down.

Tried against moto, which stands in for AWS; it has not met a real AWS account yet.
"""

import argparse
import re
import sys
from functools import partial
from ipaddress import IPv4Network
from pathlib import Path
from typing import NoReturn

from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError
from rich.console import Console
from rich.table import Table

from deploy import plan
from deploy.aws import UBUNTU, Aws
from deploy.errors import AwsError, said
from deploy.plan import SILENT, TYPE
from deploy.site import PORT, Row, Site
from identity.issuer import PkiError


class Progress:
    """What has been changed so far, and what was about to be."""

    def __init__(self) -> None:
        self._done: list[str] = []
        self._begun = ""

    def through(self, rows: list[Row]) -> None:
        """Make the calls of a plan one after the other, and say each that is done."""
        for row in rows:
            if row.call is None:
                continue
            verb = row.what.split(":")[0]
            self._begun = f"{verb} {row.thing} {row.id}".removesuffix(" -")
            made = row.call()
            done = f"{verb} {row.thing} {made}" if made else self._begun
            # At once: Ctrl-C does not come in between.
            self._done, self._begun = [*self._done, done], ""
            print(f"done: {done}", file=sys.stderr)

    def __str__(self) -> str:
        if not (self._done or self._begun):
            return "nothing was changed"
        parts = [f"done so far: {', '.join(self._done) or 'nothing'}"]
        if self._begun:
            parts.append(f"perhaps in part: {self._begun}")
        return "; ".join([*parts, "the same command goes on"])


def up(aws: Aws, chosen: argparse.Namespace, progress: Progress) -> None:
    """Make what is missing, change what differs, and say how edges get there."""
    site = Site(aws, wanted_bucket=chosen.bucket, settled=True)
    rows = plan.up(site, chosen)
    if _agreed(rows, chosen, f"{aws.name} in {aws.region}: what up does"):
        progress.through(rows)
    if chosen.dry_run:
        return
    ip = site.address()
    print(f"the cloud broker: {ip}:{PORT}; a new instance takes some minutes: ./just ec2 status")
    print(f"next: ./just enroll edge-07; then CLOUD_ADDRESS={ip} in compose/.env on the device,")
    print(
        "or, with k3s, the EndpointSlice form in k8s/edge/cloud.yaml, "
        "with this address and port 8883"
    )


def status(aws: Aws, chosen: argparse.Namespace, _: Progress) -> None:
    """Show what there is; exit with 1 unless all of it is there and well."""
    rows = plan.status(Site(aws), chosen.pki)
    if not rows:
        sys.exit(f"nothing of {aws.name} in {aws.region}: ./just ec2 up")
    _show(rows, f"{aws.name} in {aws.region}")
    if any(row.what.endswith(SILENT) for row in rows):
        print(
            f"{PORT} {SILENT}: a new instance builds for some minutes after up; "
            "/var/log/cloud-init-output.log"
        )
        print("there says how far it is; and is the network that you ask from in --allow?")
    sys.exit(not all(row.well for row in rows))


def down(aws: Aws, chosen: argparse.Namespace, progress: Progress) -> None:
    """Remove what up made, from the instance to the bucket."""
    rows = plan.down(Site(aws, settled=True), delete_faces=chosen.delete_faces)
    if not rows:
        print(f"nothing of {aws.name} in {aws.region}")
    elif _agreed(rows, chosen, f"{aws.name} in {aws.region}: what down does"):
        progress.through(rows)


def _show(rows: list[Row], title: str) -> None:
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
            "an instance, its disk, its address and the bucket cost money at AWS, "
            "until ./just ec2 down"
        )
    if chosen.dry_run:
        print("nothing was changed (--dry-run)")
        return False
    if not chosen.yes and not sys.stdin.isatty():
        raise AwsError("there is no terminal to ask on: --yes goes on")
    if not chosen.yes and input("go on? [y/N] ").strip().lower() not in ("y", "yes"):
        raise AwsError("not wanted")
    return True


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
        hint = f"{error}; an IPv4 network is written as 203.0.113.0/24"
        raise argparse.ArgumentTypeError(hint) from None


class _Parser(argparse.ArgumentParser):
    """Says in one line what is wrong."""

    def error(self, message: str) -> NoReturn:
        sys.exit(f"{message} ({self.prog} --help shows all)")


def _parser() -> _Parser:
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
    option = making.add_argument
    network = partial(option, type=_network, action="append", metavar="CIDR")
    network(
        "--allow",
        required=True,
        help=f"who may reach {PORT}: your edges' networks; may be repeated",
    )
    network("--ssh", default=[], help="who may log in")
    option("--bucket", type=_bucket, help="for the faces; needed the first time")
    option("--key", metavar="NAME", help="with which EC2 key pair")
    option("--type", help=f"of the instance, arm64 or amd64 ({TYPE})")
    option(
        "--ami",
        metavar="PARAMETER",
        help=f"the SSM parameter that names it ({UBUNTU.format('...')})",
    )
    option("--replace", action="store_true", help="make another instance if it is not as wanted")
    which.add_parser("status", parents=[common, pki], help="show what there is")
    ending = which.add_parser(
        "down", parents=[common, change], help="remove it; a bucket with faces in it stays"
    )
    ending.add_argument(
        "--delete-faces", action="store_true", help="the bucket too, with all faces in all versions"
    )
    return parser


def main() -> None:
    """Set the cloud half up at AWS, show it, or take it down."""
    parser = _parser()
    chosen = parser.parse_args()
    if chosen.which == "up" and bool(chosen.ssh) != bool(chosen.key):
        parser.error("--ssh CIDR and --key NAME go together")
    progress = Progress()
    try:
        command = {"up": up, "status": status, "down": down}[chosen.which]
        command(Aws(chosen.name, chosen.region), chosen, progress)
    except (KeyboardInterrupt, EOFError):
        sys.exit(f"stopped; {progress}")
    except (AwsError, PkiError, BotoCoreError, ClientError, ResponseParserError, OSError) as error:
        sys.exit(said(error) if chosen.which == "status" else f"{said(error)}; {progress}")


if __name__ == "__main__":
    main()
