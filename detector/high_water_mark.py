"""How far an outbox has come, in a file of its own, for when the outbox's file has forgotten it."""

import os
from dataclasses import dataclass
from pathlib import Path

from bus.topics import CameraId

BLOCK = 100  # seqs that are reserved at once, so that a capture rarely costs a second fsync
_DIGITS = 10


@dataclass(frozen=True)
class HighWaterMark:
    """No seq above `reserved` was ever given; those up to `given` were, and maybe more.

    The outbox was opened `life` times, and is the camera's.
    """

    given: int
    reserved: int
    life: int
    camera_id: CameraId

    @classmethod
    def read(cls, file: Path) -> "HighWaterMark | None":
        """What was written last; None where there is nothing, or the disk has spoilt it."""
        try:
            given, reserved, life, edge, camera = file.read_text(encoding="ascii").split()
            return cls(int(given), int(reserved), int(life), CameraId(edge, camera))
        except (OSError, ValueError):
            return None

    def write(self, file: Path) -> None:
        """Have it on the disk; raises OSError."""
        fresh = file.with_name(f"{file.name}.new")
        with fresh.open("w", encoding="ascii") as out:
            words = (_padded(self.given), self.reserved, self.life, *self.camera_id)
            out.write(" ".join(str(word) for word in words) + "\n")
            out.flush()
            os.fsync(out.fileno())
        fresh.replace(file)
        sync_folder(file.parent)


def note_given(file: Path, seq: int) -> None:
    """Note in place, without waiting for the disk, that `seq` was given; raises OSError."""
    with file.open("r+", encoding="ascii") as out:
        out.write(_padded(seq))


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk; raises OSError."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _padded(seq: int) -> str:
    return f"{seq:0{_DIGITS}d}"
