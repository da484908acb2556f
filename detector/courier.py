"""Between publisher and broker: gives the one events and time, and the other what it says to send."""

import threading
import time

from bus.client import Client
from bus.message import Message
from detector.publisher import Publisher


def carry(client: Client, publisher: Publisher, qos: int, stop: threading.Event) -> None:
    """Move captures on until `stop`; set it if that fails."""
    try:
        while not stop.is_set():
            event = client.next(0.2)
            for message in publisher.step(event, time.monotonic()):
                client.publish(message, qos)
            if isinstance(event, Message):
                client.ack(event)
    finally:
        stop.set()
