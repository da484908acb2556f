"""From the bus to the bucket: the store answers first, then the receipt goes out, then the message is acknowledged."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from bus import metrics
from bus.capture import Capture, Receipt
from bus.client import Client
from bus.log import log
from bus.message import ContractError, Message
from bus.topics import CAPTURES, parse
from processor.store import StoppedError, Store, UnlikeError


class Intake:
    """Takes messages from `client` and stores them, as many at a time as there are `threads`, until `stop` is set."""

    def __init__(self, client: Client, store: Store, threads: int, stop: threading.Event) -> None:
        self._client, self._store, self._threads, self._stop = client, store, threads, stop

    def run(self) -> None:
        """Take in messages; while every thread is busy the broker holds the rest.

        An error that nobody foresaw sets `stop` and is raised; what was not acknowledged comes again.
        """
        with ThreadPoolExecutor(self._threads) as pool:
            for worker in [pool.submit(self._work) for _ in range(self._threads)]:
                worker.result()

    def _work(self) -> None:
        try:
            while not self._stop.is_set():
                if isinstance(event := self._client.next(0.2), Message):
                    self.handle(event)
        except StoppedError:
            pass
        finally:
            self._stop.set()

    def handle(self, message: Message) -> None:
        """Store one message as a face or in quarantine, answer it, acknowledge it. Raises StoppedError."""
        try:
            capture, tx = Capture.from_message(message)
            outcome = "stored" if self._store.put(capture) else "absorbed"
        except (ContractError, UnlikeError) as error:
            receipt = self._quarantine(message, str(error))
        else:
            names: dict[str, Any] = {
                "edge": capture.edge,
                "camera": capture.camera,
                "seq": capture.seq,
            }
            metrics.outcomes[outcome].labels(capture.edge, capture.camera).inc()
            log.info(outcome, extra={**names, "bytes": len(capture.png), "key": capture.key})
            at = datetime.now(UTC)
            receipt = Receipt(
                **names,
                sha256=capture.sha256,
                tx=tx,
                status="stored",
                key=capture.key,
                stored_at=at,
            )
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
            facts: dict[str, Any] = {
                n: text for n, text in message.properties if n in ("seq", "sha256", "tx")
            }
            facts |= {"edge": edge, "camera": camera, "key": key, "stored_at": datetime.now(UTC)}
            receipt = Receipt(status="quarantined", reason=reason[:200], **facts)
        except (ContractError, ValidationError):
            log.debug("no receipt: the message does not say whose it is")
        metrics.quarantined.labels(edge, camera).inc()
        extra = {"edge": edge, "camera": camera, "seq": receipt.seq if receipt else None}
        log.warning(
            "quarantined",
            extra={**extra, "reason": reason, "key": key, "bytes": len(message.payload)},
        )
        return receipt
