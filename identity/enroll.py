"""Make the certificate of an edge, of the processor or of the cloud broker: ./just enroll NAME."""

import argparse
import json
import sys
from datetime import timedelta
from pathlib import Path

from bus.message import ContractError
from identity.authority import BROKER, PROCESSOR, Authority, PkiError


def main() -> None:
    """Enrol NAME and say what was made."""
    parser = argparse.ArgumentParser("./just enroll", description=__doc__)
    parser.add_argument(
        "names", nargs="+", metavar="NAME", help=f"an edge's name, or {PROCESSOR}, or {BROKER}"
    )
    parser.add_argument(
        "--host", action="append", default=[], help=f"a further name or address of {BROKER}"
    )
    parser.add_argument("--days", type=int, default=730, help="how long it is valid (%(default)s)")
    parser.add_argument(
        "--force", action="store_true", help="replace the certificate that is there"
    )
    parser.add_argument("--keep", action="store_true", help="leave the certificate that is there")
    parser.add_argument(
        "--format", choices=["files", "k8s"], default="files", help="k8s: print a Secret"
    )
    parser.add_argument(
        "--pki", type=Path, default=Path("pki"), help="the CA's folder (%(default)s)"
    )
    chosen = parser.parse_args()
    if chosen.host and BROKER not in chosen.names:
        sys.exit(f"--host: only {BROKER} has hosts")
    if chosen.format == "k8s" and len(set(chosen.names) - {BROKER, PROCESSOR}) > 1:
        sys.exit(
            "--format k8s: one edge at a time, for in each cluster its Secret has the same name"
        )
    if not 1 <= chosen.days <= 3650:
        sys.exit("--days: 1 to 3650")
    try:
        authority = Authority(chosen.pki)
        for name in chosen.names:
            hosts = tuple(chosen.host) if name == BROKER else ()
            if not (
                authority.has(name)
                and (chosen.keep or (chosen.format == "k8s" and not chosen.force))
            ):
                authority.issue(name, hosts, chosen.force, timedelta(days=chosen.days))
            elif chosen.format == "files":
                continue
            folder = chosen.pki / name
            if chosen.format == "k8s":
                print("---", _secret(name, folder), sep="\n")
                continue
            role = {BROKER: "the cloud broker", PROCESSOR: "the processors"}.get(
                name, f"edge {name}"
            )
            print(f"{folder}: {', '.join(sorted(file.name for file in folder.iterdir()))}")
            print(f"Whoever has its tls.key is {role}. Keep {chosen.pki}/ca.key off every device.")
    except (PkiError, ContractError, ValueError, OSError) as error:
        sys.exit(str(error))


def _secret(name: str, folder: Path) -> str:
    """The Secret that the manifests expect for this name."""
    files = {file: (folder / file).read_text() for file in ("ca.crt", "tls.crt", "tls.key")}
    cloud = name in (BROKER, PROCESSOR)
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": name if cloud else "edge",
            "namespace": "facebridge-cloud" if cloud else "facebridge",
        },
        "type": "Opaque",
        "stringData": files if cloud else {**files, "EDGE": name},
    }
    return json.dumps(secret, indent=2)  # which is YAML too


if __name__ == "__main__":
    main()
