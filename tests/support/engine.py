"""A Docker engine for tests, and waiting for what runs on it; nothing of ours is imported here."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import IO, TypeVar

import pytest

from tests.support import waiting

ROOT = Path(__file__).resolve().parents[2]
T = TypeVar("T")


def needed(by: str) -> None:
    """Skip a whole file where no engine is in reach; in CI its tests run, and fail."""
    if os.environ.get("REQUIRE_ENGINE"):
        return
    if not shutil.which("docker") or not succeeds("docker", "info"):
        pytest.skip(f"NOT RUN: {by}", allow_module_level=True)


def run(
    *command: str,
    env: dict[str, str] | None = None,
    text: str | None = None,
    stdin: IO[bytes] | None = None,
) -> str:
    """What a command in this checkout prints, given `text` to read; a failure's word is shown."""
    ran = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | (env or {}),
        input=text,
        stdin=stdin,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert ran.returncode == 0, f"{' '.join(command[:6])}: {ran.stderr[-3000:]}"
    return ran.stdout


def succeeds(*command: str) -> bool:
    """Whether a command ends well; what it prints is not shown."""
    return subprocess.run(command, capture_output=True).returncode == 0


def until(what: Callable[[], T | None], seconds: float = 60) -> T:
    """The same with the patience that containers need."""
    return waiting.until(what, seconds, pause=0.5)
