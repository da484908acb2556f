"""A network camera that can be put into a bad mood."""

from typing import Literal, Self

import cv2
import numpy as np

from demo.mjpeg import MjpegServer

Mood = Literal["well", "frozen", "stalled", "gone", "wide"]

FPS = 20
PICTURES = 20  # all different, then the first again
SIZE = (160, 120)
WIDE = (320, 120)


class NetworkCamera:
    """Noise at FPS frames a second on a free port, at `url`; a context manager.

    `mood` may be changed at any time: "frozen" shows one picture for ever, "stalled" sends nothing,
    "gone" ends its connections and refuses others, "wide" has pictures of another size.
    """

    def __init__(self) -> None:
        random = np.random.default_rng(1)
        width, height = SIZE
        noise = [random.integers(0, 255, (height, width, 3), np.uint8) for _ in range(PICTURES)]
        self._pictures = [_jpeg(picture) for picture in noise]
        self._wide = [_jpeg(cv2.resize(picture, WIDE)) for picture in noise]
        self._shown = 0
        self._mood: Mood = "well"
        self._server = MjpegServer(self._picture, fps=FPS)
        self.url = f"http://user:secret@127.0.0.1:{self._server.server_port}/"

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.__exit__(None, None, None)

    @property
    def mood(self) -> Mood:
        return self._mood

    @mood.setter
    def mood(self, mood: Mood) -> None:
        self._mood = mood
        self._server.is_away = mood == "gone"

    def _picture(self) -> bytes | None:
        if self._mood == "stalled":
            return None
        if self._mood != "frozen":
            self._shown += 1
        pictures = self._wide if self._mood == "wide" else self._pictures
        return pictures[self._shown % PICTURES]


def _jpeg(picture: cv2.typing.MatLike) -> bytes:
    return cv2.imencode(".jpg", picture)[1].tobytes()
