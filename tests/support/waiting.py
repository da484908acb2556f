"""Waiting with a deadline; nothing of ours is imported here."""

import time
from collections.abc import Callable
from typing import Any


def until(what: Callable[[], Any], seconds: float = 20, pause: float = 0.02) -> Any:
    """The first true value of `what`, asked every `pause` seconds; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (value := what()):
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(pause)
    return value
