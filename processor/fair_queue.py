"""What waits to be stored: a short queue for each edge, served in turn, with budgets in bytes.

So nobody's share depends on how much somebody else sends. Beyond a budget messages are shed: their
edge sends them again, slower.
"""

import threading
from collections import OrderedDict, deque
from dataclasses import dataclass, field

from bus.message import Message

EDGE_BYTES = 9 * 1024 * 1024  # that one edge may have waiting,
EDGE_MESSAGES = 256  # and no more messages than these
TOTAL_BYTES = 24 * 1024 * 1024  # of all edges; less than the broker lets us have in our hands


@dataclass(slots=True)
class Share:
    """What one edge has waiting, and how many of its messages are being stored."""

    messages: deque[tuple[Message, int]] = field(default_factory=deque)  # with their bytes
    size: int = 0  # bytes
    busy: int = 0


class FairQueue:
    """Messages by edge; safe for several threads. `busy_at_most` of one edge are out at once."""

    def __init__(self, busy_at_most: int) -> None:
        self._busy_at_most = busy_at_most
        self._shares: OrderedDict[str, Share] = OrderedDict()  # whose turn it is comes first
        self._size = 0
        self._changed = threading.Condition()

    @property
    def size(self) -> int:
        """How many bytes wait."""
        return self._size

    def offer(self, edge: str, message: Message) -> list[Message]:
        """Let a message wait; what had to be shed for it, which may be the message itself."""
        with self._changed:
            share = self._shares.setdefault(edge, Share())
            size = _size(message)
            full = len(share.messages) >= EDGE_MESSAGES or share.size + size > EDGE_BYTES
            if full:
                return [message]
            share.messages.append((message, size))
            share.size += size
            self._size += size
            self._changed.notify()
            return self._shed()

    def take(self, timeout_s: float) -> tuple[str, Message] | None:
        """The next message and its edge, whose turn is over then; None after `timeout_s`.

        The edge has one more busy until `done`.
        """
        with self._changed:
            edge = self._changed.wait_for(self._whose_turn, timeout_s)
            if edge is None:
                return None
            self._shares.move_to_end(edge)
            share = self._shares[edge]
            share.busy += 1
            return edge, self._pop(share, newest=False)

    def done(self, edge: str) -> None:
        """A message that was taken is stored, put away, or given up."""
        with self._changed:
            share = self._shares[edge]
            held_back = share.busy == self._busy_at_most and bool(share.messages)
            share.busy -= 1
            if not share.messages and not share.busy:
                del self._shares[edge]
            if held_back:
                self._changed.notify()

    def _whose_turn(self) -> str | None:
        for edge, share in self._shares.items():
            if share.messages and share.busy < self._busy_at_most:
                return edge
        return None

    def _shed(self) -> list[Message]:
        """What goes when all edges together have too much: the newest of who has most."""
        shed = []
        while self._size > TOTAL_BYTES:
            largest = max(self._shares.values(), key=lambda share: share.size)
            shed.append(self._pop(largest, newest=True))
        return shed

    def _pop(self, share: Share, *, newest: bool) -> Message:
        message, size = share.messages.pop() if newest else share.messages.popleft()
        share.size -= size
        self._size -= size
        return message


def _size(message: Message) -> int:
    """What a message takes, in bytes."""
    properties = sum(len(name) + len(text) for name, text in message.properties)
    return len(message.payload) + properties
