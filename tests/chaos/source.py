"""The real detector, but for its frames and faces: pictures of random bytes at a steady rate, each commit reported.

Settings of its own, beside the detector's: RATE (captures a second), SIZES (bytes, as `least-most`), COMMITS (a file
that gets a line `seq sha256` for each capture that the outbox has committed), QUIET (a file whose presence ends the
source, so that the detector drains its outbox and ends).
"""

import os
import random
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from cv2.typing import MatLike

import bus.log
import detector.__main__ as program
from bus.capture import Capture
from detector.camera import Frame
from detector.faces import Face
from detector.outbox import Outbox
from detector.settings import Settings

_HEAD, _END = (
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x40\0\0\0\x40\x08\2\0\0\0\0\0\0\0",
    b"\0\0\0\0IEND\xaeB`\x82",
)
_FRAME = np.zeros((480, 640, 3), np.uint8)
FACTS: dict[str, Any] = {
    "box": (10, 10, 64, 64),
    "frame": (640, 480),
    "score": 0.9,
    "quality": 0.8,
    "shot": 1,
}


def png(size: int) -> bytes:
    """What the contract takes for a PNG, of about `size` bytes that no other has."""
    return _HEAD + random.randbytes(max(size - len(_HEAD) - len(_END), 8)) + _END


def report(file: Path, capture: Capture) -> None:
    """Tell the world outside that a capture is committed."""
    with file.open("a") as out:
        out.write(f"{capture.seq} {capture.sha256}\n")


def _frames(_: Settings, stop: threading.Event) -> Iterator[Frame]:
    due, step = time.monotonic(), 1 / float(os.environ["RATE"])
    while not (stop.is_set() or Path(os.environ["QUIET"]).exists()):
        yield Frame(_FRAME, datetime.now(UTC), time.monotonic())
        due = max(due + step, time.monotonic() - 1)  # what a hang has missed is not made up for
        stop.wait(max(due - time.monotonic(), 0))


class _Faces:
    """One face; with MODE=best it is another one every four seconds, each better from sight to sight."""

    def __init__(self, *_: Any) -> None:
        pass

    def find(self, _: MatLike) -> list[Face]:
        passed = time.monotonic() % 4
        x = 10 if os.environ["MODE"] == "every" or time.monotonic() % 8 < 4 else 500
        return [Face((x, 10, 64, 64), 0.5 + passed / 10, np.zeros((5, 2)))]


class _Outbox(Outbox):
    def add(self, png: bytes, **facts: Any) -> Capture | None:
        capture = super().add(png, **facts)
        if capture:
            report(Path(os.environ["COMMITS"]), capture)
        return capture


def main() -> None:
    """Run the detector's own main program with these."""
    least, most = map(int, os.environ["SIZES"].split("-"))
    patched: dict[str, Any] = {"frames": _frames, "Faces": _Faces, "Outbox": _Outbox}
    patched["png"] = lambda _: png(random.randint(least, most))
    vars(program).update(patched)
    settings = Settings.load()
    bus.log.setup(settings.log_level)
    program.main(settings)


if __name__ == "__main__":
    main()
