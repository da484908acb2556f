"""A seq that an outbox never goes below again, whatever becomes of its file."""

import os
from dataclasses import dataclass
from pathlib import Path

from bus.topics import CameraId

BLOCK = 100  # seqs that are reserved at once, so that a capture rarely costs a second fsync


@dataclass(frozen=True)
class HighWaterMark:
    """No seq above `seq` was ever given, the outbox was opened `life` times, and whose it is."""

    seq: int
    life: int
    camera_id: CameraId

    @classmethod
    def read(cls, file: Path) -> "HighWaterMark | None":
        """What was written last; None where there is nothing, or the disk has spoilt it."""
        try:
            seq, life, edge, camera = file.read_text(encoding="ascii").split()
            return cls(int(seq), int(life), CameraId(edge, camera))
        except (OSError, ValueError):
            return None

    def write(self, file: Path) -> None:
        """Have it on the disk; raises OSError."""
        fresh = file.with_name(f"{file.name}.new")
        with fresh.open("w", encoding="ascii") as out:
            out.write(f"{self.seq} {self.life} {self.camera_id.edge} {self.camera_id.camera}\n")
            out.flush()
            os.fsync(out.fileno())
        fresh.replace(file)
        sync_folder(file.parent)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk; raises OSError."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
