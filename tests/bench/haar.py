"""The original's way: a Haar cascade on every frame (scale 1.3, 5 neighbours), and every box becomes a PNG.

A program of its own, for OpenCV 5 has no cascades: `python -m tests.bench.haar PATH...` prints for each video or folder
of pictures a line of JSON: `ms` of one thread for each frame, and `boxes`, each as frame (from 0), x, y, w, h.
"""

import json
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2

from detector.eye.camera import PICTURES


def pictures(path: Path) -> Iterator[Any]:
    """The pictures (BGR, h x w x 3, uint8) of a video, or of a folder by name."""
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix.lower() in PICTURES)
        yield from (picture for file in files if (picture := cv2.imread(str(file))) is not None)
        return
    video = cv2.VideoCapture(str(path))
    while (got := video.read())[0]:
        yield got[1]


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # who asked for us says that it was stopped
    cv2.setNumThreads(1)
    cascade = cv2.CascadeClassifier(
        str(Path(cv2.__file__).parent / "data" / "haarcascade_frontalface_default.xml")
    )
    for path in sys.argv[1:]:
        ms, boxes = [], []
        for number, picture in enumerate(pictures(Path(path))):
            begun = time.thread_time()
            found = cascade.detectMultiScale(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), 1.3, 5)
            for x, y, w, h in found:
                cv2.imencode(".png", picture[y : y + h, x : x + w])
            ms.append(1000 * (time.thread_time() - begun))
            boxes += [[number, *map(int, box)] for box in found]
        print(json.dumps({"ms": ms, "boxes": boxes}), flush=True)


if __name__ == "__main__":
    main()
