"""Run the logger: python -m logger. One line for each capture, receipt and change of the link."""

import time
from contextlib import closing
from datetime import UTC, datetime

from bus import metrics
from bus.capture import Capture, Receipt
from bus.client import Client, stopping
from bus.log import log
from bus.message import ContractError, Message
from bus.settings import Settings
from bus.topics import CAPTURES, LINK, RECEIPTS

REMEMBERED = 100_000  # captures without a receipt, beyond which the oldest are forgotten


class Journal:
    """One line for each capture, receipt and change of the link; a repeated one says nothing."""

    def __init__(self) -> None:
        self.counts = {"captured": 0, "stored": 0, "quarantined": 0}
        self.waiting: dict[tuple[str, str, int, str], datetime] = {}
        self.link: bool | None = None

    def take(self, message: Message) -> None:
        """Note a message; one that is not of the contract is said to be bad."""
        try:
            if message.topic.startswith(f"{CAPTURES}/"):
                self._capture(Capture.from_message(message)[0])
            elif message.topic.startswith(f"{RECEIPTS}/"):
                self._receipt(Receipt.from_message(message))
            elif self.link != (up := message.payload == b"1"):
                self.link = up
                metrics.link_up.set(up)
                log.info("link up" if up else "link down")
        except ContractError as error:
            log.warning("bad message", extra={"topic": message.topic[:200], "reason": str(error)})

    def _capture(self, capture: Capture) -> None:
        this = (capture.edge, capture.camera, capture.seq, capture.sha256)
        if this in self.waiting:
            return
        self.waiting[this] = capture.captured_at
        if len(self.waiting) > REMEMBERED:
            del self.waiting[next(iter(self.waiting))]
        self.counts["captured"] += 1
        metrics.captured.labels(capture.edge, capture.camera).inc()
        log.info(
            "captured",
            extra={"camera": capture.camera, "seq": capture.seq, "bytes": len(capture.png)},
        )

    def _receipt(self, receipt: Receipt) -> None:
        captured_at = self.waiting.pop(
            (receipt.edge, receipt.camera, receipt.seq, receipt.sha256), None
        )
        if not captured_at:
            return
        self.counts[receipt.status] += 1
        metrics.outcomes[receipt.status].labels(receipt.edge, receipt.camera).inc()
        ms = round((receipt.stored_at - captured_at).total_seconds() * 1000)
        log.info(
            receipt.status,
            extra={"camera": receipt.camera, "seq": receipt.seq, "ms": ms, "key": receipt.key},
        )

    def summary(self) -> None:
        """Say where things stand."""
        age = (
            (datetime.now(UTC) - min(self.waiting.values())).total_seconds() if self.waiting else 0
        )
        waiting = {"waiting": len(self.waiting), "oldest_waiting_s": round(age), "link": self.link}
        log.info("summary", extra={**self.counts, **waiting})


def main(settings: Settings) -> None:
    """Write down what crosses the edge broker, and every minute where things stand."""
    stop, journal, summed_at = stopping(), Journal(), time.monotonic()
    with closing(
        Client(settings, "logger", [f"{CAPTURES}/#", f"{RECEIPTS}/#", f"{LINK}/+/state"])
    ) as client:
        metrics.serve(settings, lambda: "" if client.up else "no broker")
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
    main(Settings.load())
