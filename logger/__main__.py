"""Run the logger: python -m logger."""

import logging
import time

import bus.log
from bus import metrics
from bus.client import Client, stopping
from bus.message import Message
from bus.settings import Settings
from bus.topics import CAPTURES, LINK, RECEIPTS
from logger.journal import Journal

log = logging.getLogger("logger")


def main(settings: Settings) -> None:
    """Write down what crosses the edge broker, and every minute where things stand."""
    stop, journal, summed_at = stopping(), Journal(), time.monotonic()
    with Client(settings, "logger", [f"{CAPTURES}/#", f"{RECEIPTS}/#", f"{LINK}/+/state"]) as client:
        metrics.serve(settings.metrics_host, settings.metrics_port, lambda: "" if client.up else "no broker")
        log.info("ready", extra=settings.said())
        while not stop.is_set():
            if isinstance(event := client.next(0.2), Message):
                journal.take(event)
                client.ack(event)
            if time.monotonic() - summed_at >= 60:
                summed_at = time.monotonic()
                journal.summary()
    journal.summary()


if __name__ == "__main__":
    chosen = Settings.load()
    bus.log.setup(chosen.log_level)
    main(chosen)
