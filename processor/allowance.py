"""How often something may happen to each edge."""

import threading
import time
from collections.abc import Callable


class Allowance:
    """So many `times` in `period_s` for each edge, and at first as many at once; for any thread."""

    def __init__(
        self,
        times: int,
        *,
        period_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._times = times
        self._per_s = times / period_s
        self._clock = clock
        self._left: dict[str, float] = {}
        self._asked_at: dict[str, float] = {}
        self._mutex = threading.Lock()

    def take(self, edge: str) -> bool:
        """Whether it may happen to `edge` once more."""
        with self._mutex:
            now = self._clock()
            passed_s = now - self._asked_at.get(edge, now)
            left = min(self._left.get(edge, self._times) + passed_s * self._per_s, self._times)
            self._asked_at[edge] = now
            allowed = left >= 1
            self._left[edge] = left - allowed
            return allowed
