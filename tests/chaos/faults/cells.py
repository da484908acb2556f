"""Cells that fail while others are well, and edges that move from one to the next."""

import time
from collections.abc import Callable

from demo.stack import Stack
from tests.chaos.catalogue import fault
from tests.chaos.cells import CELL, Cells, two_cells
from tests.chaos.trial import Load, Trial

QUIET = Load(rate=10, sizes=(5_000, 30_000))
SERVED_WITHIN_S = 60


def harm(act: Callable[[Trial, Stack], None], *, heals: bool = False) -> Callable[[Trial], None]:
    """Harm the cell that the edge is at; it must be served soon, by the other if none `heals`."""

    def harmed(trial: Trial) -> None:
        with two_cells(trial) as cells:
            first, second = cells.all
            act(trial, first)
            served_again(trial)
            stored = second.metric("processor", "facebridge_stored_total")
            trial.expect(stored or heals, "it was not the other cell that stored")
            trial.heal()
            trial.gateway.mode = "well"
            trial.finish()

    return harmed


def served_again(trial: Trial) -> None:
    """Wait until what is captured from now on is stored."""
    begun = time.monotonic()
    trial.wait(1)
    newest = trial.last_seq()
    trial.until(
        lambda: not trial.waiting_until(newest),
        SERVED_WITHIN_S,
        otherwise="the edge is not served again",
    )
    trial.outcome.note = f"served again after {time.monotonic() - begun:.0f} s"


def refuse(trial: Trial, _cell: Stack) -> None:
    trial.gateway.mode = "403"  # the second cell has its own way to the store


def hang(_trial: Trial, cell: Stack) -> None:
    cell.hang("processor")


def cut_off(_trial: Trial, cell: Stack) -> None:
    for part in CELL:
        cell.hang(part)


def kill(_trial: Trial, cell: Stack) -> None:
    cell.kill(*CELL)


fault("a cell that the store refuses, others not", QUIET)(harm(refuse))
fault("a cell's processor hangs", QUIET)(harm(hang, heals=True))
fault("a cell is cut off", QUIET)(harm(cut_off))
fault("a cell is killed and stays away", QUIET)(harm(kill))


@fault("a cell is sick from its start", QUIET)
def sick(trial: Trial) -> None:
    with two_cells(trial) as cells:
        _, second = cells.all
        cells.enter(second, ready=False)
        second.stop(*CELL)
        second.set("processor", "AWS_SECRET_ACCESS_KEY", "wrong")
        for part in CELL:
            second.launch(part)
        trial.wait(40, brief=15)
        for _ in range(trial.count(4, brief=2)):
            trial.link.cut()  # and the edge comes back by the address of all
            trial.link.heal()
            trial.wait(3)
        trial.expect(
            not trial.said_by(second, "processor", "stored"), "the sick cell stored something"
        )
        trial.heal()
        trial.finish()


@fault("all cells replaced, one by one", QUIET)
def replaced(trial: Trial) -> None:
    with two_cells(trial) as cells:
        for _ in range(trial.count(3, brief=1)):
            for cell in cells.all:
                replace(cells, cell)
                trial.wait(12)
        trial.heal()
        trial.finish()


def replace(cells: Cells, cell: Stack) -> None:
    """As a rollout does: no new connections, both parts end, and a new cell takes its place."""
    cells.enter(cell, ready=False)
    cell.stop(*CELL)
    cell.start(*CELL)
    cells.enter(cell, ready=True)


@fault("an edge moves between cells every 10 s")
def moves(trial: Trial) -> None:
    with two_cells(trial, tended=False) as cells:
        for number in range(trial.count(12, brief=4)):
            trial.link.target = cells.all[number % 2].ports["cloud"]
            trial.link.cut()
            trial.link.heal()
            trial.wait(10, brief=6)
        stored = [cell.metric("processor", "facebridge_stored_total") for cell in cells.all]
        trial.expect(min(stored), f"one cell stored nothing: {stored}")
        trial.heal()
        trial.finish()
