"""The pictures of a video or a folder, all of them, as fast as they can be read."""

from collections.abc import Iterator
from pathlib import Path

import cv2
from cv2.typing import MatLike

from detector.eye.camera import PICTURES


def pictures(path: Path) -> Iterator[MatLike]:
    """The pictures (BGR, h x w x 3, uint8) of a video, or of a folder by name."""
    if path.is_dir():
        return _of_folder(path)
    return _of_video(path)


def _of_folder(folder: Path) -> Iterator[MatLike]:
    for file in sorted(folder.iterdir()):
        if file.suffix.lower() not in PICTURES:
            continue
        picture: MatLike | None = cv2.imread(str(file))
        if picture is not None:
            yield picture


def _of_video(file: Path) -> Iterator[MatLike]:
    video = cv2.VideoCapture(str(file))
    while True:
        is_there, picture = video.read()
        if not is_there:
            return
        yield picture
