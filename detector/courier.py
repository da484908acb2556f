"""The thread between outbox and broker: it gives the publisher events and time, and sends what that says."""

import threading
import time
from datetime import UTC, datetime

from bus import metrics
from bus.client import Client
from bus.message import Message
from detector.outbox import Outbox
from detector.publisher import Publisher


class Courier(threading.Thread):
    """Runs until `stop` is set, and sets it itself if it fails; then `failed` is true."""

    def __init__(self, client: Client, outbox: Outbox, publisher: Publisher, qos: int, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self._client, self._outbox, self._publisher, self._qos, self._stopping = client, outbox, publisher, qos, stop
        self.failed = False

    def run(self) -> None:
        """Move captures on."""
        said_at = 0.0
        try:
            while not self._stopping.is_set():
                event = self._client.next(0.2)
                for message in self._publisher.step(event, time.monotonic()):
                    self._client.publish(message, self._qos)
                if isinstance(event, Message):
                    self._client.ack(event)
                if time.monotonic() - said_at >= 1:
                    said_at = time.monotonic()
                    self._say()
        finally:
            self.failed = not self._stopping.is_set()
            self._stopping.set()

    def _say(self) -> None:
        names = (self._outbox.edge, self._outbox.camera)
        oldest = self._outbox.oldest()
        age = (datetime.now(UTC) - oldest).total_seconds() if oldest else 0
        metrics.waiting.labels(*names).set(self._outbox.waiting)
        metrics.oldest_waiting.labels(*names).set(max(age, 0))
