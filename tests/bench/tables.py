"""The tables of the detector's benchmark."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tests.bench import stills
from tests.bench.run import Run
from tests.bench.tally import Tally

Line = tuple[str, ...]


@dataclass(frozen=True)
class Section:
    """A table with a title; `head` names its columns."""

    title: str
    head: Line
    rows: list[Line]


def scenes(runs: Sequence[Run]) -> Section:
    """What became of the visits, scene by scene."""
    head = (
        "scene",
        "visits",
        "found",
        "captures",
        "wrong",
        "split",
        "swapped",
        "covered",
        "each",
        "best",
        "worst",
    )
    rows = []
    for scene in dict.fromkeys(run.scene for run in runs):
        tally = Tally([run for run in runs if run.scene == scene])
        rows.append(_scene(scene, tally))
    rows.append(_scene("all", Tally(runs)))
    return Section("Visits", head, rows)


def _scene(name: str, tally: Tally) -> Line:
    counts = (
        str(tally.visits),
        str(tally.found),
        str(tally.captures),
        str(tally.wrong),
        str(tally.split),
        str(tally.swapped),
        str(tally.covered),
    )
    if not tally.visits:
        return (name, *counts, "-", "-", "-")
    return (
        name,
        *counts,
        f"{tally.captures_a_visit:.2f}",
        f"{tally.good / tally.visits:.0%}",
        f"{min(tally.ratios):.2f}",
    )


def times(runs: Sequence[Run], originals: Sequence[Run]) -> Section:
    """How long each step takes."""
    rows = [
        _time("detect (a frame)", [run.ms.detect for run in runs]),
        _time("follow (a frame)", [run.ms.follow for run in runs]),
        _time("crop (a face; part of follow)", [run.ms.crop for run in runs]),
        _time("encode (a shot)", [run.ms.encode for run in runs]),
        _time("Haar and PNG (a frame)", [run.ms.detect for run in originals]),
    ]
    return Section("Milliseconds of one thread", ("step", "median", "95 %"), rows)


def _time(name: str, ms: Sequence[list[float]]) -> Line:
    every = [one for some in ms for one in some]
    median, most = np.percentile(every or [0], (50, 95))
    return (name, f"{median:.2f}", f"{most:.2f}")


def side_by_side(
    runs: Sequence[Run],
    originals: Sequence[Run],
    *,
    detect_fps: float,
) -> Section:
    """The detector and the original on the same clips."""
    ours = Tally(runs)
    theirs = Tally(originals)
    return Section(
        "Side by side, each at its own pace, without decoding",
        ("", f"Facebridge, {detect_fps:g} a second", "Haar, every frame"),
        [
            ("share of one CPU", f"{ours.cpu:.1%}", f"{theirs.cpu:.1%}"),
            ("frames looked at", str(ours.frames), str(theirs.frames)),
            ("faces found in them", f"{ours.recall:.0%}", f"{theirs.recall:.0%}"),
            (
                "visits found",
                f"{ours.found} of {ours.visits}",
                f"{theirs.found} of {theirs.visits}",
            ),
            ("captures", str(ours.captures), str(theirs.captures)),
            ("wrong crops", str(ours.wrong), str(theirs.wrong)),
        ],
    )


def still_pictures(ours: Run, original: Run) -> Section:
    """Which faces of the stills were found, condition by condition."""
    rows = []
    for index, condition in enumerate(stills.CONDITIONS):
        first = index * stills.EACH
        numbers = range(first, first + stills.EACH)
        rows.append(_condition(condition, numbers, runs=(ours, original)))
    numbers = range(len(ours.faces))
    rows.append(_condition("all", numbers, runs=(ours, original)))
    rows.append(("faces that are none", "0", _none(ours), _none(original)))
    head = ("condition", "faces", "Facebridge", "Haar")
    return Section("Faces found in still pictures", head, rows)


def _condition(name: str, numbers: range, *, runs: Sequence[Run]) -> Line:
    found = []
    for run in runs:
        hits = sum((number, number) in run.hits for number in numbers)
        found.append(str(hits))
    return (name, str(len(numbers)), *found)


def _none(run: Run) -> str:
    return str(sum(run.faces.values()) - len(run.hits))
