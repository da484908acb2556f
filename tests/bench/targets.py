"""What the detector is to reach."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tests.bench.run import Run
from tests.bench.tally import Tally

GOOD_SHARE = 0.9  # of the visits
FOLLOWING_COSTS = 1.6  # times detecting, with detecting
LESS_CPU = 8  # times
STILLS_RECALL = 1.4  # times


@dataclass(frozen=True)
class Target:
    """A target, what was measured, and whether it is met."""

    name: str
    measured: str
    is_met: bool


def of_clips(
    runs: Sequence[Run],
    first: Sequence[Run],
    originals: Sequence[Run],
) -> list[Target]:
    """The targets on all clips; the original's runs are of those of `first`."""
    tally = Tally(runs)
    each = tally.captures_a_visit
    cost = _cost_of_following(runs)
    less = Tally(originals).cpu / max(Tally(first).cpu, 1e-9)
    return [
        Target(
            "all visits found",
            f"{tally.found} of {tally.visits}",
            is_met=tally.found == tally.visits,
        ),
        Target("no wrong crops", str(tally.wrong), is_met=not tally.wrong),
        Target(
            "1 to 2 captures a visit",
            f"{each:.2f}",
            is_met=not tally.visits or 1 <= each <= 2,
        ),
        Target(
            "within 5 % of the best, 9 visits of 10",
            f"{tally.good} of {tally.visits}",
            is_met=tally.good >= GOOD_SHARE * tally.visits,
        ),
        Target(
            "detecting and following, at most 1.6 times detecting",
            f"{cost:.2f}",
            is_met=cost <= FOLLOWING_COSTS,
        ),
        Target(
            "at least 8 times less CPU than Haar",
            f"{less:.1f}",
            is_met=less >= LESS_CPU,
        ),
    ]


def of_stills(ours: Run, original: Run) -> Target:
    """The target on still pictures."""
    theirs = max(len(original.hits), 1)
    times = len(ours.hits) / theirs
    most = len(ours.faces) / theirs
    return Target(
        "at least 1.4 times Haar's recall on stills",
        f"{times:.2f}; all faces: {most:.2f}",
        is_met=times >= STILLS_RECALL,
    )


def _cost_of_following(runs: Sequence[Run]) -> float:
    """How many times detecting alone a frame with faces takes, by the medians."""
    alone = []
    together = []
    for run in runs:
        steps = zip(run.ms.detect, run.ms.follow, run.faces.values(), strict=True)
        for detect, follow, faces in steps:
            if faces:
                alone.append(detect)
                together.append(detect + follow)
    if not alone:
        return 1.0
    return float(np.median(together) / np.median(alone))
