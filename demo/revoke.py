"""Shut an edge out of the demo that runs: ./just revoke --demo NAME."""

import os
import signal
import sys

from bus.message import ContractError
from demo import folder
from demo.processes import PID
from demo.stack import StackError
from identity.issuer import PkiError
from identity.revoke import revoke


def main() -> None:
    """Revoke each NAME in the demo's own CA, and have its cloud broker know it."""
    names = sys.argv[1:]
    if not names or names[0].startswith("-"):
        sys.exit("usage: ./just revoke --demo NAME...")
    pki = folder.FOLDER / "pki"
    if not pki.is_dir():
        sys.exit("there is no demo here: ./just demo --keep")
    try:
        revoke(names, pki=pki)
        with folder.alone():
            print("no demo runs: it holds when the next one goes on with this one")
    except StackError:  # one runs
        _tell_the_broker()
    except (PkiError, ContractError, OSError) as error:
        sys.exit(str(error))


def _tell_the_broker() -> None:
    pid = folder.FOLDER / "cloud-broker" / PID
    try:
        os.kill(int(pid.read_text()), signal.SIGHUP)
    except (FileNotFoundError, ProcessLookupError):
        print("the demo's cloud broker does not run yet; it will know it")
    else:
        print("the demo's cloud broker knows it")


if __name__ == "__main__":
    main()
