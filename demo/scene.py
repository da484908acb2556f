"""Scenes: who walks through a clip, when, where and in which light.

SCENE is what the demo shows; SCENES are harder ones, to try the detector on, and `varied` makes
many of each.
"""

from dataclasses import dataclass, replace

import numpy as np

PEOPLE = 4  # 0 and 1 are the portraits, 2 and 3 the same mirrored in other clothes


@dataclass(frozen=True)
class Visit:
    """One person crossing the picture, from `start` for `seconds`.

    `person` is a number below PEOPLE. `path` is where the middle of the face is, as a share of the
    frame's width (below 0 or above 1: outside), and `face` how wide it is, as a share too: each
    two or more points, the same time apart. `light` is 0 to 1, `blur` the length of the motion's
    smear in pixels of a frame 640 wide.
    """

    start: float
    seconds: float
    person: int
    path: tuple[float, ...]
    face: tuple[float, ...]
    light: float = 1
    blur: int = 0

    def is_on(self, at: float) -> bool:
        """Whether the person is there at a time, be it outside the picture."""
        return 0 <= at - self.start < self.seconds

    def middle(self, at: float) -> float:
        """Where the middle of the face is at a time."""
        return self._between(self.path, at)

    def width(self, at: float) -> float:
        """How wide the face is at a time."""
        return self._between(self.face, at)

    def _between(self, points: tuple[float, ...], at: float) -> float:
        passed = (at - self.start) / self.seconds
        return float(np.interp(passed, np.linspace(0, 1, len(points)), points))


@dataclass(frozen=True)
class Decoy:
    """A picture on the wall, a file that scikit-image carries.

    `x`, `y` and `width` are shares of the frame's width.
    """

    file: str
    x: float
    y: float
    width: float


@dataclass(frozen=True)
class Scene:
    """A clip: who comes, its size in pixels, its length in seconds, the pictures on the wall.

    `wall` is how bright the wall is (1: as in its picture), `light` how bright everything, `grain`
    the noise of the sensor (standard deviation, of 255).
    """

    visits: tuple[Visit, ...]
    width: int = 640
    height: int = 480
    fps: int = 15
    seconds: float = 22
    decoys: tuple[Decoy, ...] = (
        Decoy("chelsea.png", x=0.08, y=0.08, width=0.2),
        Decoy("coffee.png", x=0.7, y=0.1, width=0.2),
    )
    wall: float = 0.8
    light: float = 1
    grain: float = 5


COMES_NEARER = Visit(0.5, 7, person=0, path=(0.32, 0.45), face=(0.1, 0.24))
WALKS_BEHIND = Visit(4, 4, person=1, path=(1.2, -0.2), face=(0.13, 0.13))
IN_A_HURRY = Visit(9, 1.8, person=2, path=(-0.15, 1.15), face=(0.17, 0.17), blur=9)
FAR_AWAY = Visit(11, 4, person=3, path=(0.85, 0.6), face=(0.075, 0.085))
IS_BACK = Visit(14.5, 4, person=0, path=(1.15, 0.4), face=(0.18, 0.2))
IN_THE_DARK = Visit(18, 3.5, person=1, path=(-0.1, 0.6), face=(0.16, 0.19), light=0.5)

SCENE = Scene((COMES_NEARER, WALKS_BEHIND, IN_A_HURRY, FAR_AWAY, IS_BACK, IN_THE_DARK))

CROSSING = Scene(
    (
        # the first is the nearer one
        Visit(0.3, 4, person=0, path=(-0.1, 1.1), face=(0.17, 0.17)),
        Visit(0.6, 4, person=1, path=(1.1, -0.1), face=(0.11, 0.11)),
        # these two are as far away as each other
        Visit(6.5, 5, person=2, path=(-0.1, 0.48, 0.52, 1.1), face=(0.13, 0.13)),
        Visit(6.5, 5, person=3, path=(1.1, -0.1), face=(0.12, 0.12)),
    ),
    seconds=12.5,
)
BEHIND = Scene(
    (
        Visit(0.3, 9.5, person=2, path=(1.15, 0.5, 0.5, 0.5, 1.15), face=(0.2, 0.2)),
        # goes by behind and comes out again
        Visit(1.5, 5, person=1, path=(-0.1, 1.1), face=(0.11, 0.11)),
        # is never seen to leave
        Visit(4.2, 3, person=0, path=(-0.1, 0.47), face=(0.1, 0.1)),
    ),
    seconds=11,
)
BACKLIGHT = Scene(
    (
        Visit(0.3, 4, person=0, path=(-0.1, 0.9), face=(0.14, 0.16), light=0.35),
        Visit(5.5, 4, person=1, path=(1.1, 0.5, 0.4), face=(0.11, 0.15), light=0.3),
    ),
    seconds=10.5,
    wall=2.4,
)
DIM = Scene(
    (
        Visit(0.3, 4, person=1, path=(1.1, 0.2), face=(0.14, 0.17)),
        Visit(5.5, 4, person=2, path=(-0.1, 0.6), face=(0.12, 0.15)),
    ),
    seconds=10.5,
    light=0.22,
    grain=9,
)
FAST = Scene(
    (
        Visit(0.3, 1.4, person=0, path=(-0.1, 1.1), face=(0.2, 0.2), blur=12),
        Visit(3.2, 1.6, person=3, path=(1.1, -0.1), face=(0.15, 0.15), blur=10),
        Visit(6.2, 2, person=1, path=(-0.1, 1.1), face=(0.12, 0.12), blur=7),
    ),
    seconds=9,
)
STILL = Scene(
    (Visit(0.5, 25, person=3, path=(0.55, 0.55), face=(0.14, 0.14)),),
    seconds=27,
)
POSTER = Scene(
    (),
    seconds=6,
    decoys=(
        Decoy("chelsea.png", x=0.1, y=0.05, width=0.4),
        Decoy("coffee.png", x=0.6, y=0.1, width=0.25),
    ),
)
HALF = Scene(
    (
        # looks in and goes
        Visit(0.3, 6, person=0, path=(1.1, 0.98, 0.98, 1.1), face=(0.2, 0.2)),
        # waits at the edge, then comes in
        Visit(7.5, 6, person=1, path=(-0.1, 0.02, 0.02, 0.4), face=(0.17, 0.17)),
    ),
    seconds=14.5,
)
WALK = Scene(
    (
        Visit(0.3, 4, person=0, path=(-0.1, 1.1), face=(0.12, 0.15)),
        Visit(2.5, 3.5, person=3, path=(1.1, 0.5, 0.6), face=(0.1, 0.17)),
    ),
    seconds=7,
)
SHORT_WALK = Scene(WALK.visits[:1], seconds=5)

SCENES = {
    "demo": SCENE,
    "crossing": CROSSING,
    "behind": BEHIND,
    "backlight": BACKLIGHT,
    "dim": DIM,
    "fast": FAST,
    "still": STILL,
    "poster": POSTER,
    "half": HALF,
    "5 fps": replace(WALK, fps=5),
    "30 fps": replace(WALK, fps=30),
    "480p": replace(WALK, width=854),
    "720p": replace(WALK, width=1280, height=720),
    "1080p": replace(SHORT_WALK, width=1920, height=1080),
}


def varied(scene: Scene, seed: int) -> Scene:
    """The scene as another day would have it.

    People, side, times, paths, sizes and light differ by the seed.
    """
    random = np.random.default_rng(seed)
    is_mirrored = random.choice((-1, 1)) < 0
    others = int(random.integers(PEOPLE))
    light = scene.light * random.uniform(0.9, 1.1)
    decoys = scene.decoys
    if is_mirrored:
        decoys = tuple(replace(decoy, x=1 - decoy.x - decoy.width) for decoy in decoys)
    visits = []
    for visit in scene.visits:
        visits.append(_varied(visit, random, is_mirrored=is_mirrored, others=others))
    return replace(scene, visits=tuple(visits), decoys=decoys, light=light)


def _varied(
    visit: Visit,
    random: np.random.Generator,
    *,
    is_mirrored: bool,
    others: int,
) -> Visit:
    """Another person's visit, nearly the same; the order of the draws is what a seed means."""
    aside = random.uniform(-0.02, 0.02)
    near = random.uniform(0.9, 1.1)
    lit = random.uniform(0.9, 1.1)
    later = random.uniform(-0.25, 0.25)
    longer = random.uniform(0.9, 1.05)
    path = [x + aside for x in visit.path]
    if is_mirrored:
        path = [1 - x for x in path]
    return Visit(
        visit.start + later,
        visit.seconds * longer,
        person=(visit.person + others) % PEOPLE,
        path=tuple(path),
        face=tuple(width * near for width in visit.face),
        light=min(visit.light * lit, 1),
        blur=visit.blur,
    )
