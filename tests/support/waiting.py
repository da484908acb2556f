"""Waiting with a deadline; nothing of ours is imported here."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class TooLateError(AssertionError):
    """What was waited for did not come in time."""


def until(what: Callable[[], T | None], seconds: float = 20, pause: float = 0.02) -> T:
    """The first true value of `what`, asked every `pause` seconds; raises TooLateError."""
    deadline = time.monotonic() + seconds
    while True:
        value = what()
        if value:
            return value
        if time.monotonic() > deadline:
            raise TooLateError(f"not within {seconds:.0f} s")
        time.sleep(pause)
