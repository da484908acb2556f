"""People for the sample clip, cut out of public-domain pictures that packages carry.

The portraits are of Eileen Collins (NASA, in scikit-image) and Grace Hopper (US Navy, in
matplotlib). The packages are not imported.
"""

import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from cv2.typing import MatLike

from detector.eye.faces import Faces, model_path

Box = tuple[int, int, int, int]  # x, y, w, h in pixels

_TALLEST = 512  # pixels of a portrait's height that are used
_EDGE_SIGMA = 1.5  # pixels: how soft the edge of a person is


class _Carried(NamedTuple):
    package: str
    file: str


_PORTRAITS = (
    _Carried("skimage", "astronaut.png"),
    _Carried("matplotlib", "grace_hopper.jpg"),
)


@dataclass(frozen=True)
class Person:
    """A person: `picture` (BGR, h x w x 3, uint8), `alpha` (h x w, 0 to 1), the box of the face."""

    picture: MatLike
    alpha: MatLike
    box: Box


def carried(package: str, name: str) -> MatLike:
    """A picture (BGR, h x w x 3, uint8) that a package carries; raises OSError."""
    spec = importlib.util.find_spec(package)
    if spec:
        for file in Path(str(spec.origin)).parent.rglob(name):
            picture: MatLike | None = cv2.imread(str(file))
            if picture is not None:
                return picture
    raise OSError(f"{package} does not carry {name}: install the packages of requirements/dev.txt")


@cache
def portrait(number: int) -> tuple[MatLike, Box]:
    """A portrait, 0 or 1 (BGR, h x w x 3, uint8), and the box of the face in it; raises OSError."""
    picture = carried(*_PORTRAITS[number])[:_TALLEST]
    best = Faces(model_path(None)).find(picture)[0]
    return picture, best.box


@cache
def person(number: int) -> Person:
    """A person: 0 and 1 are of the portraits, 2 and 3 the same mirrored in other clothes."""
    if number >= len(_PORTRAITS):
        return _disguised(person(number - len(_PORTRAITS)))
    picture, box = portrait(number)
    return Person(picture, _cut_out(picture, box), box)


def _disguised(person: Person) -> Person:
    x, y, w, h = person.box
    picture = np.ascontiguousarray(person.picture[:, ::-1])
    alpha = np.ascontiguousarray(person.alpha[:, ::-1])
    shoulders = y + 3 * h // 2
    picture[shoulders:] = picture[shoulders:, :, ::-1]  # red for blue: other clothes
    mirrored_x = picture.shape[1] - x - w
    return Person(picture, alpha, (mirrored_x, y, w, h))


def _cut_out(picture: MatLike, box: Box) -> MatLike:
    """Where the person is (h x w, 0 to 1).

    By GrabCut (Rother et al. 2004, doi:10.1145/1015706.1015720).
    """
    mask = _guess(picture, box)
    outside = np.zeros((1, 65))
    inside = np.zeros((1, 65))
    cv2.setRNGSeed(1)
    cv2.grabCut(
        picture,
        mask,
        rect=(0, 0, 1, 1),
        bgdModel=outside,
        fgdModel=inside,
        iterCount=2,
        mode=cv2.GC_INIT_WITH_MASK,
    )
    solid = np.isin(mask, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    _, parts = cv2.connectedComponents(solid)
    x, y, w, h = box
    whole = parts == parts[y + h // 2, x + w // 2]
    alpha: MatLike = cv2.GaussianBlur(whole.astype(np.float32), (0, 0), _EDGE_SIGMA)
    return alpha


def _guess(picture: MatLike, box: Box) -> MatLike:
    """What a person with this face may cover, and what surely: a mask for GrabCut."""
    x, y, w, h = box
    middle = x + w / 2
    shoulders = y + 1.35 * h
    rows, columns = np.mgrid[: picture.shape[0], : picture.shape[1]]
    aside = abs(columns - middle) / w
    across = (columns - middle) / (0.8 * w)
    down = (rows - y - 0.4 * h) / (0.95 * h)
    head = across**2 + down**2 < 1
    slope = np.minimum(0.9 + 1.2 * (rows - shoulders) / h, 2.2)
    torso = (rows > shoulders) & (aside < slope)
    neck = (rows > y + 0.8 * h) & (aside < 0.6)
    face = (aside < 0.35) & (rows > y) & (rows < y + 2 * h)
    chest = (aside < 0.8) & (rows > y + 2 * h)
    mask = np.full(picture.shape[:2], cv2.GC_BGD, np.uint8)
    mask[head | torso | neck] = cv2.GC_PR_FGD
    mask[face | chest] = cv2.GC_FGD
    return mask
