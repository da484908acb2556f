"""What a trial measured: a row of the table."""

from dataclasses import dataclass, field


@dataclass
class Outcome:
    """Counts of captures, and what it took. `twice` are those that the store took again."""

    fault: str
    seed: int
    captured: int = 0
    stored: int = 0
    dropped: int = 0
    lost: int = 0
    twice: int = 0
    absorbed: int = 0
    recovery_s: float = 0.0
    peak_waiting: int = 0
    peak_mb: dict[str, float] = field(default_factory=dict)  # resident memory by part
    seconds: float = 0.0
    note: str = ""
    trouble: str = ""

    @property
    def sound(self) -> bool:
        """Whether nothing was lost or doubled, and the fault was what it should be."""
        return not (self.lost or self.twice or self.trouble) and self.captured > 0

    def peak(self, part: str, megabytes: float) -> None:
        """Note the memory of a part, if it is more than ever before."""
        self.peak_mb[part] = max(self.peak_mb.get(part, 0), megabytes)


def together(outcomes: list[Outcome]) -> Outcome:
    """Several runs of one fault as one: counts added up, the worst of what was measured."""
    last = outcomes[-1]
    one = Outcome(
        fault=last.fault,
        seed=last.seed,
        captured=sum(each.captured for each in outcomes),
        stored=sum(each.stored for each in outcomes),
        dropped=sum(each.dropped for each in outcomes),
        lost=sum(each.lost for each in outcomes),
        twice=sum(each.twice for each in outcomes),
        absorbed=sum(each.absorbed for each in outcomes),
        recovery_s=max(each.recovery_s for each in outcomes),
        peak_waiting=max(each.peak_waiting for each in outcomes),
        note=last.note,
    )
    for each in outcomes:
        for part, megabytes in each.peak_mb.items():
            one.peak(part, megabytes)
    return one
