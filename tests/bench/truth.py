"""What is true of a clip: who is where in which frame."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

SEEN = 0.1  # share of a face; of what shows less, nobody could say that it is there


class Sight(NamedTuple):
    """A face in a frame: its box in pixels, and the share of it that can be seen, 0 to 1."""

    x: float
    y: float
    w: float
    h: float
    share: float

    def holds(self, x: float, y: float) -> bool:
        """Whether a point lies in the face."""
        return self.x < x < self.x + self.w and self.y < y < self.y + self.h

    def fit(self, box: Sequence[float]) -> float:
        """How well a box covers the face: the common part of what both cover, 0 to 1."""
        x, y, w, h = box
        across = min(x + w, self.x + self.w) - max(x, self.x)
        down = min(y + h, self.y + self.h) - max(y, self.y)
        common = across * down
        return common / (w * h + self.w * self.h - common)


@dataclass(frozen=True)
class Truth:
    """Frames per second, and the sights of each visit by the frame's number."""

    fps: float
    visits: dict[int, dict[int, Sight]]

    @classmethod
    def read(cls, file: Path) -> "Truth":
        """From JSON; raises OSError, ValueError, KeyError, TypeError."""
        told = json.loads(file.read_text())
        fps = told["fps"]
        if not fps > 0:
            raise ValueError("fps: not above 0")
        visits = {}
        for visit in told["visits"]:
            sights = {number: Sight(*sight) for number, *sight in visit["frames"]}
            visits[visit["visit"]] = sights
        return cls(fps, visits)

    def whose(self, number: int, box: Sequence[float]) -> int | None:
        """The visit in whose face the middle of a box lies, of several the best covered."""
        x, y, w, h = box
        fits = {}
        for visit, sights in self.visits.items():
            sight = sights.get(number)
            if sight and sight.share > SEEN and sight.holds(x + w / 2, y + h / 2):
                fits[visit] = sight.fit(box)
        return max(fits, key=lambda visit: fits[visit], default=None)
