"""What up, status and down make of what is there: rows of a table, with the calls behind them."""

import socket
from argparse import Namespace
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import Any

from deploy.archive import Archive
from deploy.bucket import ARCHIVES
from deploy.errors import AwsError
from deploy.site import PORT, Row, Site, identities, places, rules
from deploy.stack import STUCK, Stack

TYPE = "t4g.small"
SILENT = "does not answer"
WITHOUT_STACK = "a version without a stack made it"
ANSWER_S = 2
ROLE = {"Role": "role", "InstanceProfile": "instance profile"}
PARTS = {**ROLE, "SecurityGroup": "security group", "Instance": "instance", "Address": "address"}


def up(site: Site, chosen: Namespace) -> list[Row]:
    """Make what is missing, change what differs. Raises AwsError for what cannot be done."""
    if not site.bucket.name:
        raise AwsError(
            "--bucket NAME is missing: the first up makes it, "
            "with a name that nobody in the world has"
        )
    rows = identities(chosen.pki)
    for row in rows:
        if not row.well:
            raise AwsError(row.what)
    stack = site.stack
    networks = places("Allow", chosen.allow) | places("Ssh", chosen.ssh)
    machine = _machine(site, chosen)
    if stack.state == STUCK:
        rows.append(Row("stack", stack.name, "change: end its rollback", stack.mend))
    if stack.usable:
        rows.append(Row("stack", stack.name, "keep"))
    else:
        if stack.state:
            rows.append(Row("stack", stack.name, f"remove: {stack.state}", stack.delete))
        make = partial(stack.change, networks | machine | _given(site), renewed=True)
        rows.append(Row("stack", stack.name, "make", make))
    rows.append(Row("bucket", site.bucket.name, _kept(there=site.bucket.there)))
    for name, thing in ROLE.items():
        id = stack.resources.get(name, "-")
        rows.append(Row(thing, id, _kept(there=id != "-")))
    rows.append(_group(stack, networks))
    rows += _instance(site, chosen, machine)
    rows.append(Row("address", site.address(), _kept(there=site.address() != "-")))
    return rows + [_old(site, id) for id in site.old_instances]


def _given(site: Site) -> dict[str, str]:
    """Parameters for what is there already, so that a new stack leaves it outside of itself."""
    if not site.aws.ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]:
        raise AwsError(
            f"{site.aws.region} has no default VPC: aws ec2 create-default-vpc, or --region"
        )
    return {
        "BucketName": site.bucket.name,
        "MakeBucket": "no" if site.bucket.there else "yes",
        "ExistingAddress": next(iter(site.old_addresses.values()), ""),
    }


def _machine(site: Site, chosen: Namespace) -> dict[str, str]:
    """Parameters for the instance that is wanted, whether or not it is to be made."""
    live = site.instance
    kind = chosen.type or (live["InstanceType"] if live else TYPE)
    if chosen.key:
        site.aws.ec2.describe_key_pairs(KeyNames=[chosen.key])  # which says so if there is none
    return {**site.aws.image(kind, chosen.ami), "Key": chosen.key or ""}


def _group(stack: Stack, networks: dict[str, str]) -> Row:
    """The security group; it alone changes without another instance."""
    wanted = set(rules(networks))
    if not stack.usable:
        return Row("security group", "-", f"make: {', '.join(sorted(wanted))}")
    there = set(rules(stack.parameters))
    signs = [f"+ {rule}" for rule in sorted(wanted - there)]
    signs += [f"- {rule}" for rule in sorted(there - wanted)]
    id = stack.resources.get("SecurityGroup", "-")
    if not signs:
        return Row("security group", id, "keep")
    change = partial(stack.change, networks, renewed=False)
    return Row("security group", id, f"change: {' '.join(signs)}", change)


def _instance(site: Site, chosen: Namespace, machine: dict[str, str]) -> list[Row]:
    """The archive and the instance: kept, started or made, also in place of another."""
    version = site.version(chosen.pki)
    live = site.instance
    if live is None:
        return _made(site, chosen.pki, machine)
    id = live["InstanceId"]
    unlike = _unlike(live, machine)
    if version != site.stack.parameters["Archive"]:
        unlike.append("it runs something older than this checkout")
    if unlike and chosen.replace:
        return _made(site, chosen.pki, machine, instead=f", and {id} goes")
    if machine["Key"] not in ("", live.get("KeyName")):
        # Or ssh would be open for nothing, or for another key.
        raise AwsError(f"{id} lacks the key {chosen.key}: --replace, or leave --ssh and --key out")
    why = f"; {' and '.join(unlike)}: --replace makes another" if unlike else ""
    if live["State"]["Name"] == "stopped":
        return [Row("instance", id, f"change: start{why}", partial(site.aws.start, id))]
    return [Row("instance", id, f"keep{why}")]


def _unlike(live: dict[str, Any], machine: dict[str, str]) -> list[str]:
    """How the machine is not as wanted."""
    unlike = []
    if machine["Type"] != live["InstanceType"]:
        unlike.append(f"it is a {live['InstanceType']}")
    if machine["Key"] not in ("", live.get("KeyName")):
        unlike.append("its ssh key is another")
    return unlike


def _made(site: Site, pki: Path, machine: dict[str, str], instead: str = "") -> list[Row]:
    """The archive is put into the bucket, then comes the instance that fetches it."""

    @cache
    def archive() -> Archive:
        return Archive(pki, site.bucket.name, site.aws.region)

    def put() -> str:
        site.bucket.put(archive())
        return archive().key

    def make() -> str:
        packed = {"Archive": archive().version, "ArchiveUrl": site.bucket.url(archive())}
        site.stack.change(machine | packed, renewed=True)
        return site.stack.resources["Instance"]

    return [
        Row("archive", f"{ARCHIVES}{site.version(pki) or '*'}.tar", "make", put),
        Row("instance", "-", f"make: {machine['Type']}{instead}", make),
    ]


def status(site: Site, pki: Path) -> list[Row]:
    """How it is; what is missing too, unless there is nothing at all."""
    rows = _there(site, pki)
    if not rows:
        return []
    there = {row.thing for row in rows}
    for thing in ("stack", "bucket", *PARTS.values()):
        if thing not in there:
            rows.append(Row(thing, "-", "missing: ./just ec2 up makes it", well=False))
    return rows + [row for row in identities(pki) if not row.well]


def _there(site: Site, pki: Path) -> list[Row]:
    """How what is there is."""
    stack = site.stack
    rows = []
    if stack.state:
        well = stack.usable and stack.state.endswith("_COMPLETE")
        rows.append(Row("stack", stack.name, stack.state, well=well))
    if site.bucket.there:
        rows.append(Row("bucket", site.bucket.name, "there"))
    words = dict.fromkeys(ROLE, "there")
    words["SecurityGroup"] = ", ".join(sorted(rules(stack.parameters)))
    for name, what in words.items():
        if name in stack.resources:
            rows.append(Row(PARTS[name], stack.resources[name], what))
    if site.instance:
        rows.append(_running(site, site.instance, site.version(pki)))
    if site.address() != "-":
        rows.append(_reached(site))
    for id in site.old_instances:
        rows.append(Row("instance", id, f"{WITHOUT_STACK}; up removes it", well=False))
    return rows


def _running(site: Site, live: dict[str, Any], version: str | None) -> Row:
    """The instance: its state, and whether it runs what is in this checkout."""
    runs = "what cannot be told without pki/"
    if version:
        same = site.stack.parameters["Archive"] == version
        runs = "this checkout" if same else "something older"
    state = live["State"]["Name"]
    what = f"{state}, {live['InstanceType']}, runs {runs}"
    return Row("instance", live["InstanceId"], what, well=state == "running")


def _reached(site: Site) -> Row:
    """The address: whose it is, and whether a broker answers there."""
    ip = site.address()
    owner = site.aws.owner(ip)
    if not site.instance or owner != site.instance["InstanceId"]:
        what = f"of {owner or 'no instance'}; up gives it to ours"
        return Row("address", ip, what, well=False)
    well = answers(ip)
    now = "answers" if well else SILENT
    return Row("address", ip, f"of {owner}; {PORT} {now}", well=well)


def down(site: Site, *, delete_faces: bool) -> list[Row]:
    """Remove the stack and what of ours is outside; a bucket in use only with `delete_faces`."""
    stack, bucket, aws = site.stack, site.bucket, site.aws
    rows = []
    if stack.state:
        for name, thing in PARTS.items():
            if name in stack.resources:
                rows.append(Row(thing, stack.resources[name], "remove"))
        rows.append(Row("stack", stack.name, "remove", stack.delete))
    rows += [_old(site, id) for id in site.old_instances]
    for ip, id in site.old_addresses.items():
        rows.append(Row("address", ip, "remove", partial(aws.release, id)))
    if not bucket.there:
        return rows
    what, holds = bucket.held()
    if delete_faces or not holds:
        prefix = "" if delete_faces else ARCHIVES
        remove = partial(bucket.remove, prefix)
        return [*rows, Row("bucket", bucket.name, f"remove: {what}", remove)]
    kept = f"keep: {what}, with all versions; --delete-faces removes it and them"
    if bucket.has_archives():
        rows.append(Row("archives", f"{ARCHIVES}*", "remove", partial(bucket.clear, ARCHIVES)))
    return [*rows, Row("bucket", bucket.name, kept)]


def _old(site: Site, id: str) -> Row:
    return Row("instance", id, f"remove: {WITHOUT_STACK}", partial(site.aws.terminate, id))


def answers(ip: str) -> bool:
    """Whether something listens where edges look for the broker."""
    with suppress(OSError), socket.create_connection((ip, PORT), ANSWER_S):
        return True
    return False


def _kept(*, there: bool) -> str:
    return "keep" if there else "make"
