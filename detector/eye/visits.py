"""Visits: faces followed from frame to frame, and the few best shots of each.

A sight belongs to the visit that it fits best by place and size, with constant speed in between,
as in SORT (Bewley et al. 2016, doi:10.1109/ICIP.2016.7533003) without its filter. All in seconds,
so that any frame rate will do.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from math import inf, log2
from pathlib import Path

from cv2.typing import MatLike

from bus.fields import milliseconds
from bus.log import log
from detector.eye.camera import Frame
from detector.eye.faces import Face, crop, png
from detector.eye.quality import quality
from detector.settings import Settings
from detector.shot import Box, Shot, Size

MIN_SIGHTS = 3  # make a visit: what is no face seldom looks like one so often
LOST_AFTER_S = 1.0  # without a sight, and at least so many looks:
LOST_AFTER_LOOKS = 2.5
FIRST_SHOT_AFTER_S = 1.0
NEXT_SHOT_AFTER_S = 5.0
BETTER = 1.15  # times as good must a later shot be,
BETTER_AT_END = 1.05  # and one at the visit's end
MAX_SHOTS = 3  # of a visit

# How far a sight may be from where it was expected, in heights of the face, and how much farther
# for each second since the last one; before its speed is known a face may be anywhere near.
_REACH = 0.6
_REACH_PER_S = 1.2
_REACH_PER_S_UNKNOWN = 3.0
_SPEED_SMOOTHED_OVER_S = 0.2
_SHORTEST_S = 1e-3  # between two sights, to divide by


@dataclass(frozen=True, slots=True)
class Sight:
    """A face in a frame, cut out (BGR, h x w x 3, uint8), and how good it is to look at."""

    picture: MatLike
    captured_at: datetime
    box: Box
    frame: Size
    score: float
    quality: float


@dataclass(slots=True, eq=False)
class Visit:
    """A face that is followed; times in seconds of the frames' clock, speed in px/s, complex."""

    name: str
    face: Face  # where it was last
    seen_at: float
    next_shot_at: float
    renewed_at: float  # when its shots are counted anew
    speed: complex = 0
    sights: int = 1
    shots: int = 0  # over all, and since they were counted anew:
    counted: int = 0
    sent_quality: float = 0.0  # the best that was counted
    best: Sight | None = None

    def misfit(self, face: Face, t: float) -> float:
        """How badly a face fits, from 0; from 1 on it is another one."""
        old_height = self.face.box[3]
        new_height = face.box[3]
        passed_s = min(t - self.seen_at, LOST_AFTER_S)
        expected = _middle(self.face) + self.speed * passed_s
        away = abs(_middle(face) - expected) / max(old_height, new_height)
        known = self.sights >= MIN_SIGHTS
        reach_per_s = _REACH_PER_S if known else _REACH_PER_S_UNKNOWN
        return away / (_REACH + reach_per_s * passed_s) + abs(log2(new_height / old_height))

    def follow(self, face: Face, t: float) -> None:
        """Take in the next sight."""
        passed_s = max(t - self.seen_at, _SHORTEST_S)
        speed = (_middle(face) - _middle(self.face)) / passed_s
        weight = 1.0
        if self.sights > 1:
            weight = passed_s / (passed_s + _SPEED_SMOOTHED_OVER_S)
        self.speed += (speed - self.speed) * weight
        self.face = face
        self.seen_at = t
        self.sights += 1

    def renew(self, t: float, repeat_s: float) -> None:
        """Begin to count shots anew, because the face stays."""
        self.next_shot_at = t + FIRST_SHOT_AFTER_S
        self.renewed_at = t + repeat_s
        self.counted = 0
        self.sent_quality = 0.0
        self.best = None


def _middle(face: Face) -> complex:
    x, y, w, h = face.box
    return complex(x + w / 2, y + h / 2)


class Visits:
    """The visits under way; each may have MAX_SHOTS in REPEAT_S seconds.

    With MODE=every, and in a folder of pictures, each sight is a visit. `encode` makes a PNG of a
    picture (BGR, h x w x 3, uint8).
    """

    def __init__(self, settings: Settings, encode: Callable[[MatLike], bytes] = png) -> None:
        self._save_frame = settings.save_frame
        self._margin = settings.margin
        self._encode = encode
        self._max_shots = MAX_SHOTS
        self._visits: list[Visit] = []
        self._min_sights = MIN_SIGHTS
        self._repeat_s = settings.repeat_s
        self._lost_after_s = max(LOST_AFTER_S, LOST_AFTER_LOOKS / settings.detect_fps)
        if settings.mode == "every" or Path(settings.source).is_dir():
            self._min_sights = 1
            self._repeat_s = 0.0  # due at once
            self._lost_after_s = -1.0  # over before the next look

    def limit(self, *, to_one: bool) -> None:
        """Whether a visit gets one shot only, at its end, because the outbox fills."""
        shots = 1 if to_one else MAX_SHOTS
        if shots == self._max_shots:
            return
        self._max_shots = shots
        event = "outbox fills" if to_one else "outbox has room"
        log.warning(event, extra={"shots_per_visit": shots})

    def see(self, frame: Frame, faces: list[Face]) -> list[Shot]:
        """Take in the faces of a frame, and say which shots are due."""
        shots = self.end(before=frame.t - self._lost_after_s)
        known = self._follow(faces, frame.t)
        for number, face in enumerate(faces):
            visit = known.get(number)
            if visit is None:
                visit = self._begin(frame, face, number)
            self._judge(visit, frame, face)
            renewed = frame.t >= visit.renewed_at
            best = self._due(visit, frame.t, last=renewed)
            if best:
                shots.append(self._publish(visit, best, t=frame.t))
            if renewed:
                visit.renew(frame.t, self._repeat_s)
        return shots

    def end(self, before: float = inf) -> list[Shot]:
        """End the visits that were not seen since `before`, and give their last shots."""
        over = [visit for visit in self._visits if visit.seen_at < before]
        self._visits = [visit for visit in self._visits if visit.seen_at >= before]
        shots = []
        for visit in over:
            best = self._due(visit, before, last=True)
            if best:
                shots.append(self._publish(visit, best, t=before, final=True))
        return shots

    def _follow(self, faces: list[Face], t: float) -> dict[int, Visit]:
        """Which visit each face continues, by the face's number; the best fits are taken first."""
        fits: list[tuple[float, int, Visit]] = []
        for visit in self._visits:
            for number, face in enumerate(faces):
                fits.append((visit.misfit(face, t), number, visit))
        fits.sort(key=lambda fit: fit[0])
        known: dict[int, Visit] = {}
        for misfit, number, visit in fits:
            taken = number in known or visit in known.values()
            if misfit < 1 and not taken:
                known[number] = visit
                visit.follow(faces[number], t)
        return known

    def _begin(self, frame: Frame, face: Face, number: int) -> Visit:
        visit = Visit(
            name=f"{frame.at:%Y%m%dT%H%M%S}{milliseconds(frame.at)}-{number + 1}",
            face=face,
            seen_at=frame.t,
            next_shot_at=frame.t + FIRST_SHOT_AFTER_S,
            renewed_at=frame.t + self._repeat_s,
        )
        self._visits.append(visit)
        return visit

    def _judge(self, visit: Visit, frame: Frame, face: Face) -> None:
        """Keep the sight if it is the best of its visit."""
        good = quality(frame.picture, face)
        if visit.best and good <= visit.best.quality:
            return
        picture = frame.picture
        if not self._save_frame:
            picture = crop(frame.picture, face.box, self._margin)
        height, width = frame.picture.shape[:2]
        visit.best = Sight(
            picture=picture.copy(),
            captured_at=frame.at,
            box=face.box,
            frame=(width, height),
            score=face.score,
            quality=good,
        )

    def _due(self, visit: Visit, t: float, *, last: bool) -> Sight | None:
        """The best sight, if it is time for it and it is better enough; `last`: of this count."""
        best = visit.best
        if best is None or visit.sights < self._min_sights:
            return None
        room = self._max_shots - visit.counted
        better = BETTER_AT_END
        if not last:
            room -= 1  # one place is kept for the end
            better = BETTER
        ripe = last or t >= visit.next_shot_at
        if room <= 0 or not ripe or best.quality < visit.sent_quality * better:
            return None
        return best

    def _publish(self, visit: Visit, best: Sight, *, t: float, final: bool = False) -> Shot:
        visit.shots += 1
        visit.counted += 1
        visit.sent_quality = best.quality
        visit.next_shot_at = t + NEXT_SHOT_AFTER_S
        return Shot(
            png=self._encode(best.picture),
            captured_at=best.captured_at,
            box=best.box,
            frame=best.frame,
            score=best.score,
            quality=best.quality,
            visit=visit.name,
            number=visit.shots,
            final=final,
        )
