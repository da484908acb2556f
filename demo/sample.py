"""The sample camera's clips, of people who come and go: ./just sample.

Beside each clip stands as JSON what is true of it.
"""

import argparse
import json
import os
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

import cv2
import numpy as np
from cv2.typing import MatLike

from demo.people import carried, portrait
from demo.room import Room
from demo.scene import SCENE, SCENES, Scene, Visit, varied

__all__ = [
    "SCENE",
    "SCENES",
    "Clip",
    "Scene",
    "Visit",
    "carried",
    "clip",
    "make",
    "portrait",
    "varied",
]

_SEED = 7  # of the demo's clip
_DRAWN_BY = ("sample.py", "scene.py", "people.py", "room.py")
_SHIFT_PX = 128  # by which the grain is shifted from frame to frame, at most


@dataclass(frozen=True)
class Clip:
    """A video (MJPG in AVI) and its truth.

    The truth holds fps, size, seed, `decoys` (boxes) and `visits`: for each its person and its
    frames, each as number (from 0), x, y, w, h of the face in pixels (also beyond the frame) and
    the share of it that can be seen.
    """

    video: Path
    truth: Path


def clip(folder: Path, seed: int = _SEED, scene: Scene = SCENE) -> Clip:
    """Where the clip of a scene and seed is, or will be.

    The text of what draws it is part of the name: new code makes a new clip.
    """
    identity = _drawn_by() + json.dumps([seed, asdict(scene)]).encode()
    name = f"clip-{seed}-{sha256(identity).hexdigest()[:8]}"
    return Clip(video=folder / f"{name}.avi", truth=folder / f"{name}.json")


def make(folder: Path, seed: int = _SEED, scene: Scene = SCENE) -> Clip:
    """Make the clip if it is not there yet; raises OSError.

    The same seed and scene give the same pictures.
    """
    made = clip(folder, seed, scene)
    if made.video.exists() and made.truth.exists():
        return made
    folder.mkdir(parents=True, exist_ok=True)
    fresh = folder / f".{os.getpid()}-{made.video.name}"
    room = Room(scene)
    frames = _film(room, scene, seed=seed, file=fresh)
    visits = []
    for number, visit in enumerate(scene.visits):
        visits.append({"visit": number, "person": visit.person, "frames": frames[number]})
    truth = {
        "fps": scene.fps,
        "size": [scene.width, scene.height],
        "seed": seed,
        "decoys": room.decoys,
        "visits": visits,
    }
    made.truth.write_text(json.dumps(truth))
    os.replace(fresh, made.video)
    return made


def _drawn_by() -> bytes:
    return b"".join(Path(__file__).with_name(file).read_bytes() for file in _DRAWN_BY)


def _film(room: Room, scene: Scene, *, seed: int, file: Path) -> list[list[list[float]]]:
    """Write the video; of each visit its frames, as the truth names them."""
    size = (scene.width, scene.height)
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*"MJPG"), scene.fps, size)
    if not writer.isOpened():
        raise OSError(f"cannot write a video to {file}")
    grain = _Grain(scene, np.random.default_rng(seed))
    frames: list[list[list[float]]] = [[] for _ in scene.visits]
    for number in range(int(scene.seconds * scene.fps)):
        view = room.look(number / scene.fps)
        writer.write(grain.over(view.picture))
        for visit, sight in view.sights.items():
            frames[visit].append([number, *sight.box, sight.share])
    writer.release()
    return frames


class _Grain:
    """The noise of a scene's sensor, another one in each frame."""

    def __init__(self, scene: Scene, random: np.random.Generator) -> None:
        self._random = random
        shape = (scene.height + _SHIFT_PX, scene.width + _SHIFT_PX, 3)
        noise = random.standard_normal(shape, np.float32) * scene.grain
        self._brighter = _pixels(noise)
        self._darker = _pixels(-noise)

    def over(self, picture: MatLike) -> MatLike:
        """The picture with the next frame's noise."""
        height, width = picture.shape[:2]
        down, right = self._random.integers(_SHIFT_PX, size=2)
        part = np.s_[down : down + height, right : right + width]
        brightened = cv2.add(picture, self._brighter[part])
        return cv2.subtract(brightened, self._darker[part])


def _pixels(values: MatLike) -> MatLike:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def main() -> None:
    """Make the clip and say where it is."""
    parser = argparse.ArgumentParser(
        "./just sample",
        description="Make the sample camera's clip.",
    )
    parser.add_argument("--seed", type=int, default=_SEED, help="(%(default)s)")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path(".run/sample"),
        help="(%(default)s)",
    )
    parser.add_argument(
        "--scene",
        choices=SCENES,
        help="another scene than the demo's, varied by the seed",
    )
    parser.add_argument("--list", action="store_true", help="name the scenes and end")
    chosen = parser.parse_args()
    if chosen.list:
        print(*SCENES, sep="\n")
        return
    shown = SCENE
    if chosen.scene:
        shown = varied(SCENES[chosen.scene], chosen.seed)
    made = make(chosen.out, chosen.seed, shown)
    print(made.video, made.truth, sep="\n")


if __name__ == "__main__":
    main()
