"""Make the certificate of an edge, of the processor or of the cloud broker: ./just enroll NAME."""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from bus.message import ContractError
from identity import kustomization
from identity.authority import BROKER, PROCESSOR, VALID, Authority
from identity.issuer import PkiError

ROOT = Path(__file__).resolve().parent.parent
MAX_DAYS = 3650
ROLES = {BROKER: "the cloud broker", PROCESSOR: "the processors"}


@dataclass
class Options(argparse.Namespace):
    """What was typed."""

    names: Sequence[str]
    host: Sequence[str]
    days: int
    force: bool
    keep: bool
    format: str
    pki: Path


def main() -> None:
    """Enrol each NAME and say what was made."""
    chosen = _options()
    if chosen.host and BROKER not in chosen.names:
        sys.exit(f"--host: only {BROKER} has hosts")
    if not 1 <= chosen.days <= MAX_DAYS:
        sys.exit(f"--days: 1 to {MAX_DAYS}")
    try:
        authority = Authority(chosen.pki)
        for name in chosen.names:
            _enrol(name, authority=authority, chosen=chosen)
    except (PkiError, ContractError, ValueError, OSError) as error:
        sys.exit(str(error))


def _options() -> Options:
    parser = argparse.ArgumentParser("./just enroll", description=__doc__)
    parser.add_argument(
        "names",
        nargs="+",
        metavar="NAME",
        help=f"an edge's name, or {PROCESSOR}, or {BROKER}",
    )
    parser.add_argument(
        "--host",
        action="append",
        default=[],
        help=f"a further name or address of {BROKER}",
    )
    parser.add_argument(
        "--days",
        type=int,
        default=VALID.days,
        help="how long it is valid (%(default)s)",
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="replace the certificate that is there",
    )
    parser.add_argument(
        "--keep",
        action="store_true",
        help="leave the certificate that is there, unless an older version made it otherwise",
    )
    parser.add_argument(
        "--format",
        choices=["files", "k8s"],
        default="files",
        help=f"k8s: also write {kustomization.FILE}, which makes it a Secret",
    )
    parser.add_argument(
        "--pki",
        type=Path,
        default=Path("pki"),
        help="the CA's folder (%(default)s)",
    )
    return Options(**vars(parser.parse_args()))


def _enrol(name: str, authority: Authority, chosen: Options) -> None:
    """Make what is not there yet; for Kubernetes a certificate that is there is kept."""
    for_k8s = chosen.format == "k8s"
    hosts = chosen.host if name == BROKER else ()
    valid = timedelta(days=chosen.days)
    made = True
    if chosen.keep or (for_k8s and not chosen.force):
        made = authority.keep(name, hosts, valid=valid)
    else:
        authority.issue(name, hosts, force=chosen.force, valid=valid)
    folder = chosen.pki / name
    if for_k8s:
        kustomization.write(name, folder=folder)
    if made or for_k8s:
        _tell(name, folder=folder, for_k8s=for_k8s)


def _tell(name: str, folder: Path, *, for_k8s: bool) -> None:
    """Say what is there now; with `for_k8s` not to whom it is piped, which was kubectl once."""
    out = sys.stderr if for_k8s else sys.stdout
    role = ROLES.get(name, f"edge {name}")
    files = sorted(file.name for file in folder.iterdir())
    print(f"{folder}: {', '.join(files)}", file=out)
    print(
        f"Whoever has its tls.key is {role}. Keep {folder.parent}/ca.key and services.key off every"
        " device.",
        file=out,
    )
    if not for_k8s:
        return
    half = kustomization.half(name)
    resource = os.path.relpath(folder.resolve(), ROOT / "k8s" / half)
    print(f"Nothing is piped into kubectl: k8s/{half}/kustomization.yaml names it,", file=out)
    print(f"  - {resource}", file=out)
    print(f"and ./just deploy {half} --context NAME brings it along.", file=out)


if __name__ == "__main__":
    main()
