"""Make the certificate of an edge, of the processor or of the cloud broker: ./just enroll NAME."""

import argparse
import sys
from datetime import timedelta
from pathlib import Path

from bus.message import ContractError
from local.pki import BROKER, PROCESSOR, Authority, PkiError


def main() -> None:
    """Enrol NAME and say what was made."""
    parser = argparse.ArgumentParser("./just enroll", description=__doc__)
    parser.add_argument("names", nargs="+", metavar="NAME", help=f"an edge's name, or {PROCESSOR}, or {BROKER}")
    parser.add_argument("--host", action="append", default=[], help=f"a further name or address of {BROKER}")
    parser.add_argument("--days", type=int, default=730, help="how long it is valid (%(default)s)")
    parser.add_argument("--force", action="store_true", help="replace the certificate that is there")
    parser.add_argument("--keep", action="store_true", help="leave the certificate that is there")
    parser.add_argument("--pki", type=Path, default=Path("pki"), help="the CA's folder (%(default)s)")
    chosen = parser.parse_args()
    if chosen.host and BROKER not in chosen.names:
        sys.exit(f"--host: only {BROKER} has hosts")
    if not 1 <= chosen.days <= 3650:
        sys.exit("--days: 1 to 3650")
    try:
        authority = Authority(chosen.pki)
        for name in chosen.names:
            if chosen.keep and authority.has(name):
                continue
            hosts = tuple(chosen.host) if name == BROKER else ()
            folder = authority.issue(name, hosts, chosen.force, timedelta(days=chosen.days))
            role = {BROKER: "the cloud broker", PROCESSOR: "the processors"}.get(name, f"edge {name}")
            print(f"{folder}: {', '.join(sorted(file.name for file in folder.iterdir()))}")
            print(f"Whoever has its tls.key is {role}. Keep {chosen.pki}/ca.key off every device.")
    except (PkiError, ContractError, ValueError, OSError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
