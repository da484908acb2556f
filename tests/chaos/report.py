"""The table of a run, for the terminal and for a page."""

import os
from collections.abc import Callable
from itertools import groupby

from rich.table import Table

from tests.chaos.outcome import Outcome, together

COLUMNS: dict[str, Callable[[Outcome], object]] = {
    "fault": lambda row: row.fault,
    "captured": lambda row: row.captured,
    "stored": lambda row: row.stored,
    "dropped": lambda row: row.dropped,
    "lost": lambda row: row.lost,
    "stored twice": lambda row: row.twice,
    "absorbed": lambda row: row.absorbed,
    "recovery (s)": lambda row: round(row.recovery_s, 1),
    "peak waiting": lambda row: row.peak_waiting,
    "edge-broker (MB)": lambda row: round(row.peak_mb.get("edge-broker", 0)),
    "cloud-broker (MB)": lambda row: round(row.peak_mb.get("cloud-broker", 0)),
    "processor (MB)": lambda row: round(row.peak_mb.get("processor", 0)),
    "": lambda row: row.note,
}
LEGEND = "MB: resident memory at its peak; recovery and waiting: the worst."


def table(outcomes: list[Outcome]) -> Table:
    """Every run, what is not sound in red."""
    shown = Table(*COLUMNS)
    for outcome in outcomes:
        shown.add_row(*_cells(outcome), style="" if outcome.sound else "bold red")
    return shown


def markdown(outcomes: list[Outcome], *, seed: int, brief: bool, seconds: float) -> str:
    """Every fault, all its runs together, and a line about how they were made."""
    numbers = ["---:"] * (len(COLUMNS) - 2)
    rows = [list(COLUMNS), ["---", *numbers, "---"]]
    in_order = list(dict.fromkeys(outcome.fault for outcome in outcomes))
    sorted_ = sorted(outcomes, key=lambda outcome: in_order.index(outcome.fault))
    for _, runs in groupby(sorted_, key=lambda outcome: outcome.fault):
        rows.append(_cells(together(list(runs))))
    form = "short form" if brief else "long form"
    minutes = f"{seconds / 60:.0f} minutes on {os.cpu_count()} cores"
    lines = [f"| {' | '.join(row)} |" for row in rows]
    lines += ["", f"Seed {seed}, {form}, {len(outcomes)} runs, {minutes}. {LEGEND}", ""]
    return "\n".join(lines)


def summary(outcomes: list[Outcome], faults: int) -> str:
    """The last line of a run."""
    captured = sum(outcome.captured for outcome in outcomes)
    lost = sum(outcome.lost for outcome in outcomes)
    twice = sum(outcome.twice for outcome in outcomes)
    runs = len(outcomes)
    return f"faults={faults} runs={runs} captured={captured} lost={lost} duplicated={twice}"


def line(outcome: Outcome) -> str:
    """What is said of a run when it ends."""
    verdict = "ok " if outcome.sound else "BAD"
    counts = f"captured={outcome.captured} lost={outcome.lost} duplicated={outcome.twice}"
    said = f"{verdict} {outcome.fault} [{outcome.seed}] {counts} in {outcome.seconds:.0f} s"
    return " ".join([said, outcome.note, outcome.trouble]).rstrip()


def _cells(outcome: Outcome) -> list[str]:
    return [str(cell(outcome)) for cell in COLUMNS.values()]
