"""Still pictures of one face each, 640 x 480, under five conditions."""

import json
from pathlib import Path

import cv2
import numpy as np
from cv2.typing import MatLike

from demo.sample import portrait

CONDITIONS = ("plain", "dark", "blur", "tilted", "half size")
WIDTHS = (64, 100, 150)  # pixels of the face; half size makes them 32, 50 and 75
EACH = (
    4 * len(WIDTHS) * 2
)  # pictures for a condition: two portraits and their mirrors, all widths, two places
WIDTH, HEIGHT = 640, 480


def make(folder: Path) -> None:
    """Write the pictures, always the same, and their truth.json; EACH for each condition, in their order."""
    folder.mkdir(parents=True, exist_ok=True)
    random, visits = np.random.default_rng(1), []
    for number in range(EACH * len(CONDITIONS)):
        condition = CONDITIONS[number // EACH]
        picture, (x, y, w, h) = _placed(number % 4, WIDTHS[number // 4 % len(WIDTHS)], random)
        if condition == "dark":
            dark = (picture / 255) ** 2.2 * 255 * 0.45 + random.normal(0, 5, picture.shape)
            picture = np.clip(dark, 0, 255).astype(np.uint8)
        elif condition == "blur":
            picture = cv2.blur(picture, (15, 1))
        elif condition == "tilted":
            way = cv2.getRotationMatrix2D((x + w / 2, y + h / 2), random.choice((-25, 25)), 1)
            picture = cv2.warpAffine(picture, way, (WIDTH, HEIGHT))
        elif condition == "half size":
            small = cv2.resize(picture, (WIDTH // 2, HEIGHT // 2), interpolation=cv2.INTER_AREA)
            edges = (HEIGHT // 4, HEIGHT // 4, WIDTH // 4, WIDTH // 4)
            picture = cv2.copyMakeBorder(small, *edges, cv2.BORDER_CONSTANT)
            x, y, w, h = x / 2 + WIDTH / 4, y / 2 + HEIGHT / 4, w / 2, h / 2
        cv2.imwrite(str(folder / f"{number:04}.png"), picture)
        visits.append({"visit": number, "frames": [[number, x, y, w, h, 1]]})
    (folder / "truth.json").write_text(json.dumps({"fps": 1, "visits": visits}))


def _placed(
    number: int, width: int, random: np.random.Generator
) -> tuple[MatLike, tuple[float, float, float, float]]:
    """A portrait (2 and 3: mirrored) in a black frame, its face `width` pixels wide and wholly inside."""
    picture, (x, y, w, h) = portrait(number % 2)
    if number >= 2:
        picture, x = picture[:, ::-1], picture.shape[1] - x - w
    scale = width / w
    left, top = random.uniform(0, WIDTH - width), random.uniform(0, HEIGHT - h * scale)
    small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    way = np.array([[1, 0, left - x * scale], [0, 1, top - y * scale]])
    return cv2.warpAffine(small, way, (WIDTH, HEIGHT)), (left, top, width, h * scale)
