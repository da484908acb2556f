"""Run the logger: python -m logger. One line for each capture, receipt and change of the link."""

import threading
import time
from contextlib import closing

from bus import metrics
from bus.client import Client, stopping
from bus.log import log
from bus.message import Message
from bus.settings import Settings
from bus.topics import CAPTURES, LINK, RECEIPTS
from logger.journal import Journal

SUMMARY_EVERY_S = 60
TOPICS = [f"{CAPTURES}/#", f"{RECEIPTS}/#", f"{LINK}/+/state"]


def run(settings: Settings, journal: Journal, stop: threading.Event) -> None:
    """Write down what crosses the edge broker, and every minute where things stand."""
    summed_at = time.monotonic()
    with closing(_connect(settings)) as client:
        metrics.serve(settings, lambda: "" if client.up else "no broker")
        log.info("ready", extra=settings.said())
        while not stop.is_set():
            event = client.next(0.2)
            if isinstance(event, Message):
                journal.take(event)
                client.ack(event)
            if time.monotonic() - summed_at >= SUMMARY_EVERY_S:
                summed_at = time.monotonic()
                journal.summary()


def _connect(settings: Settings) -> Client:
    # Nothing is kept for a logger that is away: what it missed is said by the outbox.
    return Client(settings, client_id="logger", topics=TOPICS, session_expiry_s=0)


def main() -> None:
    """The logger of one edge, as its settings say."""
    journal = Journal()
    run(Settings.load(), journal, stopping())
    journal.summary()


if __name__ == "__main__":
    main()
