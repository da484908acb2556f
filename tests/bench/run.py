"""What the detector makes of a clip."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cv2.typing import MatLike

from detector.eye.camera import Frame
from detector.eye.faces import Faces, crop, model_path, png
from detector.eye.quality import quality
from detector.eye.visits import Visits
from detector.settings import Settings
from detector.shot import Shot
from tests.bench.pictures import pictures
from tests.bench.truth import Truth

_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Published:
    """What became a capture: the number of its frame, and whose face it is (None: nobody's).

    The others are as the detector says; the original says none.
    """

    number: int
    whose: int | None
    visit: str = ""
    shot: int = 0
    quality: float = 0.0
    is_final: bool = False
    png: bytes = b""


@dataclass(frozen=True)
class Times:
    """Milliseconds of one thread: detect and follow a frame, crop a face, encode a shot.

    Cropping is a part of following.
    """

    detect: list[float] = field(default_factory=list)
    follow: list[float] = field(default_factory=list)
    crop: list[float] = field(default_factory=list)
    encode: list[float] = field(default_factory=list)

    @property
    def spent_ms(self) -> float:
        """All of it."""
        return sum(self.detect) + sum(self.follow) + sum(self.encode)


@dataclass
class Run:
    """What was made of a clip that lasts for `seconds`.

    `faces` is how many were found in each frame that was looked at, `hits` each visit and frame
    in which its face was, `best` the quality of each visit's best sight.
    """

    scene: str
    seed: int
    path: Path
    truth: Truth
    seconds: float = 0
    ms: Times = field(default_factory=Times)
    faces: dict[int, int] = field(default_factory=dict)
    hits: set[tuple[int, int]] = field(default_factory=set)
    best: dict[int, float] = field(default_factory=dict)
    published: list[Published] = field(default_factory=list)

    def note(self, number: int, box: Sequence[float]) -> int | None:
        """Whose face a box is; it counts as found."""
        whose = self.truth.whose(number, box)
        if whose is not None:
            self.hits.add((whose, number))
        return whose


def watch(run: Run, settings: Settings) -> None:
    """Run the detector over a run's pictures, by the clip's clock, as fast as it goes."""
    watcher = _Watcher(run, settings)
    due = 0.0
    for number, picture in enumerate(pictures(run.path)):
        t = number / run.truth.fps
        run.seconds = t + 1 / run.truth.fps
        if t < due:
            continue
        due += 1 / settings.detect_fps
        watcher.look(number, t=t, picture=picture)
    watcher.end()


class _Watcher:
    """The detector's eye and its following, timed, in a run."""

    def __init__(self, run: Run, settings: Settings) -> None:
        self._run = run
        self._margin = settings.margin
        self._finder = Faces(
            model_path(settings.model),
            width=settings.detect_width,
            score=settings.score,
            min_face=settings.min_face,
        )
        self._visits = Visits(settings, encode=self._encode)
        self._numbers: dict[datetime, int] = {}

    def look(self, number: int, *, t: float, picture: MatLike) -> None:
        """Take in a frame."""
        frame = Frame(picture, at=_EPOCH + timedelta(seconds=t), t=t)
        self._numbers[frame.at] = number
        with _timed(self._run.ms.detect):
            faces = self._finder.find(picture)
        encoded = len(self._run.ms.encode)
        with _timed(self._run.ms.follow):
            shots = self._visits.see(frame, faces)
        self._run.ms.follow[-1] -= sum(self._run.ms.encode[encoded:])
        self._publish(shots)
        self._run.faces[number] = len(faces)
        for face in faces:
            with _timed(self._run.ms.crop):
                crop(picture, face.box, self._margin).copy()
            whose = self._run.note(number, face.box)
            if whose is not None:
                best = self._run.best.get(whose, 0)
                self._run.best[whose] = max(quality(picture, face), best)

    def end(self) -> None:
        """The clip is over."""
        self._publish(self._visits.end())

    def _encode(self, picture: MatLike) -> bytes:
        """A picture as PNG; its time counts as encoding, not as following."""
        with _timed(self._run.ms.encode):
            return png(picture)

    def _publish(self, shots: list[Shot]) -> None:
        for shot in shots:
            number = self._numbers[shot.captured_at]
            published = Published(
                number,
                whose=self._run.truth.whose(number, shot.box),
                visit=shot.visit,
                shot=shot.number,
                quality=shot.quality,
                is_final=shot.final,
                png=shot.png,
            )
            self._run.published.append(published)


@contextmanager
def _timed(ms: list[float]) -> Iterator[None]:
    """Add the milliseconds that this thread computes."""
    begun = time.thread_time()
    yield
    ms.append(1000 * (time.thread_time() - begun))
