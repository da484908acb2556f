"""A Docker engine for tests, and waiting with a deadline; nothing of ours is imported here."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest


def needed(by: str) -> None:
    """Skip a whole file where no engine is in reach; in CI its tests run, and fail."""
    there = shutil.which("docker") and subprocess.run(["docker", "info"], capture_output=True).returncode == 0
    if not there and not os.environ.get("REQUIRE_ENGINE"):
        pytest.skip(f"NOT RUN: {by}", allow_module_level=True)


def until(what: Callable[[], Any], seconds: float = 60) -> Any:
    """The first true value of `what`; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (value := what()):
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.5)
    return value
