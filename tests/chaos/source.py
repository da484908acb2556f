"""The real detector, but for its camera and finder: random pictures at a steady rate.

Settings of its own, beside the detector's: RATE (captures a second), SIZES (bytes, as
`least-most`), COMMITS (a file that gets a line `seq sha256` for each capture that the outbox has
committed), QUIET (a file whose presence ends the source, so that the detector drains its outbox
and ends).
"""

import os
import random
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from cv2.typing import MatLike

from bus.capture import Capture
from bus.client import stopping
from bus.topics import CameraId
from detector.__main__ import Detector
from detector.eye.camera import Ended, Frame, Look
from detector.eye.faces import Face
from detector.eye.visits import Visits
from detector.outbox import Outbox
from detector.settings import Settings
from detector.shot import Shot
from tests.support import captures

FRAME = np.zeros((480, 640, 3), np.uint8)
BOX = (10, 10, 64, 64)
BEHIND_AT_MOST_S = 1  # what a hang has missed beyond it is not made up for


def png(size: int) -> bytes:
    """A PNG of about `size` bytes that no other has."""
    return captures.png(width=64, height=64, filler=random.randbytes(max(size - 180, 8)))


def shot(size: int) -> Shot:
    """A shot of about `size` bytes, of nobody in particular."""
    return Shot(
        png=png(size),
        captured_at=datetime.now(UTC),
        box=BOX,
        frame=(640, 480),
        score=0.9,
        quality=0.8,
        visit="chaos",
        number=1,
    )


def report(file: Path, capture: Capture) -> None:
    """Tell the world outside that a capture is committed."""
    with file.open("a") as out:
        out.write(f"{capture.seq} {capture.sha256}\n")


def _looks(stop: threading.Event) -> Iterator[Look]:
    step_s = 1 / float(os.environ["RATE"])
    due = time.monotonic()
    while not stop.is_set() and not Path(os.environ["QUIET"]).exists():
        yield Frame(FRAME, datetime.now(UTC), time.monotonic())
        due = max(due + step_s, time.monotonic() - BEHIND_AT_MOST_S)
        stop.wait(max(due - time.monotonic(), 0))
    yield Ended()


def _find(_: MatLike) -> list[Face]:
    """One face; with MODE=best another one every four seconds, better from sight to sight."""
    now = time.monotonic()
    box = BOX
    if os.environ["MODE"] == "best" and now % 8 >= 4:
        box = (500, 10, 64, 64)
    return [Face(box, 0.5 + now % 4 / 10, np.zeros((5, 2)))]


def _encode(_: MatLike) -> bytes:
    least, most = os.environ["SIZES"].split("-")
    return png(random.randint(int(least), int(most)))


class ReportedOutbox(Outbox):
    """Reports each commit."""

    def add(self, shot: Shot) -> Capture | None:
        capture = super().add(shot)
        if capture:
            report(Path(os.environ["COMMITS"]), capture)
        return capture


def main() -> None:
    """Run the detector with these."""
    settings = Settings.load()
    stop = stopping()
    outbox = ReportedOutbox(
        settings.outbox,
        CameraId(settings.edge, settings.camera),
        budget=settings.outbox_max_bytes,
        full=settings.outbox_full,
    )
    with closing(outbox):
        detector = Detector(
            settings,
            find=_find,
            visits=Visits(settings, encode=_encode),
            outbox=outbox,
            stop=stop,
        )
        detector.run(_looks(stop))


if __name__ == "__main__":
    main()
