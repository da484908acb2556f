"""The sample camera: clips of people who come and go, made from public-domain pictures that ride in packages.

SCENE is what the demo shows; SCENES are harder ones, to try the detector on, and `varied` makes many of each.
The portraits are of Eileen Collins (NASA, in scikit-image) and Grace Hopper (US Navy, in matplotlib); wall and pictures
on it are scikit-image's. The packages are not imported. What is true of the clip stands beside it as JSON.
"""

import argparse
import importlib.util
import json
import os
from dataclasses import asdict, dataclass, replace
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from cv2.typing import MatLike

from detector.eye.faces import Faces, model_path

_PORTRAITS = (("skimage", "astronaut.png"), ("matplotlib", "grace_hopper.jpg"))
_SHIFT = 128  # pixels by which the grain is shifted from frame to frame, at most


@dataclass(frozen=True)
class Visit:
    """One person crossing the picture, from `start` for `seconds`.

    `person` 0 and 1 are the portraits, 2 and 3 the same mirrored in other clothes. `path` is where the middle of the
    face is, as a share of the frame's width (below 0 or above 1: outside), and `face` how wide it is, as a share too:
    each two or more points, the same time apart. `light` is 0 to 1, `blur` the length of the motion's smear in pixels
    of a frame 640 wide.
    """

    start: float
    seconds: float
    person: int
    path: tuple[float, ...]
    face: tuple[float, ...]
    light: float = 1
    blur: int = 0

    def middle(self, at: float) -> float:
        """Where the middle of the face is at a time."""
        return self._between(self.path, at)

    def width(self, at: float) -> float:
        """How wide the face is at a time."""
        return self._between(self.face, at)

    def _between(self, points: tuple[float, ...], at: float) -> float:
        return float(
            np.interp((at - self.start) / self.seconds, np.linspace(0, 1, len(points)), points)
        )


@dataclass(frozen=True)
class Scene:
    """A clip: its size in pixels, its frames per second, its length in seconds, who comes, the pictures on the wall.

    `decoys` are file, x, y, w as shares of the frame's width. `wall` is how bright the wall is (1: as in its picture),
    `light` how bright everything, `grain` the noise of the sensor (standard deviation, of 255).
    """

    visits: tuple[Visit, ...]
    width: int = 640
    height: int = 480
    fps: int = 15
    seconds: float = 22
    decoys: tuple[tuple[str, float, float, float], ...] = (
        ("chelsea.png", 0.08, 0.08, 0.2),
        ("coffee.png", 0.7, 0.1, 0.2),
    )
    wall: float = 0.8
    light: float = 1
    grain: float = 5


SCENE = Scene(
    visits=(
        Visit(0.5, 7, 0, (0.32, 0.45), (0.1, 0.24)),  # comes nearer
        Visit(4, 4, 1, (1.2, -0.2), (0.13, 0.13)),  # walks through behind
        Visit(9, 1.8, 2, (-0.15, 1.15), (0.17, 0.17), blur=9),  # in a hurry
        Visit(11, 4, 3, (0.85, 0.6), (0.075, 0.085)),  # far away
        Visit(14.5, 4, 0, (1.15, 0.4), (0.18, 0.2)),  # is back
        Visit(18, 3.5, 1, (-0.1, 0.6), (0.16, 0.19), light=0.5),  # in the dark
    )
)
_WALK = (
    Visit(0.3, 4, 0, (-0.1, 1.1), (0.12, 0.15)),
    Visit(2.5, 3.5, 3, (1.1, 0.5, 0.6), (0.1, 0.17)),
)
SCENES = {
    "demo": SCENE,
    "crossing": Scene(
        (
            Visit(0.3, 4, 0, (-0.1, 1.1), (0.17, 0.17)),  # the nearer one
            Visit(0.6, 4, 1, (1.1, -0.1), (0.11, 0.11)),
            Visit(6.5, 5, 2, (-0.1, 0.48, 0.52, 1.1), (0.13, 0.13)),  # as far away as the next one
            Visit(6.5, 5, 3, (1.1, -0.1), (0.12, 0.12)),
        ),
        seconds=12.5,
    ),
    "behind": Scene(
        (
            Visit(0.3, 9.5, 2, (1.15, 0.5, 0.5, 0.5, 1.15), (0.2, 0.2)),
            Visit(1.5, 5, 1, (-0.1, 1.1), (0.11, 0.11)),  # goes by behind and comes out again
            Visit(4.2, 3, 0, (-0.1, 0.47), (0.1, 0.1)),  # is never seen to leave
        ),
        seconds=11,
    ),
    "backlight": Scene(
        (
            Visit(0.3, 4, 0, (-0.1, 0.9), (0.14, 0.16), 0.35),
            Visit(5.5, 4, 1, (1.1, 0.5, 0.4), (0.11, 0.15), 0.3),
        ),
        seconds=10.5,
        wall=2.4,
    ),
    "dim": Scene(
        (Visit(0.3, 4, 1, (1.1, 0.2), (0.14, 0.17)), Visit(5.5, 4, 2, (-0.1, 0.6), (0.12, 0.15))),
        seconds=10.5,
        light=0.22,
        grain=9,
    ),
    "fast": Scene(
        (
            Visit(0.3, 1.4, 0, (-0.1, 1.1), (0.2, 0.2), blur=12),
            Visit(3.2, 1.6, 3, (1.1, -0.1), (0.15, 0.15), blur=10),
            Visit(6.2, 2, 1, (-0.1, 1.1), (0.12, 0.12), blur=7),
        ),
        seconds=9,
    ),
    "still": Scene((Visit(0.5, 25, 3, (0.55, 0.55), (0.14, 0.14)),), seconds=27),
    "poster": Scene(
        (), seconds=6, decoys=(("chelsea.png", 0.1, 0.05, 0.4), ("coffee.png", 0.6, 0.1, 0.25))
    ),
    "half": Scene(
        (
            Visit(0.3, 6, 0, (1.1, 0.98, 0.98, 1.1), (0.2, 0.2)),  # looks in and goes
            Visit(
                7.5, 6, 1, (-0.1, 0.02, 0.02, 0.4), (0.17, 0.17)
            ),  # waits at the edge, then comes in
        ),
        seconds=14.5,
    ),
    "5 fps": Scene(_WALK, fps=5, seconds=7),
    "30 fps": Scene(_WALK, fps=30, seconds=7),
    "480p": Scene(_WALK, width=854, seconds=7),
    "720p": Scene(_WALK, width=1280, height=720, seconds=7),
    "1080p": Scene(_WALK[:1], width=1920, height=1080, seconds=5),
}


def varied(scene: Scene, seed: int) -> Scene:
    """The scene as another day would have it: people, side, times, paths, sizes and light differ by the seed."""
    random = np.random.default_rng(seed)

    def visit(one: Visit) -> Visit:
        aside, near, lit = (
            random.uniform(-0.02, 0.02),
            random.uniform(0.9, 1.1),
            random.uniform(0.9, 1.1),
        )
        path = tuple(side * (x + aside) + (side < 0) for x in one.path)
        return replace(
            one,
            start=one.start + random.uniform(-0.25, 0.25),
            seconds=one.seconds * random.uniform(0.9, 1.05),
            person=(one.person + other) % 4,
            path=path,
            face=tuple(share * near for share in one.face),
            light=min(one.light * lit, 1),
        )

    side, other = random.choice((-1, 1)), int(random.integers(4))
    decoys = tuple((name, x if side > 0 else 1 - x - w, y, w) for name, x, y, w in scene.decoys)
    light = scene.light * random.uniform(0.9, 1.1)
    return replace(scene, visits=tuple(map(visit, scene.visits)), decoys=decoys, light=light)


@dataclass(frozen=True)
class Clip:
    """A video (MJPG in AVI) and its truth.

    The truth holds fps, size, seed, `decoys` (boxes) and `visits`: for each its person and its frames, each as number
    (from 0), x, y, w, h of the face in pixels (also beyond the frame) and the share of it that can be seen.
    """

    video: Path
    truth: Path


@dataclass(frozen=True)
class _Person:
    picture: MatLike  # h x w x 3, uint8
    alpha: MatLike  # h x w, 0 to 1
    box: tuple[int, int, int, int]


def clip(folder: Path, seed: int = 7, scene: Scene = SCENE) -> Clip:
    """Where the clip of a scene and seed is, or will be; this file's text is part of the name."""
    version = sha256(
        Path(__file__).read_bytes() + json.dumps([seed, asdict(scene)]).encode()
    ).hexdigest()[:8]
    return Clip(folder / f"clip-{seed}-{version}.avi", folder / f"clip-{seed}-{version}.json")


def make(folder: Path, seed: int = 7, scene: Scene = SCENE) -> Clip:
    """Make the clip if it is not there yet: the same seed and scene give the same pictures. Raises OSError."""
    made = clip(folder, seed, scene)
    if made.video.exists() and made.truth.exists():
        return made
    folder.mkdir(parents=True, exist_ok=True)
    fresh = folder / f".{os.getpid()}-{made.video.name}"
    writer = cv2.VideoWriter(
        str(fresh), cv2.VideoWriter.fourcc(*"MJPG"), scene.fps, (scene.width, scene.height)
    )
    if not writer.isOpened():
        raise OSError(f"cannot write a video to {fresh}")
    random = np.random.default_rng(seed)
    grain = (
        random.standard_normal((scene.height + _SHIFT, scene.width + _SHIFT, 3), np.float32)
        * scene.grain
    )
    brighter, darker = (np.clip(np.rint(part), 0, 255).astype(np.uint8) for part in (grain, -grain))
    wall, decoys = _wall(scene)
    frames: list[list[list[float]]] = [[] for _ in scene.visits]
    for number in range(int(scene.seconds * scene.fps)):
        picture, sights = _frame(scene, wall, number / scene.fps)
        down, right = random.integers(_SHIFT, size=2)
        part = np.s_[down : down + scene.height, right : right + scene.width]
        writer.write(cv2.subtract(cv2.add(picture, brighter[part]), darker[part]))
        for visit, sight in sights.items():
            frames[visit].append([number, *sight])
    writer.release()
    people = [
        {"visit": visit, "person": scene.visits[visit].person, "frames": sights}
        for visit, sights in enumerate(frames)
    ]
    truth = {
        "fps": scene.fps,
        "size": [scene.width, scene.height],
        "seed": seed,
        "decoys": decoys,
        "visits": people,
    }
    made.truth.write_text(json.dumps(truth))
    os.replace(fresh, made.video)
    return made


def _frame(scene: Scene, wall: MatLike, at: float) -> tuple[MatLike, dict[int, list[float]]]:
    """The picture at a time, and where each visit's face is in it."""
    picture = cv2.convertScaleAbs(
        wall, alpha=1 + 0.04 * np.sin(at)
    )  # the light of a room is never still
    owner = np.full(picture.shape[:2], -1, np.int8)
    boxes: dict[int, tuple[float, float, float, float]] = {}
    present = [
        number for number, visit in enumerate(scene.visits) if 0 <= at - visit.start < visit.seconds
    ]
    for number in sorted(
        present, key=lambda number: scene.visits[number].width(at)
    ):  # the nearer ones in front
        boxes[number] = _stand(scene, number, at, picture, owner)
    sights: dict[int, list[float]] = {}
    for number, (x, y, w, h) in boxes.items():
        inside = owner[max(int(y), 0) : max(int(y + h), 0), max(int(x), 0) : max(int(x + w), 0)]
        sights[number] = [
            *(round(side, 1) for side in (x, y, w, h)),
            round(float((inside == number).sum() / (w * h)), 2),
        ]
    return picture, sights


def _stand(
    scene: Scene, number: int, at: float, picture: MatLike, owner: MatLike
) -> tuple[float, float, float, float]:
    """Put the person of a visit into the picture, cut off by its lower edge; the box of the face."""
    visit = scene.visits[number]
    person, (height, width) = _person(visit.person), picture.shape[:2]
    x, y, w, h = person.box
    scale = width * visit.width(at) / w
    bob = width * 0.006 * np.sin(at * 9 + number)
    turn = 6 * np.sin(at * 1.7 + number)  # degrees
    way = cv2.getRotationMatrix2D((x + w / 2, y + h / 2), turn, scale)
    below = (
        person.picture.shape[0] * 0.97 - y - h / 2
    ) * scale  # from the face to the end of the portrait
    way[:, 2] += (
        width * visit.middle(at) - x - w / 2,
        max(height - below, height * 0.4) + bob - y - h / 2,
    )
    face = way @ (x + w / 2, y + h / 2, 1)
    box = (face[0] - w * scale / 2, face[1] - h * scale / 2, w * scale, h * scale)
    smear = round(visit.blur * width / 640)
    tall, wide = person.alpha.shape
    corners = way @ [(0, wide, 0, wide), (0, 0, tall, tall), (1, 1, 1, 1)]
    left, top = np.maximum(corners.min(axis=1).astype(int) - smear - 1, 0)
    right, bottom = np.minimum(corners.max(axis=1).astype(int) + smear + 2, (width, height))
    if left >= right or top >= bottom:
        return box
    way[:, 2] -= (left, top)  # only the part of the picture in which the person is
    part, size = np.s_[top:bottom, left:right], (int(right - left), int(bottom - top))
    body: MatLike = cv2.warpAffine(person.picture, way, size)
    body = cv2.convertScaleAbs(body, alpha=visit.light * scene.light)
    alpha: MatLike = cv2.warpAffine(person.alpha, way, size)
    if smear:
        body, alpha = cv2.blur(body, (smear, 1)), cv2.blur(alpha, (smear, 1))
    picture[part] = cv2.blendLinear(body, picture[part], alpha, 1 - alpha)
    owner[part][alpha > 0.5] = number
    return box


def _wall(scene: Scene) -> tuple[MatLike, list[list[int]]]:
    """A wall with pictures on it, and where they are; one of them is a cat that looks at the camera."""
    wall = cv2.resize(carried("skimage", "brick.png"), (scene.width, scene.height))
    wall = cv2.convertScaleAbs(wall, alpha=scene.wall * scene.light)
    boxes = []
    for name, x, y, w in scene.decoys:
        poster = carried("skimage", name)
        left, top, wide = (round(share * scene.width) for share in (x, y, w))
        tall = round(wide * poster.shape[0] / poster.shape[1])
        wall[top - 4 : top + tall + 4, left - 4 : left + wide + 4] = round(30 * scene.light)
        poster = cv2.resize(poster, (wide, tall), interpolation=cv2.INTER_AREA)
        wall[top : top + tall, left : left + wide] = cv2.convertScaleAbs(poster, alpha=scene.light)
        boxes.append([left, top, wide, tall])
    return wall, boxes


@cache
def portrait(number: int) -> tuple[MatLike, tuple[int, int, int, int]]:
    """A portrait, 0 or 1 (BGR, h x w x 3, uint8), and the box of the face in it; raises OSError."""
    picture = carried(*_PORTRAITS[number])[:512]
    return picture, Faces(model_path(None)).find(picture)[0].box


@cache
def _person(number: int) -> _Person:
    """A person cut out of a portrait (GrabCut: Rother et al. 2004, doi:10.1145/1015706.1015720)."""
    if number >= 2:
        one = _person(number - 2)
        x, y, w, h = one.box
        picture, alpha = (
            np.ascontiguousarray(one.picture[:, ::-1]),
            np.ascontiguousarray(one.alpha[:, ::-1]),
        )
        picture[y + 3 * h // 2 :] = picture[y + 3 * h // 2 :, :, ::-1]  # other clothes
        return _Person(picture, alpha, (picture.shape[1] - x - w, y, w, h))
    picture, (x, y, w, h) = portrait(number)
    middle, shoulders = x + w / 2, y + 1.35 * h
    rows, columns = np.mgrid[: picture.shape[0], : picture.shape[1]]
    head = ((columns - middle) / (0.8 * w)) ** 2 + ((rows - y - 0.4 * h) / (0.95 * h)) ** 2 < 1
    aside = abs(columns - middle) / w
    torso = (rows > shoulders) & (aside < np.minimum(0.9 + 1.2 * (rows - shoulders) / h, 2.2))
    neck = (rows > y + 0.8 * h) & (aside < 0.6)
    mask = np.where(head | torso | neck, cv2.GC_PR_FGD, cv2.GC_BGD).astype(np.uint8)
    sure = (aside < 0.35) & (rows > y) & (rows < y + 2 * h) | (aside < 0.8) & (rows > y + 2 * h)
    mask[sure] = cv2.GC_FGD
    cv2.setRNGSeed(1)
    cv2.grabCut(
        picture, mask, (0, 0, 1, 1), np.zeros((1, 65)), np.zeros((1, 65)), 2, cv2.GC_INIT_WITH_MASK
    )
    solid = np.isin(mask, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    parts = cv2.connectedComponents(solid)[1]
    alpha = cv2.GaussianBlur(
        (parts == parts[y + h // 2, x + w // 2]).astype(np.float32), (0, 0), 1.5
    )
    return _Person(picture, alpha, (x, y, w, h))


def carried(package: str, name: str) -> MatLike:
    """A picture (BGR, h x w x 3, uint8) that a package carries; raises OSError."""
    spec = importlib.util.find_spec(package)
    files = list(Path(str(spec.origin)).parent.rglob(name)) if spec else []
    picture: Any = cv2.imread(str(files[0])) if files else None
    if picture is None:
        raise OSError(
            f"{package} does not carry {name}: install the packages of requirements/dev.txt"
        )
    return picture  # type: ignore[no-any-return]


def main() -> None:
    """Make the clip and say where it is."""
    parser = argparse.ArgumentParser("./just sample", description="Make the sample camera's clip.")
    parser.add_argument("--seed", type=int, default=7, help="(%(default)s)")
    parser.add_argument("--out", type=Path, default=Path(".run/sample"), help="(%(default)s)")
    parser.add_argument(
        "--scene", choices=SCENES, help="another scene than the demo's, varied by the seed"
    )
    parser.add_argument("--list", action="store_true", help="name the scenes and end")
    chosen = parser.parse_args()
    if chosen.list:
        return print(*SCENES, sep="\n")
    made = make(
        chosen.out,
        chosen.seed,
        varied(SCENES[chosen.scene], chosen.seed) if chosen.scene else SCENE,
    )
    print(made.video, made.truth, sep="\n")


if __name__ == "__main__":
    main()
