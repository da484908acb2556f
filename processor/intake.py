"""From the bus to the bucket: the store answers first, then the receipt goes out, then the message is acknowledged."""

import logging
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from bus import metrics
from bus.capture import Capture
from bus.client import Client
from bus.message import ContractError, Message
from bus.receipt import Receipt
from bus.topics import CAPTURES, parse
from processor.store import StoppedError, Store, UnlikeError

log = logging.getLogger(__name__)


class Intake:
    """Takes messages from `client` and stores them by `threads` threads, until `stop` is set.

    An error that nobody foresaw sets `stop` and stands in `error`; what was not acknowledged comes again.
    """

    def __init__(self, client: Client, store: Store, threads: int, stop: threading.Event) -> None:
        self._client, self._store, self._stop = client, store, stop
        self._pool, self._free = ThreadPoolExecutor(threads), threading.Semaphore(threads)
        self.error: BaseException | None = None

    def run(self) -> None:
        """Take in messages; blocks while every thread is busy, so that the broker holds the rest."""
        while not self._stop.is_set():
            event = self._client.next(0.2)
            if isinstance(event, Message):
                while not self._free.acquire(timeout=0.2):
                    if self._stop.is_set():
                        return
                self._pool.submit(self.handle, event).add_done_callback(self._done)

    def _done(self, future: Future[None]) -> None:
        self._free.release()
        if (error := future.exception()) and not isinstance(error, StoppedError):
            self.error = error
            self._stop.set()

    def handle(self, message: Message) -> None:
        """Store one message as a face or in quarantine, answer it, acknowledge it. Raises StoppedError."""
        try:
            capture, tx = Capture.from_message(message)
            new = self._store.put(capture)
        except (ContractError, UnlikeError) as error:
            reason = str(error) if isinstance(error, ContractError) else "key: holds other bytes already"
            receipt = self._quarantine(message, reason)
        else:
            names: dict[str, Any] = {"edge": capture.edge, "camera": capture.camera, "seq": capture.seq}
            (metrics.stored if new else metrics.absorbed).labels(capture.edge, capture.camera).inc()
            log.info("stored" if new else "absorbed", extra={**names, "bytes": len(capture.png), "key": capture.key})
            at = datetime.now(UTC)
            receipt = Receipt(**names, sha256=capture.sha256, tx=tx, status="stored", key=capture.key, stored_at=at)
        if receipt:
            self._client.publish(receipt.to_message())
        self._client.ack(message)

    def _quarantine(self, message: Message, reason: str) -> Receipt | None:
        """Put a bad message away; a receipt for it, if it says whose it is."""
        key = self._store.quarantine(message, reason)
        receipt = None
        edge = camera = "_"
        try:
            edge, camera = parse(message.topic, CAPTURES)
            facts: dict[str, Any] = {n: text for n, text in message.properties if n in ("seq", "sha256", "tx")}
            facts |= {"edge": edge, "camera": camera, "key": key, "stored_at": datetime.now(UTC)}
            receipt = Receipt(status="quarantined", reason=reason[:200], **facts)
        except (ContractError, ValidationError):
            log.debug("no receipt: the message does not say whose it is")
        metrics.quarantined.labels(edge, camera).inc()
        extra = {"edge": edge, "camera": camera, "seq": receipt.seq if receipt else None}
        log.warning("quarantined", extra={**extra, "reason": reason, "key": key, "bytes": len(message.payload)})
        return receipt
