"""Disks of a trial's own: made in a file, mounted, filled."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.chaos.trial import TrialError

MB = 1024 * 1024


def make(image: Path, megabytes: int) -> None:
    """An empty file system in a file."""
    image.touch()
    os.truncate(image, megabytes * MB)
    _run("mkfs.ext4", "-q", "-F", "-m", "0", str(image))


def mount(place: Path, *what: str) -> None:
    """Mount at `place` what the arguments of mount(8) say."""
    if os.geteuid():
        raise TrialError("needs root, for a disk of its own")
    place.mkdir(parents=True, exist_ok=True)
    _run("mount", *what, str(place))


def unmount(place: Path) -> None:
    """Take it away, though files of it may be open."""
    _run("umount", "--lazy", str(place))


@contextmanager
def mounted(place: Path, *what: str) -> Iterator[None]:
    """The same for a while."""
    mount(place, *what)
    try:
        yield
    finally:
        unmount(place)


def fill(place: Path, leave_mb: int = 0) -> None:
    """Take what is free on the disk at `place` by a file `ballast`, but for a little."""
    with suppress(OSError), (place / "ballast").open("wb", buffering=0) as out:
        while shutil.disk_usage(place).free > leave_mb * MB:
            out.write(bytes(65536))


def _run(*command: str) -> None:
    ran = subprocess.run(command, capture_output=True, text=True)
    if ran.returncode:
        raise TrialError(f"{' '.join(command)}: {ran.stderr.strip() or ran.returncode}")
