"""A whole system in containers, known by what its audit says; nothing of ours is imported here."""

import re
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass

from tests.support.engine import until

SILENT_WITHIN_S = 2.0  # of the signal by which a broker reads its access rules again


@dataclass(frozen=True)
class Audited:
    """The last line of an audit."""

    captured: int
    stored: int
    lost: int
    duplicated: int

    @classmethod
    def of(cls, printed: str) -> "Audited":
        last_line = printed.splitlines()[-1]
        numbers = {name: int(number) for name, number in re.findall(r"(\w+)=(\d+)", last_line)}
        return cls(**numbers)

    @property
    def sound(self) -> bool:
        """Whether nothing was lost and nothing is there twice."""
        return self.lost == 0 and self.duplicated == 0

    @property
    def drained(self) -> bool:
        """Whether everything that was captured is there."""
        return self.stored == self.captured


class Site(ABC):
    """What the container tests have in common, wherever the containers run."""

    @abstractmethod
    def audit_output(self) -> str:
        """What an audit prints."""

    def audit(self) -> Audited:
        """What an audit finds now; some may be on their way while people walk by."""
        return Audited.of(self.audit_output())

    def flows(self) -> None:
        """Wait until faces arrive that are captured from now on; none is lost or twice."""
        captured = self.audit().captured

        def arrived() -> Audited | None:
            now = self.audit()
            return now if now.stored > captured + 3 else None

        assert until(arrived, 120).sound

    def stays_silent(self) -> None:
        """What is captured by an edge that was revoked stays where it is."""
        time.sleep(SILENT_WITHIN_S)
        before = self.audit()
        time.sleep(10)
        during = self.audit()
        assert during.stored == before.stored
        assert during.captured > before.captured
