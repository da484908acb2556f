"""What the detector made of some clips, counted against what is true of them."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from tests.bench.run import Published, Run

PLAIN = 0.5  # share from which on a face is one to be found
BEST = 0.95  # of the quality of a visit's best sight: from here on a shot is a best shot
WHOLE = 0.8  # of the share that could be seen of a face: below, something was before it


@dataclass(frozen=True)
class _Outcome:
    """What became of a visit that is true."""

    run: Run
    visit: int

    @property
    def shots(self) -> list[Published]:
        return [one for one in self.run.published if one.whose == self.visit]

    @property
    def is_split(self) -> bool:
        """Whether the detector took it for several visits."""
        return len({shot.visit for shot in self.shots}) > 1

    @property
    def ratio(self) -> float:
        """The quality of its best shot, as a share of that of its best sight."""
        top = max((shot.quality for shot in self.shots), default=0)
        return top / self.run.best.get(self.visit, 1)

    @property
    def is_covered(self) -> bool:
        """Whether its best shot shows less of the face than another sight did."""
        shots = self.shots
        if not shots:
            return False
        top = max(shots, key=lambda shot: shot.quality)
        sights = self.run.truth.visits[self.visit]
        found = [number for whose, number in self.run.hits if whose == self.visit]
        most = max(sights[number].share for number in found)
        return sights[top.number].share < WHOLE * most


class Tally:
    """The counts of some runs; `ratios` are in the order of all visits."""

    def __init__(self, runs: Sequence[Run]) -> None:
        outcomes = [_Outcome(run, visit) for run in runs for visit in run.truth.visits]
        self.visits = len(outcomes)
        self.found = sum(bool(outcome.shots) for outcome in outcomes)
        self.split = sum(outcome.is_split for outcome in outcomes)
        self.covered = sum(outcome.is_covered for outcome in outcomes)
        self.ratios = [outcome.ratio for outcome in outcomes]
        self.good = sum(ratio >= BEST for ratio in self.ratios)
        self.captures = sum(len(run.published) for run in runs)
        self.wrong = sum(one.whose is None for run in runs for one in run.published)
        self.swapped = sum(_swapped(run) for run in runs)
        self.frames = sum(len(run.faces) for run in runs)
        self.recall = _recall(runs)
        self.cpu = _cpu(runs)

    @property
    def captures_a_visit(self) -> float:
        """How many; without visits as if there were one."""
        return self.captures / max(self.visits, 1)


def _swapped(run: Run) -> int:
    """How many of the detector's visits show several people."""
    owners: dict[str, set[int]] = defaultdict(set)
    for one in run.published:
        if one.whose is not None:
            owners[one.visit].add(one.whose)
    return sum(len(people) > 1 for people in owners.values())


def _recall(runs: Sequence[Run]) -> float:
    """The share of the plain faces in the frames looked at that were found."""
    there = 0
    found = 0
    for run in runs:
        plain = _plain(run)
        there += len(plain)
        found += len(plain & run.hits)
    return found / max(there, 1)


def _plain(run: Run) -> set[tuple[int, int]]:
    """Visit and frame of each face that is plain to see."""
    plain = set()
    for visit, sights in run.truth.visits.items():
        for number in run.faces.keys() & sights.keys():
            if sights[number].share > PLAIN:
                plain.add((visit, number))
    return plain


def _cpu(runs: Sequence[Run]) -> float:
    """The share of one CPU that was needed, of the clips' own time."""
    spent_s = sum(run.ms.spent_ms for run in runs) / 1000
    seconds = sum(run.seconds for run in runs)
    return spent_s / max(seconds, 1e-9)
