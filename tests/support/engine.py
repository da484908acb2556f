"""A Docker engine for tests, and waiting for what runs on it; nothing of ours is imported here."""

import os
import shutil
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from tests.support import waiting


def needed(by: str) -> None:
    """Skip a whole file where no engine is in reach; in CI its tests run, and fail."""
    there = (
        shutil.which("docker")
        and subprocess.run(["docker", "info"], capture_output=True).returncode == 0
    )
    if not there and not os.environ.get("REQUIRE_ENGINE"):
        pytest.skip(f"NOT RUN: {by}", allow_module_level=True)


def until(what: Callable[[], Any], seconds: float = 60) -> Any:
    """The same with the patience that containers need."""
    return waiting.until(what, seconds, pause=0.5)
