"""What the logger has seen and what it says of it."""

import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime

from bus import metrics
from bus.capture import Capture
from bus.message import ContractError, Message
from bus.receipt import Receipt
from bus.topics import CAPTURES, LINK, RECEIPTS

log = logging.getLogger("logger")

REMEMBERED = 100_000  # captures without a receipt, beyond which the oldest are forgotten

Id = tuple[str, str, int, str]


@dataclass
class Journal:
    """One line for each capture, receipt and change of the link; a repeated one says nothing."""

    captured: int = 0
    stored: int = 0
    quarantined: int = 0
    waiting: dict[Id, datetime] = field(default_factory=dict)
    link: bool | None = None

    def take(self, message: Message) -> None:
        """Note a message; one that is not of the contract is said to be bad."""
        try:
            if message.topic.startswith(f"{CAPTURES}/"):
                self._capture(message)
            elif message.topic.startswith(f"{RECEIPTS}/"):
                self._receipt(message)
            elif message.topic.startswith(LINK) and self.link != (up := message.payload == b"1"):
                self.link = up
                metrics.link_up.set(up)
                log.info("link up" if up else "link down")
        except ContractError as error:
            log.warning("bad message", extra={"topic": message.topic[:200], "reason": str(error)})

    def _capture(self, message: Message) -> None:
        capture, _ = Capture.from_message(message)
        this = (capture.edge, capture.camera, capture.seq, capture.sha256)
        if this not in self.waiting:
            self.captured += 1
            self.waiting[this] = capture.captured_at
            if len(self.waiting) > REMEMBERED:
                del self.waiting[next(iter(self.waiting))]
            metrics.captured.labels(capture.edge, capture.camera).inc()
            fields = {"camera": capture.camera, "seq": capture.seq, "bytes": len(capture.png)}
            log.info("captured", extra=fields)

    def _receipt(self, message: Message) -> None:
        receipt = Receipt.from_message(message)
        captured_at = self.waiting.pop((receipt.edge, receipt.camera, receipt.seq, receipt.sha256), None)
        if captured_at:
            stored = receipt.status == "stored"
            self.stored, self.quarantined = self.stored + stored, self.quarantined + (not stored)
            (metrics.stored if stored else metrics.quarantined).labels(receipt.edge, receipt.camera).inc()
            fields = {"camera": receipt.camera, "seq": receipt.seq, "key": receipt.key}
            took = (receipt.stored_at - captured_at).total_seconds()
            log.info(receipt.status, extra={**fields, "ms": round(took * 1000)})

    def summary(self) -> None:
        """Say where things stand."""
        age = (datetime.now(UTC) - min(self.waiting.values())).total_seconds() if self.waiting else 0
        counts = {"captured": self.captured, "stored": self.stored, "quarantined": self.quarantined}
        log.info(
            "summary", extra={**counts, "waiting": len(self.waiting), "oldest_waiting_s": round(age), "link": self.link}
        )
