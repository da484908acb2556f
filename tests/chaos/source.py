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
from tests.chaos.commits import Commits
from tests.support.captures import png

FRAME_SIZE = (640, 480)
FRAME = np.zeros((480, 640, 3), np.uint8)
BOX = (10, 10, 64, 64)
BEHIND_AT_MOST_S = 1  # what a hang has missed beyond it is not made up for


def picture(size: int) -> bytes:
    """A PNG of little more than `size` bytes that no other has."""
    return png(width=64, height=64, filler=random.randbytes(size))


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
    return picture(random.randint(int(least), int(most)))


class ReportedOutbox(Outbox):
    """Reports each commit."""

    def add(self, shot: Shot) -> Capture | None:
        capture = super().add(shot)
        if capture:
            Commits(Path(os.environ["COMMITS"])).add(capture)
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
