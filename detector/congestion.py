"""How much may be on its way at once: less when it is lost, more when it comes home.

RFC 9002, section 7, with captures in place of packets: slow start, then congestion avoidance; what
left before the last halving halves it no more.
"""

FIRST_BYTES = 256 * 1024  # after a start, when nothing is known of the way
LEAST_BYTES = 64 * 1024
MOST_BYTES = 8 * 1024 * 1024


class CongestionWindow:
    """The bytes that may be on their way; times are in seconds of the caller's clock."""

    def __init__(self) -> None:
        self.size = FIRST_BYTES
        self._slow_start_below = MOST_BYTES
        self._halved_at = 0.0

    def allows(self, size: int, on_their_way: int) -> bool:
        """Whether a capture of `size` bytes may follow what is on its way; one always may."""
        return on_their_way == 0 or on_their_way + size <= self.size

    def came_home(self, size: int, on_their_way: int) -> None:
        """A receipt came for a capture; it opens the window, unless it was not in use (7.8)."""
        if on_their_way + size < self.size // 2:
            return
        grown = size
        if self.size >= self._slow_start_below:
            grown = size * size // self.size
        self.size = min(self.size + max(grown, 1), MOST_BYTES)

    def lost(self, sent_at: float, now: float) -> None:
        """A copy that was sent at a time did not come home."""
        if sent_at <= self._halved_at:
            return
        self._halved_at = now
        self._slow_start_below = max(self.size // 2, LEAST_BYTES)
        self.size = self._slow_start_below

    def restart(self) -> None:
        """Whoever held what was on its way has forgotten it."""
        self.size = min(self.size, FIRST_BYTES)
