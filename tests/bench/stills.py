"""Still pictures of one face each, 640 x 480, under five conditions."""

import json
from pathlib import Path

import cv2
import numpy as np
from cv2.typing import MatLike

from demo.people import portrait

Box = tuple[float, float, float, float]  # x, y, w, h in pixels

CONDITIONS = ("plain", "dark", "blur", "tilted", "half size")
WIDTHS = (64, 100, 150)  # pixels of the face; half size makes them 32, 50 and 75
WIDTH = 640
HEIGHT = 480
_PEOPLE = 4  # two portraits and their mirrors
_PLACES = 2
EACH = _PEOPLE * len(WIDTHS) * _PLACES  # pictures for a condition
_GAMMA = 2.2
_DARK = 0.45  # of the light
_NOISE = 5  # standard deviation, of 255
_BLUR_PX = 15
_TILT_DEGREES = 25


def make(folder: Path) -> None:
    """Write the pictures, always the same, and their truth.json; EACH for each condition."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(1)
    visits = []
    for number in range(EACH * len(CONDITIONS)):
        width = WIDTHS[number // _PEOPLE % len(WIDTHS)]
        picture, box = _placed(number % _PEOPLE, width, random)
        condition = CONDITIONS[number // EACH]
        picture, box = _under(condition, picture, box=box, random=random)
        cv2.imwrite(str(folder / f"{number:04}.png"), picture)
        visits.append({"visit": number, "frames": [[number, *box, 1]]})
    (folder / "truth.json").write_text(json.dumps({"fps": 1, "visits": visits}))


def _placed(number: int, width: int, random: np.random.Generator) -> tuple[MatLike, Box]:
    """A portrait in a black frame, its face `width` pixels wide and wholly inside."""
    picture, (x, y, w, h) = portrait(number % 2)
    if number >= 2:
        picture = picture[:, ::-1]
        x = picture.shape[1] - x - w
    scale = width / w
    height = h * scale
    left = random.uniform(0, WIDTH - width)
    top = random.uniform(0, HEIGHT - height)
    small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    way = np.array([[1, 0, left - x * scale], [0, 1, top - y * scale]])
    return cv2.warpAffine(small, way, (WIDTH, HEIGHT)), (left, top, width, height)


def _under(
    condition: str, picture: MatLike, *, box: Box, random: np.random.Generator
) -> tuple[MatLike, Box]:
    """The picture under a condition, and where the face is then."""
    match condition:
        case "dark":
            return _darkened(picture, random), box
        case "blur":
            return cv2.blur(picture, (_BLUR_PX, 1)), box
        case "tilted":
            return _tilted(picture, box, random), box
        case "half size":
            return _halved(picture, box)
        case _:
            return picture, box


def _darkened(picture: MatLike, random: np.random.Generator) -> MatLike:
    dark = (picture / 255) ** _GAMMA * 255 * _DARK
    noisy = dark + random.normal(0, _NOISE, picture.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def _tilted(picture: MatLike, box: Box, random: np.random.Generator) -> MatLike:
    x, y, w, h = box
    middle = (x + w / 2, y + h / 2)
    turn = random.choice((-_TILT_DEGREES, _TILT_DEGREES))
    way = cv2.getRotationMatrix2D(middle, turn, 1)
    return cv2.warpAffine(picture, way, (WIDTH, HEIGHT))


def _halved(picture: MatLike, box: Box) -> tuple[MatLike, Box]:
    small = cv2.resize(picture, (WIDTH // 2, HEIGHT // 2), interpolation=cv2.INTER_AREA)
    picture = cv2.copyMakeBorder(
        small,
        top=HEIGHT // 4,
        bottom=HEIGHT // 4,
        left=WIDTH // 4,
        right=WIDTH // 4,
        borderType=cv2.BORDER_CONSTANT,
    )
    x, y, w, h = box
    return picture, (x / 2 + WIDTH / 4, y / 2 + HEIGHT / 4, w / 2, h / 2)
