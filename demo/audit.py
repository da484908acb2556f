"""The audit of the last demo, with its store running or not: ./just audit demo."""

import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from audit.__main__ import main as audit
from demo.stack import Stack, StackError, answers
from detector.outbox_reader import Ledger, LedgerError


def main() -> None:
    """Audit what the demo in RUN (.run/demo) left: its outbox, or, so asked, its bucket alone."""
    folder = Path(os.environ.get("RUN", ".run/demo"))
    outbox = folder / "detector" / "outbox.db"
    words = sys.argv[1:]
    if words[:1] != ["bucket"]:
        words = ["outbox", str(outbox.resolve()), *words]
    try:
        Ledger.read(outbox)
        with Stack(folder) as stack, _store(stack) as url:
            _look_at(url, stack.keys)
            audit(words)
    except (LedgerError, StackError, OSError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("stopped; nothing was changed")


@contextmanager
def _store(stack: Stack) -> Iterator[str]:
    """The URL of the demo's store, which runs for as long as this does."""
    running = stack.folder / "store.url"
    with (stack.folder / "store.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a second audit waits, for a store has one server
        if running.exists() and answers(running.read_text()):
            yield running.read_text()
        else:
            stack.start("store")
            yield stack.s3_url


def _look_at(url: str, keys: dict[str, str]) -> None:
    """Make this process's AWS the store at `url`, and nothing of the user's own."""
    for name in list(os.environ):
        if name.startswith("AWS_"):
            del os.environ[name]
    os.environ.update(keys, AWS_ENDPOINT_URL_S3=url, AWS_DEFAULT_REGION="us-east-1")


if __name__ == "__main__":
    main()
