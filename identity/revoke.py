"""Shut an edge out, whose certificate is stolen or whose device is gone: ./just revoke NAME.

./just revoke --containers NAME and ./just revoke --demo NAME do it in those that run here.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bus.message import ContractError
from identity.access_rules import FOLDER
from identity.authority import Authority
from identity.issuer import PkiError


@dataclass
class Options(argparse.Namespace):
    """What was typed."""

    names: Sequence[str]
    pki: Path


def main() -> None:
    """Revoke each NAME and say what is to be done then."""
    parser = argparse.ArgumentParser(
        "./just revoke",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="+", metavar="NAME", help="an edge's name")
    parser.add_argument(
        "--pki",
        type=Path,
        default=Path("pki"),
        help="the CA's folder (%(default)s)",
    )
    chosen = Options(**vars(parser.parse_args()))
    if not chosen.pki.is_dir():
        sys.exit(f"{chosen.pki} is not there: run this where the CA is, or name it by --pki")
    try:
        revoke(chosen.names, pki=chosen.pki)
    except (PkiError, ContractError, ValueError, OSError) as error:
        sys.exit(str(error))
    print("It holds once the cloud broker reads that again:")
    print('docs/operating.md, "A stolen certificate", has the line for each place.')


def revoke(names: Sequence[str], pki: Path) -> None:
    """Shut edges out and say so; raises PkiError, ContractError."""
    authority = Authority(pki)
    for name in names:
        many = authority.revoke(name)
        print(f"{name}: certificates revoked: {many}")
    print(f"{pki / FOLDER}: cloud.acl, crl.pem")


if __name__ == "__main__":
    main()
