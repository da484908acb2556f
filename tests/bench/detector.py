"""Measure the detector: ./just bench detector. On the sample's scenes, or on pictures of your own.

What is true of your own pictures is one JSON file, as `./just sample` writes it:

    {"fps": 15, "visits": [{"visit": 0, "frames": [[0, 12.5, 40, 90, 110, 1.0], ...]}, ...]}

`visit` is a number of your choice, another one each time that a person comes. A frame is its number (from 0; in a
folder by name), x, y, w, h of that person's face in pixels, and the share of the face that can be seen. Frames without
the face are left out. A capture whose middle is in no face of its frame counts as wrong.

Times are those of one thread; reading and decoding the pictures is not in them. The detector's settings come from the
environment, as the detector's do (DETECT_FPS, SCORE and so on).
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from demo.sample import SCENES, make, varied
from demo.stack import ROOT
from detector.settings import Settings
from tests.bench import haar, sheet, stills
from tests.bench.judge import Published, Run, Tally, Truth, watch

_PYTHON = (
    sys.executable if hasattr(cv2, "CascadeClassifier") else str(ROOT / ".venv" / "bin" / "python")
)  # for Haar
Line = tuple[str, ...]
Section = tuple[str, Line, list[Line]]
Target = tuple[str, str, bool]  # name, what was measured, whether it is met


def main(words: Sequence[str] | None = None) -> int:
    """Run, show, report; the exit code is 1 when a target is missed, and the last line names it."""
    parser = argparse.ArgumentParser(
        "./just bench detector",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--scene", choices=SCENES, action="append", help="only this one; may be given again"
    )
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[1, 2, 3], help="each another variation (1 2 3)"
    )
    parser.add_argument(
        "--source", type=Path, metavar="PATH", help="a video or folder of pictures of your own"
    )
    parser.add_argument("--truth", type=Path, metavar="FILE", help="what is true of it")
    parser.add_argument(
        "--report", type=Path, default=ROOT / ".run" / "bench" / "detector.md", help="(%(default)s)"
    )
    chosen = parser.parse_args(words)
    if bool(chosen.source) != bool(chosen.truth):
        parser.error("--source and --truth go together")
    if not Path(_PYTHON).exists():
        parser.error(
            "Haar's cascade takes an OpenCV 4 beside this one: ./just test makes .venv, which has it"
        )
    chosen.report.parent.mkdir(parents=True, exist_ok=True)
    cv2.setNumThreads(1)
    settings, runs = Settings(edge="bench", source="x"), []
    for seed in [0] if chosen.source else chosen.seeds:
        for name in [chosen.source.name] if chosen.source else chosen.scene or SCENES:
            path, truth = chosen.source, chosen.truth
            if not path:
                clip = make(ROOT / ".run" / "sample", seed, varied(SCENES[name], seed))
                path, truth = clip.video, clip.truth
            try:
                runs.append(watch(name, seed, path, Truth.read(truth), settings))
            except (OSError, ValueError, KeyError, TypeError) as error:
                sys.exit(f"{path} and {truth} are not what they should be ({error!r}): see --help")
            _say(runs[-1])
    first = [run for run in runs if run.seed == runs[0].seed]
    print(
        "Haar" + (f", on the clips of seed {first[0].seed}" if len(first) < len(runs) else ""),
        flush=True,
    )
    olds = []
    for old in _haar(first):
        olds.append(old)
        _say(old)
    sections, targets = (
        [
            _scenes(runs),
            _times(runs, olds),
            _sides(first, olds, f"Facebridge, {settings.detect_fps:g} a second"),
        ],
        _targets(runs, first, olds),
    )
    if not chosen.source:
        section, target = _stills(settings, chosen.report.parent / "stills")
        sections.append(section)
        targets.append(target)
    met: list[Line] = [
        (name, measured, "met" if met else "MISSED") for name, measured, met in targets
    ]
    _show([*sections, ("Targets", ("target", "measured", ""), met)], chosen.report)
    sheet.write(chosen.report.with_suffix(".html"), runs)
    print("the shots:", chosen.report.with_suffix(".html"))
    missed = [f"{name}: {measured}" for name, measured, met in targets if not met]
    print("missed: " + "; ".join(missed) if missed else "all targets met")
    return int(bool(missed))


def _haar(runs: Sequence[Run]) -> Iterator[Run]:
    """The original's way on the same pictures, in a process of its own: OpenCV 5 has no cascades."""
    command = [_PYTHON, "-m", haar.__name__, *(str(run.path) for run in runs)]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as process:
        for run, line in zip(runs, process.stdout or (), strict=False):
            told = json.loads(line)
            old = Run(run.scene, run.seed, run.path, run.truth, run.seconds, {"detect": told["ms"]})
            old.ms |= {"follow": [], "encode": []}  # the PNGs are in the frame's time
            old.published = [Published(n, old.note(n, box), {}) for n, *box in told["boxes"]]
            counts = Counter(one.number for one in old.published)
            old.faces = {n: counts[n] for n in range(len(told["ms"]))}
            yield old
    if process.returncode:
        sys.exit("the Haar cascade did not run; its own words are above")


def _say(run: Run) -> None:
    of, ms = Tally([run]), median(run.ms["detect"] or [0])
    said = f"{of.found} of {of.visits} visits, {of.captures} captures, {of.wrong} wrong, {ms:.1f} ms a frame"
    print(f"  {run.scene}, seed {run.seed}: {said}", flush=True)


def _scenes(runs: Sequence[Run]) -> Section:
    counts = ("visits", "found", "captures", "wrong", "split", "swapped", "covered")
    rows: list[Line] = []
    for scene in (*dict.fromkeys(run.scene for run in runs), "all"):
        of = Tally([run for run in runs if scene in (run.scene, "all")])
        best = (
            [
                f"{of.captures / of.visits:.2f}",
                f"{of.good / of.visits:.0%}",
                f"{min(of.ratios):.2f}",
            ]
            if of.visits
            else "---"
        )
        rows.append((scene, *(str(getattr(of, name)) for name in counts), *best))
    return "Visits", ("scene", *counts, "each", "best", "worst"), rows


def _times(runs: Sequence[Run], olds: Sequence[Run]) -> Section:
    steps = {"detect": "frame", "follow": "frame", "crop": "face; part of follow", "encode": "shot"}
    figures = {
        f"{step} (a {each})": [ms for run in runs for ms in run.ms[step]]
        for step, each in steps.items()
    }
    figures["Haar and PNG (a frame)"] = [ms for run in olds for ms in run.ms["detect"]]
    rows = [
        (name, *(f"{np.percentile(ms or [0], share):.2f}" for share in (50, 95)))
        for name, ms in figures.items()
    ]
    return "Milliseconds of one thread", ("step", "median", "95 %"), rows


def _sides(first: Sequence[Run], olds: Sequence[Run], ours: str) -> Section:
    both = (Tally(first), Tally(olds))
    rows = [
        ("share of one CPU", *(f"{of.cpu:.1%}" for of in both)),
        ("frames looked at", *(str(of.frames) for of in both)),
        ("faces found in them", *(f"{of.recall:.0%}" for of in both)),
        ("visits found", *(f"{of.found} of {of.visits}" for of in both)),
        ("captures", *(str(of.captures) for of in both)),
        ("wrong crops", *(str(of.wrong) for of in both)),
    ]
    return (
        "Side by side, each at its own pace, without decoding",
        ("", ours, "Haar, every frame"),
        rows,
    )


def _targets(runs: Sequence[Run], first: Sequence[Run], olds: Sequence[Run]) -> list[Target]:
    of = Tally(runs)
    each = of.captures / max(of.visits, 1)
    steps = [
        zip(run.ms["detect"], run.ms["follow"], run.faces.values(), strict=False) for run in runs
    ]
    busy = [(detect, detect + follow) for some in steps for detect, follow, faces in some if faces]
    detect, both = np.median(busy or [(1, 1)], axis=0)
    less = Tally(olds).cpu / max(Tally(first).cpu, 1e-9)
    return [
        ("all visits found", f"{of.found} of {of.visits}", of.found == of.visits),
        ("no wrong crops", str(of.wrong), not of.wrong),
        ("1 to 2 captures a visit", f"{each:.2f}", not of.visits or 1 <= each <= 2),
        (
            "within 5 % of the best, 9 visits of 10",
            f"{of.good} of {of.visits}",
            of.good >= 0.9 * of.visits,
        ),
        (
            "detecting and following, at most 1.6 times detecting",
            f"{both / detect:.2f}",
            both <= 1.6 * detect,
        ),
        ("at least 8 times less CPU than Haar", f"{less:.1f}", less >= 8),
    ]


def _stills(settings: Settings, folder: Path) -> tuple[Section, Target]:
    stills.make(folder)
    every = settings.model_copy(
        update={"min_face": 8}
    )  # what MIN_FACE leaves out is a choice, not a miss
    ours = watch("stills", 0, folder, Truth.read(folder / "truth.json"), every)
    (old,) = _haar([ours])
    rows: list[Line] = []
    for index, condition in enumerate((*stills.CONDITIONS, "all")):
        those = [n for n in ours.faces if n // stills.EACH == index or condition == "all"]
        rows.append(
            (
                condition,
                str(len(those)),
                *(str(sum((n, n) in run.hits for n in those)) for run in (ours, old)),
            )
        )
    rows.append(
        (
            "faces that are none",
            "0",
            *(str(sum(r.faces.values()) - len(r.hits)) for r in (ours, old)),
        )
    )
    times = len(ours.hits) / max(len(old.hits), 1)
    section = ("Faces found in still pictures", ("condition", "faces", "Facebridge", "Haar"), rows)
    most = len(ours.faces) / max(len(old.hits), 1)
    return section, (
        "at least 1.4 times Haar's recall on stills",
        f"{times:.2f}; all faces: {most:.2f}",
        times >= 1.4,
    )


def _show(sections: Sequence[Section], report: Path) -> None:
    text = [f"OpenCV {cv2.__version__}, Python {platform.python_version()}, {platform.machine()}\n"]
    for title, head, rows in sections:
        table = Table(*head, title=title, title_justify="left")
        text += [
            f"## {title}\n",
            *("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)),
            "",
        ]
        for row in rows:
            table.add_row(*row)
        Console(width=None if sys.stdout.isatty() else 120).print(table)
    report.write_text("\n".join(text))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("stopped")
