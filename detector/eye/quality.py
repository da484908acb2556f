"""How good a face is to look at."""

import cv2
from cv2.typing import MatLike

from detector.eye.faces import Face
from detector.shot import Box, Size

LARGE_PX = 112  # a wider face is not a better one
HALF_SHARP = 60.0  # variance of the Laplacian of a face that is half sharp
CUT_OFF = 0.3  # what a face at the frame's edge is worth of a whole one

_SIZE_WEIGHT = 0.4
_SHARPNESS_WEIGHT = 0.35
_FRONTALNESS_WEIGHT = 0.25
_SAMPLE_PX = 96


def quality(picture: MatLike, face: Face) -> float:
    """How good a face is in a BGR picture (h x w x 3, uint8), 0 to 1.

    Size, sharpness and frontalness; less at the frame's edge; times the score. The score counts
    twice: it is the first to fall when something is in front of a face.
    """
    height, width = picture.shape[:2]
    size = min(face.box[2] / LARGE_PX, 1)
    shape = (
        _SIZE_WEIGHT * size
        + _SHARPNESS_WEIGHT * _sharpness(picture, face.box)
        + _FRONTALNESS_WEIGHT * _frontalness(face.landmarks)
    )
    whole = 1.0 if _inside(face.box, (width, height)) else CUT_OFF
    return face.score**2 * whole * shape


def _sharpness(picture: MatLike, box: Box) -> float:
    """From the variance of the Laplacian, 0 to 1.

    Pech-Pacheco et al. 2000, doi:10.1109/ICPR.2000.903548, after a light blur so that the
    sensor's noise does not count.
    """
    x, y, w, h = box
    part = picture[y : y + h, x : x + w]
    sample = cv2.resize(part, (_SAMPLE_PX, _SAMPLE_PX), interpolation=cv2.INTER_AREA)
    grey = cv2.GaussianBlur(cv2.cvtColor(sample, cv2.COLOR_BGR2GRAY), (3, 3), 0)
    variance = float(cv2.Laplacian(grey, cv2.CV_32F).var())
    return variance / (variance + HALF_SHARP)


def _frontalness(landmarks: MatLike) -> float:
    """1 with the nose between the eyes, 0 with it below one of them or beyond."""
    right, left, nose = (complex(*point) for point in landmarks[:3])
    along = ((nose - right) / (left - right or 1)).real
    return max(1 - 2 * abs(along - 0.5), 0)


def _inside(box: Box, size: Size) -> bool:
    x, y, w, h = box
    width, height = size
    return x > 0 and y > 0 and x + w < width and y + h < height
