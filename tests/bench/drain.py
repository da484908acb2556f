"""Measure what comes after the edge: ./just bench drain. How fast it goes, what it costs, how soon.

Four edges speak to a cloud broker, a processor and a store of their own on this machine, straight
or by way of an edge broker and its bridge. Drain: each edge has 16 captures under way, as fast as
it goes. Receipts: captures come at a steady rate, and each is timed from the hand-over to the
receipt. With --against all of it is done with another revision too, by turns, and the ratios are
what counts: the machine's own speed is in both.
"""

import argparse
import os
import random
import sys
import tempfile
import time
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from rich.console import Console
from rich.table import Table

from bus.message import Message
from bus.receipt import Receipt
from demo.stack import ROOT, StackError
from tests.bench.revision import DEVICE, EDGES, Revision, RevisionError, checkout
from tests.support.captures import capture, png
from tests.support.peer import Peer
from tests.support.waiting import until

PARTS = ("store", "cloud-broker", "edge-broker", "processor")
LOADED = ("processor", "cloud-broker", "store")
WINDOW = 16  # captures of an edge that are under way
RATES = (20, 50)  # captures a second
LATENCY_BYTES = 30_000
PATIENCE_S = 120
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")

# The most, or the least, that a ratio may be; of 30 KB.
AT_LEAST = {"drain, captures a second": 1.6}
AT_MOST = {"CPU of processor, ms a capture": 0.55}
P50_AT_MOST = 0.35
P99_AT_MOST = 0.4


@dataclass(frozen=True)
class Measure:
    """What was measured, of captures of which size."""

    what: str
    kilobytes: int


class Sender(Peer):
    """An edge: sends captures, and notes when the receipt of each came."""

    def __init__(self, side: Revision, edge: str, *, bridged: bool, numbers: Iterator[int]) -> None:
        port = side.ports["edge" if bridged else "cloud"]
        certs = None if bridged else side.bundle(edge)
        super().__init__(
            port, certs, topics=(f"stored/{edge}/#",), sends_at_once=side.sends_at_once
        )
        self.took_s: dict[int, float] = {}
        self._edge = edge
        self._numbers = numbers
        self._sent_at: dict[int, float] = {}
        self._left: deque[tuple[int, Message]] = deque()

    def prepare(self, many: int, size: int) -> None:
        """Make captures, each with a picture of its own."""
        self._left.clear()
        self.took_s.clear()
        for seq in (next(self._numbers) for _ in range(many)):
            picture = png(filler=random.randbytes(size - 100))
            made = capture(seq, edge=self._edge, captured_at=datetime.now(UTC), png=picture)
            self._left.append((seq, made.to_message(seq)))

    def send(self) -> None:
        """Send the next one, if there is one."""
        if self._left:
            seq, message = self._left.popleft()
            self._sent_at[seq] = time.monotonic()
            self.publish(message)

    def _message(self, mqtt: Any, userdata: Any, got: Any) -> None:
        super()._message(mqtt, userdata, got)
        seq = Receipt.from_message(self.got.pop()).seq
        if seq in self._sent_at:
            self.took_s[seq] = time.monotonic() - self._sent_at.pop(seq)
            self.received()

    def received(self) -> None:
        """Called for each receipt, in the connection's thread."""


class Drain(Sender):
    """An edge whose window is always full."""

    def received(self) -> None:
        self.send()


class Side:
    """A revision under load, and what was measured of it, by round."""

    def __init__(self, name: str, stack: Revision) -> None:
        self.name = name
        self.stack = stack
        self.found: dict[Measure, list[float]] = defaultdict(list)
        self._numbers = count(1)

    def drain(self, size: int, many: int) -> None:
        """Let all edges send `many` captures of `size` bytes between them."""
        senders = [Drain(self.stack, edge, bridged=False, numbers=self._numbers) for edge in EDGES]
        with ExitStack() as connections:
            for sender in senders:
                connections.enter_context(sender)
                sender.prepare(many // len(senders), size)
            before = {part: self._cpu_s(part) for part in LOADED}
            begun = time.monotonic()
            for sender in senders:
                for _ in range(WINDOW):
                    sender.send()
            total = many // len(senders) * len(senders)
            until(lambda: sum(len(sender.took_s) for sender in senders) == total, PATIENCE_S)
            took_s = time.monotonic() - begun
            after = {part: self._cpu_s(part) for part in LOADED}
        self._note("drain, captures a second", size, total / took_s)
        for part in LOADED:
            cost_ms = 1000 * (after[part] - before[part]) / total
            self._note(f"CPU of {part}, ms a capture", size, cost_ms)

    def steady(self, rate: int, seconds: float, *, bridged: bool) -> None:
        """Send captures at a steady rate, and time their receipts."""
        edge = DEVICE if bridged else EDGES[0]
        sender = Sender(self.stack, edge, bridged=bridged, numbers=self._numbers)
        with sender:
            many = max(int(rate * seconds), 2)
            sender.prepare(many, LATENCY_BYTES)
            begun = time.monotonic()
            for number in range(many):
                time.sleep(max(begun + number / rate - time.monotonic(), 0))
                sender.send()
            until(lambda: len(sender.took_s) == many, PATIENCE_S)
        way = "by the bridge" if bridged else "straight"
        cuts = quantiles(sender.took_s.values(), n=100, method="inclusive")
        for name, cut in (("p50", 49), ("p99", 98)):
            self._note(f"receipt at {rate}/s {way}, {name} in ms", LATENCY_BYTES, 1000 * cuts[cut])

    def _note(self, what: str, size: int, value: float) -> None:
        self.found[Measure(what, size // 1000)].append(value)

    def _cpu_s(self, part: str) -> float:
        fields = Path(f"/proc/{self.stack.pid(part)}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def main(words: Sequence[str] | None = None) -> int:
    """Measure, and show a table."""
    options = _options(words)
    try:
        with ExitStack() as opened:
            sides = _sides(options.against, opened)
            for number in range(1, options.rounds + 1):
                for side in sides:
                    print(f"round {number} of {options.rounds}: {side.name}", flush=True)
                    _measure(side, options)
    except (RevisionError, StackError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("stopped; nothing is left running")
    Console(width=None if sys.stdout.isatty() else 120).print(_table(sides))
    return 0


def _options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "./just bench drain",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--against", metavar="REV", help="a revision of git, or its folder")
    parser.add_argument("--rounds", type=int, default=3, help="(%(default)s)")
    parser.add_argument(
        "--captures", type=int, default=800, help="to drain, each round and size (%(default)s)"
    )
    parser.add_argument(
        "--seconds", type=float, default=10, help="of each steady rate (%(default)s)"
    )
    options = parser.parse_args(words)
    if options.rounds < 1 or options.captures < len(EDGES) or options.seconds <= 0:
        parser.error(f"--rounds 1, --captures {len(EDGES)} and some --seconds at least")
    return options


def _sides(against: str | None, opened: ExitStack) -> list[Side]:
    """The systems, started; they end with `opened`."""
    roots = {"this one": ROOT}
    if against:
        roots[Path(against).name] = opened.enter_context(checkout(against))
    sides = []
    for name, root in roots.items():
        folder = opened.enter_context(tempfile.TemporaryDirectory())
        stack = opened.enter_context(Revision(Path(folder), root))
        stack.start(*PARTS)
        sides.append(Side(name, stack))
    return sides


def _measure(side: Side, options: argparse.Namespace) -> None:
    for size in (30_000, 150_000):
        side.drain(size, options.captures)
    for bridged in (False, True):
        for rate in RATES:
            side.steady(rate, options.seconds, bridged=bridged)


def _table(sides: Sequence[Side]) -> Table:
    """A row for each measure: the medians of the rounds, their ratio, and its target."""
    table = Table("", "KB", *(side.name for side in sides))
    if len(sides) > 1:
        table.add_column("ratio", justify="right")
        table.add_column("target")
    for measure in sides[0].found:
        values = [median(side.found[measure]) for side in sides]
        row = [measure.what, str(measure.kilobytes), *(f"{value:.1f}" for value in values)]
        if len(values) > 1:
            ratio = values[0] / max(values[1], 1e-9)
            row += [f"{ratio:.2f}", _judged(measure, ratio)]
        table.add_row(*row)
    return table


def _judged(measure: Measure, ratio: float) -> str:
    """The target of a ratio, and whether it is met; nothing if there is none."""
    if measure.kilobytes != LATENCY_BYTES // 1000:
        return ""
    least = AT_LEAST.get(measure.what)
    if least:
        return f"at least {least}, {_met(ratio >= least)}"
    most = AT_MOST.get(measure.what)
    if "p50" in measure.what:
        most = P50_AT_MOST
    elif "p99" in measure.what:
        most = P99_AT_MOST
    return f"at most {most}, {_met(ratio <= most)}" if most else ""


def _met(is_met: object) -> str:
    return "met" if is_met else "missed"


if __name__ == "__main__":
    sys.exit(main())
