"""Where the captures of a running demo are, for people to watch."""

import time

from rich.console import Console
from rich.live import Live
from rich.table import Table

from demo.stack import PARTS, Stack, StackError
from detector.outbox_reader import Ledger

_LOOK_EVERY_S = 0.25
_SAY_EVERY_S = 5.0  # where there is no terminal
_PER_SECOND = 4


def watch(stack: Stack, console: Console) -> None:
    """Show where the captures are until the detector has ended and every receipt is home.

    Raises StackError as soon as a part has ended that should not have.
    """
    said_at = 0.0
    with Live(
        console=console,
        refresh_per_second=_PER_SECOND,
        transient=not console.is_terminal,
    ) as live:
        while True:
            code = stack.ended("detector")
            link = _link(stack)
            ledger = Ledger.read(stack.outbox)
            live.update(_table(ledger, link))
            if not console.is_terminal and time.monotonic() - said_at > _SAY_EVERY_S:
                said_at = time.monotonic()
                print(_line(ledger, link))
            _check(stack)
            if code == 0:
                return
            time.sleep(_LOOK_EVERY_S)


def _link(stack: Stack) -> str:
    """Whether the cloud is in reach; a detector that has ended had it to its end."""
    if stack.ended("detector") is not None:
        return "up"
    if stack.metric("detector", "facebridge_link_up"):
        return "up"
    return "down"


def _check(stack: Stack) -> None:
    for part in PARTS:
        code = stack.ended(part)
        has_done_its_work = part == "detector" and code == 0
        if code is not None and not has_done_its_work:
            raise StackError(stack.obituary(part))


def _table(ledger: Ledger, link: str) -> Table:
    table = Table("captured", "on the way", "stored", "quarantined", "link")
    table.add_row(
        str(ledger.captured),
        str(ledger.waiting),
        str(ledger.stored),
        str(ledger.given_up("quarantined")),
        link,
    )
    return table


def _line(ledger: Ledger, link: str) -> str:
    return (
        f"captured {ledger.captured}, on the way {ledger.waiting}, "
        f"stored {ledger.stored}, link {link}"
    )
