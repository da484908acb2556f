"""What an audit found of a camera, and how it is told: a line, a table, a list of names."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from pyroaring import BitMap
from rich import box
from rich.table import Table

from audit.ranges import ranges
from bus.topics import CameraId

_NEEDS_LEDGER = {"waiting", "dropped", "spoilt"}  # columns that a bucket alone cannot fill


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What an audit found of one camera.

    `missing` and `twice` are seqs, `spoilt` keys whose bytes or date are not those captured. Every
    captured seq counts once: as stored, waiting, dropped, quarantined, missing, or by its spoilt
    object. Where no outbox was asked (`ledger` is False), `captured` is the highest seq in the
    bucket and `quarantined` counts objects; whether a missing seq was dropped by choice or is on
    its way, the bucket does not know.
    """

    camera_id: CameraId
    ledger: bool
    captured: int
    stored: int
    waiting: int = 0
    dropped: int = 0
    quarantined: int = 0
    missing: BitMap = field(default_factory=BitMap)
    twice: BitMap = field(default_factory=BitMap)
    spoilt: Sequence[str] = ()
    notes: Sequence[str] = ()

    @property
    def sound(self) -> bool:
        """Whether nothing is lost and nothing is there twice."""
        return not (self.missing or self.twice or self.spoilt)

    @property
    def lost(self) -> int:
        """How many captures are not in the bucket as they were, and nothing explains it."""
        return len(self.missing) + len(self.spoilt)

    def line(self) -> str:
        """The last line of a demo and an audit."""
        return line([self])

    def table(self) -> Table:
        """The same for people, with what is in trouble below it."""
        shown = table([self])
        shown.caption = "\n".join(self.named()) or None
        return shown

    def named(self) -> list[str]:
        """A line for each kind of trouble, that names every seq or key of it."""
        kinds = {
            "missing": ranges(self.missing),
            "stored twice": ranges(self.twice),
            "spoilt": ", ".join(self.spoilt),
        }
        return [f"{self.camera_id} {kind}: {found}" for kind, found in kinds.items() if found]

    def counts(self) -> dict[str, int]:
        """The columns of the table."""
        return {
            "highest": self.captured,
            "stored": self.stored,
            "waiting": self.waiting,
            "dropped": self.dropped,
            "quarantined": self.quarantined,
            "missing": len(self.missing),
            "twice": len(self.twice),
            "spoilt": len(self.spoilt),
        }


def line(found: Sequence[Findings]) -> str:
    """The last line: sums over cameras.

    A bucket alone does not know what was captured, nor what is lost.
    """
    captured = sum(one.captured for one in found)
    stored = sum(one.stored for one in found)
    lost = sum(one.lost for one in found)
    twice = sum(len(one.twice) for one in found)
    if all(one.ledger for one in found):
        return f"captured={captured} stored={stored} lost={lost} duplicated={twice}"
    return f"seqs={captured} stored={stored} missing={lost} duplicated={twice}"


def table(found: Sequence[Findings]) -> Table:
    """A row for each camera; `found` is not empty."""
    ledger = all(one.ledger for one in found)
    shown = Table(caption_justify="left", box=box.SIMPLE_HEAD, padding=0)
    shown.title = "outbox ledger against bucket" if ledger else "the bucket alone"
    shown.add_column("camera", overflow="fold")
    for name in found[0].counts():
        shown.add_column(name, justify="right", no_wrap=True)
    for one in found:
        shown.add_row(str(one.camera_id), *_cells(one))
    return shown


def _cells(found: Findings) -> list[str]:
    cells = {name: str(count) for name, count in found.counts().items()}
    if not found.ledger:
        cells |= dict.fromkeys(_NEEDS_LEDGER, "?")
    return list(cells.values())
