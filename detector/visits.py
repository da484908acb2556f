"""Visits: faces followed from frame to frame, and the few best shots of each.

A sight belongs to the visit that it fits best by place and size, with constant speed in between, as in SORT (Bewley et
al. 2016, doi:10.1109/ICIP.2016.7533003) without its filter. All in seconds, so that any frame rate will do.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf, log2
from pathlib import Path
from typing import Any

import cv2
from cv2.typing import MatLike

from bus.log import log
from detector.camera import Frame
from detector.faces import Face, crop
from detector.settings import Settings

HITS = 3  # sights that make a visit: what is no face seldom looks like one so often
LOST = 1.0  # s without a sight that end it
FIRST, AGAIN = 1.0, 5.0  # s to the first shot, and from one to a better one
BETTER, LAST = 1.15, 1.05  # times as good must a later shot be, and one at the visit's end
MOST = 3  # shots of a visit
LARGE = 112  # px; a wider face is not a better one
SHARP = 60.0  # variance of the Laplacian of a face that is half sharp


@dataclass(frozen=True, slots=True)
class Shot:
    """A picture (BGR, h x w x 3, uint8) that is to become a capture, and its facts."""

    picture: MatLike
    facts: dict[str, Any]


@dataclass(slots=True, eq=False)
class Visit:
    """A face that is followed: where it was last, its speed (px/s, complex), its shots; times are in s."""

    name: str
    face: Face
    at: float
    due: float  # when the next shot may be
    until: float  # when shots are counted anew
    speed: complex = 0
    hits: int = 1
    shot: int = 0
    counted: int = 0
    sent: float = 0.0  # quality of the best that was counted
    best: Shot | None = None

    def misfit(self, face: Face, t: float) -> float:
        """How badly a face fits, from 0; from 1 on it is another one."""
        (old, new), passed = (self.face.box[3], face.box[3]), min(t - self.at, LOST)
        away = abs(_middle(face) - _middle(self.face) - self.speed * passed) / max(old, new)
        return away / (0.6 + (3 if self.hits < HITS else 1.2) * passed) + abs(log2(new / old))

    def follow(self, face: Face, t: float) -> None:
        """Take in the next sight."""
        speed = (_middle(face) - _middle(self.face)) / (passed := max(t - self.at, 1e-3))
        self.speed += (speed - self.speed) * (1 if self.hits == 1 else passed / (passed + 0.2))
        self.face, self.at, self.hits = face, t, self.hits + 1


def _middle(face: Face) -> complex:
    x, y, w, h = face.box
    return complex(x + w / 2, y + h / 2)


def quality(picture: MatLike, face: Face) -> float:
    """How good a face is to look at, 0 to 1: size, sharpness, frontalness; less at the frame's edge; times the score.

    The score counts twice: it is the first to fall when something is in front of a face. Sharpness is the variance of
    the Laplacian (Pech-Pacheco et al. 2000, doi:10.1109/ICPR.2000.903548), after a light blur so that the sensor's
    noise does not count.
    """
    x, y, w, h = face.box
    height, width = picture.shape[:2]
    part = cv2.resize(picture[y : y + h, x : x + w], (96, 96), interpolation=cv2.INTER_AREA)
    grey = cv2.GaussianBlur(cv2.cvtColor(part, cv2.COLOR_BGR2GRAY), (3, 3), 0)
    variance = float(cv2.Laplacian(grey, cv2.CV_32F).var())
    right, left, nose = (complex(*point) for point in face.landmarks[:3])
    turned = abs(
        ((nose - right) / (left - right or 1)).real - 0.5
    )  # 0 between the eyes, 0.5 below one of them
    whole = 1 if x > 0 and y > 0 and x + w < width and y + h < height else 0.3
    shape = (
        0.4 * min(w / LARGE, 1)
        + 0.35 * variance / (variance + SHARP)
        + 0.25 * max(1 - 2 * turned, 0)
    )
    return face.score**2 * whole * shape


class Visits:
    """The visits under way; each may have MOST shots in REPEAT_S seconds, and with MODE=every each sight is a visit."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._most = settings, MOST
        every = settings.mode == "every" or Path(settings.source).is_dir()
        lost = max(LOST, 2.5 / settings.detect_fps)
        self._hits, self._repeat, self._lost = (
            (1, 0.0, -1.0) if every else (HITS, settings.repeat_s, lost)
        )
        self._visits: list[Visit] = []

    def strict(self, strict: bool) -> None:
        """Whether a visit gets one shot only, at its end, because the outbox fills."""
        if strict != (self._most == 1):
            self._most = 1 if strict else MOST
            log.warning(
                "outbox fills" if strict else "outbox has room",
                extra={"shots_per_visit": self._most},
            )

    def see(self, frame: Frame, faces: list[Face]) -> Iterator[Shot]:
        """Take in the faces of a frame, and say which shots are due; must be read to its end."""
        yield from self.end(frame.t - self._lost)
        pairs = [
            (visit.misfit(face, frame.t), n, visit)
            for visit in self._visits
            for n, face in enumerate(faces)
        ]
        whose: dict[int, Visit] = {}
        for misfit, number, known in sorted(pairs, key=lambda pair: pair[0]):
            if misfit < 1 and number not in whose and known not in whose.values():
                whose[number] = known
                known.follow(faces[number], frame.t)
        for number, face in enumerate(faces):
            visit = whose.get(number)
            if not visit:
                name = f"{frame.at:%Y%m%dT%H%M%S}{frame.at.microsecond // 1000:03d}-{number + 1}"
                visit = Visit(name, face, frame.t, frame.t + FIRST, frame.t + self._repeat)
                self._visits.append(visit)
            self._score(visit, frame, face)
            over = frame.t >= visit.until
            yield from self._due(visit, frame.t, over)
            if over:
                visit.due, visit.until = frame.t + FIRST, frame.t + self._repeat
                visit.counted, visit.sent, visit.best = 0, 0.0, None

    def end(self, before: float = inf) -> Iterator[Shot]:
        """End the visits that were not seen since a time, and give their last shots; must be read to its end."""
        over = [visit for visit in self._visits if visit.at < before]
        self._visits = [visit for visit in self._visits if visit.at >= before]
        for visit in over:
            yield from self._due(visit, before, True, final=True)

    def _score(self, visit: Visit, frame: Frame, face: Face) -> None:
        picture, good = frame.picture, quality(frame.picture, face)
        if not visit.best or good > visit.best.facts["quality"]:
            part = (
                picture
                if self._settings.save_frame
                else crop(picture, face.box, self._settings.margin)
            )
            facts = {"captured_at": frame.at, "box": face.box, "score": face.score, "quality": good}
            visit.best = Shot(
                part.copy(), facts | {"frame": picture.shape[1::-1], "visit": visit.name}
            )

    def _due(self, visit: Visit, t: float, over: bool, **more: Any) -> Iterator[Shot]:
        """The best shot, if it is time for it and it is better enough; one place is kept for the end."""
        best, room = visit.best, visit.counted < self._most - (not over)
        ripe = visit.hits >= self._hits and (over or t >= visit.due)
        if (
            best
            and room
            and ripe
            and best.facts["quality"] >= visit.sent * (LAST if over else BETTER)
        ):
            visit.shot, visit.counted = visit.shot + 1, visit.counted + 1
            visit.sent, visit.due = best.facts["quality"], t + AGAIN
            yield Shot(best.picture, best.facts | {"shot": visit.shot, **more})
