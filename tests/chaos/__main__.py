"""Break everything, one thing after the other, under load: ./just chaos.

Each row of the table is one fault.
"""

import argparse
import multiprocessing
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from tests.chaos import report
from tests.chaos.faults import FAULTS
from tests.chaos.outcome import Outcome
from tests.chaos.stage import perform

PAGE = Path(__file__).resolve().parents[2] / "docs" / "chaos.md"
BEGIN = "<!-- chaos -->\n"
END = "<!-- /chaos -->\n"
BY_NAME_ONLY = "30 minutes of outage"  # in its long form


class Run(NamedTuple):
    """A fault, and the seed of this trial of it."""

    fault: str
    seed: int


def main() -> None:
    """Run the rows that are chosen, show them, say the sum; exit 1 unless all is sound."""
    options = _options()
    for number in (signal.SIGINT, signal.SIGTERM):
        # A shell's background job would ignore the first.
        signal.signal(number, signal.default_int_handler)
    names = _chosen(options)
    if not names:
        sys.exit("no row has these words: --list names all")
    if options.list:
        print(*names, sep="\n")
        return
    if options.repeat < 1 or options.jobs < 1:
        sys.exit("--repeat and --jobs: at least 1")
    runs = _runs(names, options.seed, options.repeat)
    print(f"seed {options.seed}: {len(names)} faults, {len(runs)} runs", flush=True)
    begun = time.monotonic()
    outcomes = _perform(runs, brief=options.brief, jobs=options.jobs)
    outcomes.sort(key=lambda outcome: (outcome.seed, names.index(outcome.fault)))
    seconds = time.monotonic() - begun
    _show(outcomes)
    page = report.markdown(outcomes, seed=options.seed, brief=options.brief, seconds=seconds)
    options.report.parent.mkdir(parents=True, exist_ok=True)
    options.report.write_text(page)
    if options.docs:
        _put_into_docs(page)
    print(report.summary(outcomes, faults=len(names)))
    all_sound = all(outcome.sound for outcome in outcomes)
    sys.exit(not (all_sound and len(outcomes) == len(runs)))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser("./just chaos", description=__doc__)
    add = parser.add_argument
    add("--only", action="append", metavar="WORDS", help="only rows with these words in their name")
    add("--except", action="append", metavar="WORDS", dest="but", help="no rows with these words")
    often = "each row so often; those that measure time once"
    add("--repeat", type=int, default=1, metavar="N", help=often)
    add("--seed", type=int, default=random.randrange(10**6), help="of every random choice")
    add("--brief", action="store_true", help="shorter faults: all rows within ten minutes")
    at_once = "rows at the same time (%(default)s)"
    add("--jobs", type=int, default=3, metavar="N", help=at_once)
    add("--list", action="store_true", help="name the rows and end")
    add("--report", type=Path, default=Path(".run/chaos.md"), help="the table (%(default)s)")
    add("--docs", action="store_true", help="put the table into docs/chaos.md too")
    add("--readme", action=_Moved, help=argparse.SUPPRESS)
    return parser.parse_args()


class _Moved(argparse.Action):
    """An option of yesterday, that says what to type today."""

    def __init__(self, **named: object) -> None:
        super().__init__(**(named | {"nargs": 0}))  # type: ignore[arg-type]

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        parser.error("--readme is now --docs: the table stands in docs/chaos.md")


def _chosen(options: argparse.Namespace) -> list[str]:
    """The names of the rows that are asked for, in the order of the table."""
    asked = options.only or [""]
    unwanted = options.but or []
    names = [name for name in FAULTS if any(words in name for words in asked)]
    names = [name for name in names if not any(words in name for words in unwanted)]
    everything = not (options.only or options.brief or options.list)
    if everything and BY_NAME_ONLY in names:
        names.remove(BY_NAME_ONLY)  # half an hour by itself
    return names


def _runs(names: list[str], seed: int, repeat: int) -> list[Run]:
    """Every row `repeat` times, each time with the next seed; those that measure time only once."""
    runs = [Run(name, seed) for name in names]
    for number in range(1, repeat):
        runs += [Run(name, seed + number) for name in names if not FAULTS[name].alone]
    return runs


def _perform(runs: list[Run], *, brief: bool, jobs: int) -> list[Outcome]:
    """The outcomes of all runs, or of those that were over when we were interrupted."""
    outcomes: list[Outcome] = []
    alone = [run for run in runs if FAULTS[run.fault].alone]
    together = [run for run in runs if not FAULTS[run.fault].alone]
    place = Path(tempfile.mkdtemp(prefix="facebridge-chaos-"))
    try:
        for some, at_once in ((together, jobs), (alone, 1)):
            for outcome in _side_by_side(some, place, brief=brief, jobs=at_once):
                outcomes.append(outcome)
                print(report.line(outcome), flush=True)
    except KeyboardInterrupt:
        shutil.rmtree(place, ignore_errors=True)  # of trials that were not over
        print("stopped; nothing runs on", file=sys.stderr)
    with suppress(OSError):  # a trial that went wrong has left something to look at
        place.rmdir()
    return outcomes


def _side_by_side(runs: list[Run], place: Path, *, brief: bool, jobs: int) -> Iterator[Outcome]:
    """The outcomes as they come; each trial has a process of its own."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, spawn, max_tasks_per_child=1) as pool:
        ready = [pool.submit(perform, *run, brief=brief, place=place) for run in runs]
        try:
            for future in as_completed(ready):
                yield future.result()
        except BaseException:
            for child in multiprocessing.active_children():
                child.terminate()
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _show(outcomes: list[Outcome]) -> None:
    width = None if sys.stdout.isatty() else 200
    Console(width=width).print(report.table(outcomes))
    for outcome in outcomes:
        if not outcome.sound:
            print(f"BAD: {outcome.fault} [{outcome.seed}]: {outcome.trouble}")


def _put_into_docs(table: str) -> None:
    before, _, rest = PAGE.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(before + BEGIN + table + END + after)


if __name__ == "__main__":
    main()
