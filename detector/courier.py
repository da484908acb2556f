"""Between outbox and broker: gives the publisher events and time, and sends what it says."""

import threading
import time
from datetime import UTC, datetime

from bus import metrics
from bus.client import Client
from bus.message import Message
from detector.outbox import Outbox
from detector.publisher import Publisher


def carry(client: Client, outbox: Outbox, publisher: Publisher, qos: int, stop: threading.Event) -> None:
    """Move captures on until `stop`; set it if that fails."""
    try:
        while not stop.is_set():
            event = client.next(0.2)
            for message in publisher.step(event, time.monotonic()):
                client.publish(message, qos)
            if isinstance(event, Message):
                client.ack(event)
            oldest = outbox.oldest()
            age = (datetime.now(UTC) - oldest).total_seconds() if oldest else 0
            metrics.waiting.labels(outbox.edge, outbox.camera).set(outbox.waiting)
            metrics.oldest_waiting.labels(outbox.edge, outbox.camera).set(max(age, 0))
    finally:
        stop.set()
