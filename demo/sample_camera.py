"""A network camera for where there is none: plays the sample clip, then shows the empty room."""

import os
import time
from pathlib import Path

import cv2

import bus.log
from bus.client import stopping
from bus.log import log
from demo import sample
from demo.mjpeg import MjpegServer

_JPEG_QUALITY = 92
_EMPTY_S = 1 / 3  # at the clip's end nobody is there for at least so long


class Film:
    """The frames of a clip as JPEG, in time from the first look on.

    With `loop` the people come again and again; else it ends with the empty room.
    """

    def __init__(self, video: Path, *, loop: bool) -> None:
        capture = cv2.VideoCapture(str(video))
        self.fps = capture.get(cv2.CAP_PROP_FPS)
        self._loop = loop
        self._frames: list[bytes] = []
        while True:
            is_there, picture = capture.read()
            if not is_there:
                break
            self._frames.append(_jpeg(picture))
        self._began: float | None = None

    def frame(self, now: float) -> bytes:
        """What is to be seen at a time in seconds."""
        if self._began is None:
            self._began = now
        number = int((now - self._began) * self.fps)
        return self._frames[self._index(number)]

    def _index(self, number: int) -> int:
        count = len(self._frames)
        if self._loop:
            return number % count
        if number < count:
            return number
        empty = max(int(self.fps * _EMPTY_S), 1)
        return count - 1 - number % empty


def _jpeg(picture: cv2.typing.MatLike) -> bytes:
    _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return data.tobytes()


def main() -> None:
    """Serve the camera on HOST (127.0.0.1) and PORT (8080) until SIGTERM.

    The clip is kept in CLIP (.run/sample); with LOOP=1 its people come again.
    """
    stop = stopping()
    bus.log.setup("INFO")
    host = os.environ.get("HOST", "127.0.0.1")
    port = int(os.environ.get("PORT", "8080"))
    folder = Path(os.environ.get("CLIP", ".run/sample"))
    loop = os.environ.get("LOOP", "0") == "1"
    clip = sample.make(folder)
    film = Film(clip.video, loop=loop)

    def picture() -> bytes:
        return film.frame(time.monotonic())

    with MjpegServer(picture, fps=film.fps, host=host, port=port):
        log.info("ready", extra={"fps": film.fps, "clip": clip.video.name})
        stop.wait()


if __name__ == "__main__":
    main()
