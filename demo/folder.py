"""The demo's folder: one demo at a time, and nothing in it that still waits is thrown away."""

import fcntl
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256

from rich.console import Console

from demo.processes import PID
from demo.stack import ROOT, StackError
from detector.outbox_reader import Ledger

FOLDER = ROOT / ".run" / "demo"
OUTBOX = FOLDER / "detector" / "outbox.db"
CONTACT_SHEET = FOLDER / "sheet.html"
STORE_URL = FOLDER / "store.url"  # there while the demo's store runs
_UNFINISHED = FOLDER / "unfinished"  # there until all is delivered; says of which source


@contextmanager
def alone() -> Iterator[None]:
    """One demo at a time in a checkout; raises StackError."""
    FOLDER.parent.mkdir(exist_ok=True)
    with (FOLDER.parent / "demo.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StackError(
                "a demo is running already in this checkout: end it with Ctrl-C first"
            ) from None
        yield


@contextmanager
def store_locked() -> Iterator[None]:
    """Wait until no audit has the store running, and keep others from starting it."""
    with (FOLDER / "store.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def prepare(place: str, console: Console) -> None:
    """Make room for a demo on `place`, and mark it as unfinished.

    One that was interrupted on the same place is gone on with; one on another is put aside.
    """
    mark = sha256(place.encode()).hexdigest()  # a URL may hold a password
    if _UNFINISHED.exists() and _UNFINISHED.read_text() == mark:
        console.print(
            "going on where the last demo on this source was stopped",
            style="dim",
        )
    elif _UNFINISHED.exists() and OUTBOX.exists():
        _put_aside(console)
    else:
        shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True, exist_ok=True)
    for stale in FOLDER.glob(f"*/{PID}"):  # of a demo that was killed
        stale.unlink()
    _UNFINISHED.write_text(mark)


def finish() -> None:
    """Nothing waits any more: the next demo may begin anew."""
    _UNFINISHED.unlink()


def _put_aside(console: Console) -> None:
    waiting = Ledger.read(OUTBOX).waiting
    aside = FOLDER.with_name(f"demo-{time.strftime('%Y%m%d-%H%M%S')}")
    FOLDER.rename(aside)
    console.print(
        f"an unfinished demo on another source, {waiting} waiting, is kept in {aside}",
        soft_wrap=True,
    )
