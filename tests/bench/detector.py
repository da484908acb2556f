"""Measure the detector: ./just bench detector. On the sample's scenes, or on pictures of your own.

What is true of your own pictures is one JSON file, as `./just sample` writes it:

    {"fps": 15, "visits": [{"visit": 0, "frames": [[0, 12.5, 40, 90, 110, 1.0], ...]}, ...]}

`visit` is a number of your choice, another one each time that a person comes. A frame is its
number (from 0; in a folder by name), x, y, w, h of that person's face in pixels, and the share of
the face that can be seen. Frames without the face are left out. A capture whose middle is in no
face of its frame counts as wrong.

Times are those of one thread; reading and decoding the pictures is not in them. The detector's
settings come from the environment, as the detector's do (DETECT_FPS, SCORE and so on).
"""

import argparse
import platform
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import cv2
from rich.console import Console
from rich.table import Table

from demo.sample import make
from demo.scene import SCENES, varied
from demo.stack import ROOT
from detector.settings import Settings
from tests.bench import contact_sheet, original, stills, tables, targets
from tests.bench.run import Run, watch
from tests.bench.tables import Line, Section
from tests.bench.tally import Tally
from tests.bench.targets import Target
from tests.bench.truth import Truth

_SMALLEST_FACE_PX = 8
_WIDTH = 120  # columns of a table that goes into a file


@dataclass(frozen=True)
class Subject:
    """What is watched: a video or folder of pictures, and what is true of it."""

    name: str
    seed: int
    pictures: Path
    truth: Path


def main(words: Sequence[str] | None = None) -> int:
    """Run, show, report; the exit code is 1 when a target is missed, and the last line names it."""
    options = _options(words)
    options.report.parent.mkdir(parents=True, exist_ok=True)
    cv2.setNumThreads(1)
    settings = Settings(edge="bench", source="x")
    runs = []
    for subject in _subjects(options):
        run = _watched(subject, settings)
        _say(run)
        runs.append(run)
    first = [run for run in runs if run.seed == runs[0].seed]
    _say_original(first, of=runs)
    originals = original.watch(first, each=_say)
    sections = [
        tables.scenes(runs),
        tables.times(runs, originals),
        tables.side_by_side(first, originals, detect_fps=settings.detect_fps),
    ]
    judged = targets.of_clips(runs, first, originals)
    if not options.source:
        ours, theirs = _on_stills(settings, options.report.parent / "stills")
        sections.append(tables.still_pictures(ours, theirs))
        judged.append(targets.of_stills(ours, theirs))
    sections.append(_judgement(judged))
    _show(sections)
    _report(sections, options.report)
    page = options.report.with_suffix(".html")
    contact_sheet.write(page, runs)
    print("the shots:", page)
    return _verdict(judged)


def _options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "./just bench detector",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--scene",
        choices=SCENES,
        action="append",
        help="only this one; may be given again",
    )
    parser.add_argument(
        "--seeds",
        type=int,
        nargs="+",
        default=[1, 2, 3],
        help="each another variation (1 2 3)",
    )
    parser.add_argument(
        "--source",
        type=Path,
        metavar="PATH",
        help="a video or folder of pictures of your own",
    )
    parser.add_argument("--truth", type=Path, metavar="FILE", help="what is true of it")
    parser.add_argument(
        "--report",
        type=Path,
        default=ROOT / ".run" / "bench" / "detector.md",
        help="(%(default)s)",
    )
    options = parser.parse_args(words)
    if bool(options.source) != bool(options.truth):
        parser.error("--source and --truth go together")
    if not Path(original.PYTHON).exists():
        parser.error(
            "Haar's cascade takes an OpenCV 4 beside this one: "
            "./just test makes .venv, which has it"
        )
    return options


def _subjects(options: argparse.Namespace) -> Iterator[Subject]:
    """What was asked for; the sample's clips are made when their turn comes."""
    if options.source:
        name = options.source.name
        yield Subject(name, 0, pictures=options.source, truth=options.truth)
        return
    for seed in options.seeds:
        for name in options.scene or SCENES:
            clip = make(ROOT / ".run" / "sample", seed, scene=varied(SCENES[name], seed))
            yield Subject(name, seed, pictures=clip.video, truth=clip.truth)


def _watched(subject: Subject, settings: Settings) -> Run:
    """The detector's run on a subject; ends us if the subject is not what it should be."""
    try:
        truth = Truth.read(subject.truth)
        run = Run(subject.name, subject.seed, path=subject.pictures, truth=truth)
        watch(run, settings)
    except (OSError, ValueError, KeyError, TypeError) as error:
        sys.exit(
            f"{subject.pictures} and {subject.truth} are not what they should be "
            f"({error!r}): see --help"
        )
    return run


def _on_stills(settings: Settings, folder: Path) -> tuple[Run, Run]:
    """Our run and the original's on still pictures."""
    stills.make(folder)
    # What MIN_FACE leaves out is a choice, not a miss.
    every = settings.model_copy(update={"min_face": _SMALLEST_FACE_PX})
    ours = Run("stills", 0, path=folder, truth=Truth.read(folder / "truth.json"))
    watch(ours, every)
    (theirs,) = original.watch([ours], each=lambda run: None)
    return ours, theirs


def _say(run: Run) -> None:
    tally = Tally([run])
    ms = median(run.ms.detect or [0])
    print(
        f"  {run.scene}, seed {run.seed}: {tally.found} of {tally.visits} visits, "
        f"{tally.captures} captures, {tally.wrong} wrong, {ms:.1f} ms a frame",
        flush=True,
    )


def _say_original(runs: Sequence[Run], *, of: Sequence[Run]) -> None:
    line = "Haar"
    if len(runs) < len(of):
        line += f", on the clips of seed {runs[0].seed}"
    print(line, flush=True)


def _judgement(judged: Sequence[Target]) -> Section:
    rows: list[Line] = []
    for target in judged:
        verdict = "met" if target.is_met else "MISSED"
        rows.append((target.name, target.measured, verdict))
    return Section("Targets", ("target", "measured", ""), rows)


def _show(sections: Sequence[Section]) -> None:
    console = Console()
    if not sys.stdout.isatty():
        console.width = _WIDTH
    for section in sections:
        table = Table(*section.head, title=section.title, title_justify="left")
        for row in section.rows:
            table.add_row(*row)
        console.print(table)


def _report(sections: Sequence[Section], file: Path) -> None:
    """The tables as Markdown."""
    made_by = f"OpenCV {cv2.__version__}, Python {platform.python_version()}"
    text = [f"{made_by}, {platform.machine()}\n"]
    for section in sections:
        text.append(f"## {section.title}\n")
        rule = ("---",) * len(section.head)
        for row in (section.head, rule, *section.rows):
            text.append(f"| {' | '.join(row)} |")
        text.append("")
    file.write_text("\n".join(text))


def _verdict(judged: Sequence[Target]) -> int:
    """Say whether all is met; the exit code."""
    missed = [target for target in judged if not target.is_met]
    if not missed:
        print("all targets met")
        return 0
    named = "; ".join(f"{target.name}: {target.measured}" for target in missed)
    print(f"missed: {named}")
    return 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("stopped")
