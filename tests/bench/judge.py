"""What came out of a clip, held against what is true of it."""

import json
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cv2.typing import MatLike
from detector.visits import Shot, Visits, quality

from detector.eye.camera import Frame
from detector.eye.faces import Faces, crop, model_path, png
from detector.settings import Settings
from tests.bench.haar import pictures

SEEN = 0.1  # share of a face; of what shows less, nobody could say that it is there
PLAIN = 0.5  # share from which on a face is one to be found
BEST = 0.95  # of the quality of a visit's best sight: from here on a shot is a best shot
WHOLE = 0.8  # of the share that could be seen of a face: below, something was before it in the shot


@dataclass(frozen=True)
class Truth:
    """Frames per second, and of each visit its frames by number: x, y, w, h, and the share that can be seen."""

    fps: float
    visits: dict[int, dict[int, list[float]]]

    @classmethod
    def read(cls, file: Path) -> "Truth":
        """From JSON; raises OSError, ValueError, KeyError, TypeError."""
        told = json.loads(file.read_text())
        if not told["fps"] > 0:
            raise ValueError("fps: not above 0")
        return cls(
            told["fps"],
            {one["visit"]: {n: sight for n, *sight in one["frames"]} for one in told["visits"]},
        )

    def whose(self, number: int, box: Sequence[float]) -> int | None:
        """The visit in whose face the middle of a box lies; of several the one that it covers best."""
        (x, y, w, h), fits = box, {}
        for visit, frames in self.visits.items():
            left, top, wide, tall, share = frames.get(number, (0, 0, 0, 0, 0))
            if share > SEEN and left < x + w / 2 < left + wide and top < y + h / 2 < top + tall:
                across, down = (
                    min(x + w, left + wide) - max(x, left),
                    min(y + h, top + tall) - max(y, top),
                )
                fits[visit] = across * down / (w * h + wide * tall - across * down)
        return max(fits, key=lambda visit: fits[visit], default=None)


@dataclass(frozen=True)
class Published:
    """What became a capture: its frame, whose face it is (None: nobody's), its facts, and the picture."""

    number: int
    whose: int | None
    facts: dict[str, Any]
    picture: MatLike | None = None


@dataclass
class Run:
    """What was made of a clip.

    `ms` are of one thread: detect and follow for each frame, crop for each face, encode for each shot. `faces` is how
    many were found in each frame that was looked at, `hits` each visit and frame in which its face was, `best` the
    quality of each visit's best sight.
    """

    scene: str
    seed: int
    path: Path
    truth: Truth
    seconds: float = 0
    ms: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    faces: dict[int, int] = field(default_factory=dict)
    hits: set[tuple[int, int]] = field(default_factory=set)
    best: dict[int, float] = field(default_factory=dict)
    published: list[Published] = field(default_factory=list)

    @contextmanager
    def clock(self, step: str) -> Iterator[None]:
        begun = time.thread_time()
        yield
        self.ms[step].append(1000 * (time.thread_time() - begun))

    def note(self, number: int, box: Sequence[float]) -> int | None:
        """Whose face a box is; it counts as found."""
        whose = self.truth.whose(number, box)
        if whose is not None:
            self.hits.add((whose, number))
        return whose


class Tally:
    """The counts of some runs; those of visits are in the order of all visits."""

    def __init__(self, runs: Sequence[Run]) -> None:
        shots = [
            [one for one in run.published if one.whose == visit]
            for run in runs
            for visit in run.truth.visits
        ]
        ids = [{one.facts.get("visit") for one in some} for some in shots]
        best = [run.best.get(visit, 1) for run in runs for visit in run.truth.visits]
        tops = [max((one.facts.get("quality", 0) for one in some), default=0) for some in shots]
        owners: dict[Any, set[int]] = defaultdict(set)
        for run in runs:
            for one in run.published:
                if one.whose is not None:
                    owners[run.scene, run.seed, one.facts.get("visit")].add(one.whose)
        there = {
            (id(run), visit, n)
            for run in runs
            for visit, frames in run.truth.visits.items()
            for n in run.faces.keys() & frames.keys()
            if frames[n][4] > PLAIN
        }
        self.visits, self.found = len(shots), sum(map(bool, shots))
        self.ratios = [top / most for top, most in zip(tops, best, strict=True)]
        self.captures = sum(len(run.published) for run in runs)
        self.wrong = sum(one.whose is None for run in runs for one in run.published)
        self.split, self.swapped = (
            sum(len(some) > 1 for some in ids),
            sum(len(some) > 1 for some in owners.values()),
        )
        self.good = sum(ratio >= BEST for ratio in self.ratios)
        self.covered = sum(_covered(run, visit) for run in runs for visit in run.truth.visits)
        hits = {(id(run), *hit) for run in runs for hit in run.hits}
        self.recall = len(there & hits) / max(len(there), 1)
        self.frames, self.seconds = (
            sum(len(run.faces) for run in runs),
            sum(run.seconds for run in runs),
        )
        spent = sum(
            sum(run.ms[step]) for run in runs for step in ("detect", "follow", "encode")
        )  # crop is in follow
        self.cpu = spent / 1000 / max(self.seconds, 1e-9)


def _covered(run: Run, visit: int) -> bool:
    """Whether a visit's best shot shows less of the face than another sight did."""
    seen = {n: run.truth.visits[visit][n][4] for whose, n in run.hits if whose == visit}
    shots = [one for one in run.published if one.whose == visit and "quality" in one.facts]
    top = max(shots, key=lambda one: float(one.facts["quality"]), default=None)
    return top is not None and seen[top.number] < WHOLE * max(seen.values())


def watch(scene: str, seed: int, path: Path, truth: Truth, settings: Settings) -> Run:
    """Run the detector over a video or folder of pictures, by the clip's clock, as fast as it goes."""
    finder = Faces(
        model_path(settings.model), settings.detect_width, settings.score, settings.min_face
    )
    visits, run, due, epoch = (
        Visits(settings),
        Run(scene, seed, path, truth),
        0.0,
        datetime(2026, 1, 1, tzinfo=UTC),
    )
    numbers: dict[datetime, int] = {}

    def keep(shots: Iterable[Shot]) -> None:
        for shot in shots:
            with run.clock("encode"):
                png(shot.picture)
            number = numbers[shot.facts["captured_at"]]
            whose = truth.whose(number, shot.facts["box"])
            run.published.append(Published(number, whose, shot.facts, shot.picture))

    for number, picture in enumerate(pictures(path)):
        t = number / truth.fps
        run.seconds = t + 1 / truth.fps
        if t < due:
            continue
        due += 1 / settings.detect_fps
        frame = Frame(picture, epoch + timedelta(seconds=t), t)
        numbers[frame.at] = number
        with run.clock("detect"):
            faces = finder.find(picture)
        with run.clock("follow"):
            shots = list(visits.see(frame, faces))
        keep(shots)
        run.faces[number] = len(faces)
        for face in faces:
            with run.clock("crop"):
                crop(picture, face.box, settings.margin).copy()
            whose = run.note(number, face.box)
            if whose is not None:
                run.best[whose] = max(quality(picture, face), run.best.get(whose, 0))
    keep(visits.end())
    return run
