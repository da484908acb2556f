"""What crosses the edge broker, written down."""

from datetime import UTC, datetime
from typing import NamedTuple

from bus import metrics
from bus.capture import Capture
from bus.log import log
from bus.message import ContractError, Message
from bus.receipt import Receipt
from bus.topics import CAPTURES, CONNECTION, RECEIPTS, CameraId

REMEMBERED = 100_000  # captures without a receipt, beyond which the oldest are forgotten


class Waiting(NamedTuple):
    """Which capture waits for its receipt."""

    camera_id: CameraId
    seq: int
    sha256: str


class Journal:
    """One line for each capture, receipt and change of the link; a repeated one says nothing."""

    def __init__(self) -> None:
        self.counts = {"captured": 0, "stored": 0, "quarantined": 0}
        self.link: bool | None = None
        self._captured_at: dict[Waiting, datetime] = {}

    def take(self, message: Message) -> None:
        """Note a message; one that is not of the contract is said to be bad."""
        try:
            if message.topic.startswith(f"{CAPTURES}/"):
                capture, _ = Capture.from_message(message)
                self._take_capture(capture)
            elif message.topic.startswith(f"{RECEIPTS}/"):
                self._take_receipt(Receipt.from_message(message))
            else:
                self._take_link(up=message.payload == b"1")
        except ContractError as error:
            facts = {"topic": message.topic[:200], "reason": str(error)}
            log.warning("bad message", extra=facts)

    def summary(self) -> None:
        """Say where things stand."""
        age_s = 0.0
        if self._captured_at:
            oldest = min(self._captured_at.values())
            age_s = (datetime.now(UTC) - oldest).total_seconds()
        facts = {
            **self.counts,
            "waiting": len(self._captured_at),
            "oldest_waiting_s": round(age_s),
            "link": self.link,
        }
        log.info("summary", extra=facts)

    def _take_capture(self, capture: Capture) -> None:
        this = Waiting(capture.camera_id, capture.seq, capture.sha256)
        if this in self._captured_at:
            return
        self._captured_at[this] = capture.captured_at
        if len(self._captured_at) > REMEMBERED:
            oldest = next(iter(self._captured_at))
            del self._captured_at[oldest]
        self.counts["captured"] += 1
        metrics.captured.labels(*capture.camera_id).inc()
        facts = {"camera": capture.camera, "seq": capture.seq, "bytes": len(capture.png)}
        log.info("captured", extra=facts)

    def _take_receipt(self, receipt: Receipt) -> None:
        this = Waiting(receipt.camera_id, receipt.seq, receipt.sha256)
        captured_at = self._captured_at.pop(this, None)
        if captured_at is None:
            return
        self.counts[receipt.status] += 1
        metrics.outcomes[receipt.status].labels(*receipt.camera_id).inc()
        took_s = (receipt.stored_at - captured_at).total_seconds()
        facts = {
            "camera": receipt.camera,
            "seq": receipt.seq,
            "ms": round(1000 * took_s),
            "key": receipt.key,
        }
        log.info(receipt.status, extra=facts)

    def _take_link(self, *, up: bool) -> None:
        if up == self.link:
            return
        self.link = up
        metrics.link_up.labels(CONNECTION).set(up)
        log.info("link up" if up else "link down")
