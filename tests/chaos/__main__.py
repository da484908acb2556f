"""Break everything, one thing after the other, under load: ./just chaos. Each row of the table is one fault."""

import argparse
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import suppress
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.chaos.faults import ALONE, FAULTS, perform
from tests.chaos.trial import MEASURED, Row

README = Path(__file__).resolve().parents[2] / "README.md"
MARK, LONG = ("<!-- chaos -->\n", "<!-- /chaos -->\n"), "30 minutes of outage"
COUNTS = (
    "captured",
    "stored",
    "dropped",
    "lost",
    "stored twice",
    "absorbed",
    "recovery (s)",
    "peak waiting",
)
HEAD = ("fault", *COUNTS, *(f"{part} (MB)" for part in MEASURED[:3]), "")


def main() -> None:
    """Run the rows that are chosen, show them, say the sum as the last line; exit 1 unless all is sound."""
    parser = argparse.ArgumentParser("./just chaos", description=__doc__)
    parser.add_argument(
        "--only", action="append", metavar="WORDS", help="only rows with these words in their name"
    )
    parser.add_argument(
        "--except", action="append", metavar="WORDS", dest="but", help="no rows with these words"
    )
    parser.add_argument(
        "--repeat",
        type=int,
        default=1,
        metavar="N",
        help="each row so often; those that measure time once",
    )
    parser.add_argument(
        "--seed", type=int, default=random.randrange(10**6), help="of every random choice"
    )
    parser.add_argument(
        "--brief", action="store_true", help="shorter faults: all rows within ten minutes"
    )
    parser.add_argument(
        "--jobs", type=int, default=3, metavar="N", help="rows at the same time (%(default)s)"
    )
    parser.add_argument("--list", action="store_true", help="name the rows and end")
    parser.add_argument(
        "--report", type=Path, default=Path(".run/chaos.md"), help="the table (%(default)s)"
    )
    parser.add_argument("--readme", action="store_true", help="put the table into the README too")
    chosen = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(
            number, signal.default_int_handler
        )  # a shell's background job would ignore the first
    asked, but = chosen.only or (), chosen.but or ()
    names = [name for name in FAULTS if not asked or any(words in name for words in asked)]
    names = [name for name in names if not any(words in name for words in but)]
    if not (asked or chosen.brief or chosen.list) and LONG in names:
        names.remove(LONG)  # half an hour by itself: by name only
    if not names:
        sys.exit("no row has these words: --list names all")
    if chosen.list:
        sys.exit(print(*names, sep="\n"))
    if chosen.repeat < 1 or chosen.jobs < 1:
        sys.exit("--repeat and --jobs: at least 1")
    begun, rows = time.monotonic(), []
    times = range(chosen.repeat)
    runs = [
        (name, chosen.seed + number)
        for number in times
        for name in names
        if not (number and name in ALONE)
    ]
    print(f"seed {chosen.seed}: {len(names)} faults, {len(runs)} runs", flush=True)
    place = tempfile.mkdtemp(prefix="facebridge-chaos-")
    try:
        for row in _all(runs, chosen.brief, place, chosen.jobs):
            rows.append(row)
            counts = f"captured={row.captured} lost={row.lost} duplicated={row.twice}"
            said = (
                f"{row.fault} [{row.seed}] {counts} in {row.seconds:.0f} s {row.note}{_said(row)}"
            )
            print("ok " if row.sound else "BAD", said, flush=True)
    except KeyboardInterrupt:
        shutil.rmtree(place, ignore_errors=True)  # of trials that were not over
        print("stopped; nothing runs on", file=sys.stderr)
    finally:
        with suppress(OSError):  # a trial that went wrong has left something to look at
            Path(place).rmdir()
    rows.sort(key=lambda row: (row.seed, names.index(row.fault)))
    Console(width=None if sys.stdout.isatty() else 200).print(_table(rows))
    chosen.report.parent.mkdir(parents=True, exist_ok=True)
    text = _markdown(rows, chosen.seed, chosen.brief, time.monotonic() - begun)
    chosen.report.write_text(text)
    if chosen.readme:
        before, _, rest = README.read_text().partition(MARK[0])
        README.write_text(before + MARK[0] + text + MARK[1] + rest.partition(MARK[1])[2])
    for row in rows:
        if not row.sound:
            print(f"BAD: {row.fault} [{row.seed}]:{_said(row)}")
    captured, lost, twice = (
        sum(getattr(row, name) for row in rows) for name in ("captured", "lost", "twice")
    )
    print(
        f"faults={len(names)} runs={len(rows)} captured={captured} lost={lost} duplicated={twice}"
    )
    sys.exit(len(rows) < len(runs) or not all(row.sound for row in rows))


def _all(runs: list[tuple[str, int]], brief: bool, place: str, jobs: int) -> Iterator[Row]:
    """The rows as they get ready; those that measure time come last, one at a time."""
    spawn = multiprocessing.get_context("spawn")
    for count, some in (
        (jobs, [r for r in runs if r[0] not in ALONE]),
        (1, [r for r in runs if r[0] in ALONE]),
    ):
        with ProcessPoolExecutor(count, spawn, max_tasks_per_child=1) as pool:
            ready: list[Future[Row]] = [
                pool.submit(perform, name, seed, brief, place) for name, seed in some
            ]
            try:
                for future in as_completed(ready):
                    yield future.result()
            except BaseException:
                for child in multiprocessing.active_children():
                    child.terminate()
                pool.shutdown(wait=True, cancel_futures=True)
                raise


def _said(row: Row) -> str:
    return f" {row.trouble}" if row.trouble else ""


def _cells(row: Row) -> list[str]:
    numbers = [
        row.captured,
        row.stored,
        row.dropped,
        row.lost,
        row.twice,
        row.absorbed,
        round(row.recovery, 1),
        row.peak_waiting,
    ]
    return [
        row.fault,
        *map(str, numbers),
        *(f"{row.peak.get(part, 0):.0f}" for part in MEASURED[:3]),
        row.note,
    ]


def _table(rows: list[Row]) -> Table:
    table = Table(*HEAD)
    for row in rows:
        table.add_row(*_cells(row), style="" if row.sound else "bold red")
    return table


def _folded(rows: list[Row]) -> list[Row]:
    """One row for each fault: counts of all its runs together, the worst of what was measured."""
    folded: dict[str, Row] = {}
    for row in rows:
        one = folded.setdefault(row.fault, Row(row.fault, row.seed))
        for name in ("captured", "stored", "dropped", "lost", "twice", "absorbed"):
            setattr(one, name, getattr(one, name) + getattr(row, name))
        one.recovery = max(one.recovery, row.recovery)
        one.peak_waiting = max(one.peak_waiting, row.peak_waiting)
        one.peak = {part: max(one.peak.get(part, 0), row.peak.get(part, 0)) for part in MEASURED}
        one.note = row.note
    return list(folded.values())


def _markdown(rows: list[Row], seed: int, brief: bool, seconds: float) -> str:
    lines = [" | ".join(HEAD), " | ".join(["---"] + ["---:"] * (len(HEAD) - 2) + ["---"])]
    lines += [" | ".join(_cells(row)) for row in _folded(rows)]
    form = "short form" if brief else "long form"
    said = f"Seed {seed}, {form}, {len(rows)} runs, {seconds / 60:.0f} minutes on {os.cpu_count()} cores. "
    said += "MB: resident memory at its peak; recovery and waiting: the worst."
    return "\n".join([*(f"| {line} |" for line in lines), "", said, ""])


if __name__ == "__main__":
    main()
