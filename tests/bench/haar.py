"""The original's way: a Haar cascade on every frame, and every box becomes a PNG.

A program of its own, for OpenCV 5 has no cascades: `python -m tests.bench.haar PATH...` prints for
each video or folder of pictures a line of JSON: `ms` of one thread for each frame, and `boxes`,
each as frame (from 0), x, y, w, h.
"""

import json
import signal
import sys
import time
from pathlib import Path

import cv2

from tests.bench.pictures import pictures

_MODEL = "haarcascade_frontalface_default.xml"
_SCALE = 1.3
_NEIGHBOURS = 5


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # who asked for us says that it was stopped
    cv2.setNumThreads(1)
    cascade = cv2.CascadeClassifier(str(Path(cv2.__file__).parent / "data" / _MODEL))
    for path in sys.argv[1:]:
        ms = []
        boxes = []
        for number, picture in enumerate(pictures(Path(path))):
            begun = time.thread_time()
            grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
            found = cascade.detectMultiScale(grey, _SCALE, _NEIGHBOURS)
            for x, y, w, h in found:
                cv2.imencode(".png", picture[y : y + h, x : x + w])
            ms.append(1000 * (time.thread_time() - begun))
            boxes += [[number, *map(int, box)] for box in found]
        print(json.dumps({"ms": ms, "boxes": boxes}), flush=True)


if __name__ == "__main__":
    main()
