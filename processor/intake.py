"""From the bus to the bucket: first the store answers, then the receipt goes out, then the ack."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from pydantic import ValidationError

from bus import metrics
from bus.capture import Capture
from bus.client import Client
from bus.log import log
from bus.message import ContractError, Message
from bus.receipt import Receipt
from bus.topics import CAPTURES, CameraId, parse
from processor.store import Store
from processor.trouble import StoppedError, UnlikeError

NOBODY = CameraId("_", "_")  # of a bad message that does not say whose it is

_REASON_LENGTH = 200  # the contract's


class Intake:
    """Takes messages from `client` and stores them, `threads` at a time, until `stop` is set."""

    def __init__(
        self, client: Client, store: Store, *, threads: int, stop: threading.Event
    ) -> None:
        self._client = client
        self._store = store
        self._threads = threads
        self._stop = stop

    def run(self) -> None:
        """Take in messages; while every thread is busy the broker holds the rest.

        An error that nobody foresaw sets `stop` and is raised; what was not acknowledged comes
        again.
        """
        with ThreadPoolExecutor(self._threads) as pool:
            workers = [pool.submit(self._work) for _ in range(self._threads)]
            for worker in workers:
                worker.result()

    def _work(self) -> None:
        try:
            while not self._stop.is_set():
                event = self._client.next(0.2)
                if isinstance(event, Message):
                    self.handle(event)
        except StoppedError:
            pass
        finally:
            self._stop.set()

    def handle(self, message: Message) -> None:
        """Store one message as a face or in quarantine, answer it, acknowledge it.

        Raises StoppedError.
        """
        receipt: Receipt | None
        try:
            receipt = self._store_face(message)
        except (ContractError, UnlikeError) as error:
            receipt = self._quarantine(message, reason=str(error))
        if receipt:
            self._client.publish(receipt.to_message())
        self._client.ack(message)

    def _store_face(self, message: Message) -> Receipt:
        capture, tx = Capture.from_message(message)
        is_new = self._store.put(capture)
        outcome = "stored" if is_new else "absorbed"
        metrics.outcomes[outcome].labels(*capture.camera_id).inc()
        facts = {
            "edge": capture.edge,
            "camera": capture.camera,
            "seq": capture.seq,
            "bytes": len(capture.png),
            "key": capture.key,
        }
        log.info(outcome, extra=facts)
        return Receipt(
            edge=capture.edge,
            camera=capture.camera,
            seq=capture.seq,
            sha256=capture.sha256,
            tx=tx,
            status="stored",
            key=capture.key,
            stored_at=datetime.now(UTC),
        )

    def _quarantine(self, message: Message, reason: str) -> Receipt | None:
        """Put a bad message away; a receipt for it, if it says whose it is."""
        key = self._store.quarantine(message, reason)
        camera_id = _sender(message)
        receipt = _refusal(message, camera_id, key=key, reason=reason)
        metrics.quarantined.labels(*camera_id).inc()
        facts = {
            "edge": camera_id.edge,
            "camera": camera_id.camera,
            "seq": receipt.seq if receipt else None,
            "reason": reason,
            "key": key,
            "bytes": len(message.payload),
        }
        log.warning("quarantined", extra=facts)
        return receipt


def _sender(message: Message) -> CameraId:
    try:
        return parse(message.topic, CAPTURES)
    except ContractError:
        return NOBODY


def _refusal(message: Message, camera_id: CameraId, *, key: str, reason: str) -> Receipt | None:
    """The receipt for a bad message; None if it does not say which capture it was."""
    facts = dict(message.properties)
    try:
        return Receipt(
            edge=camera_id.edge,
            camera=camera_id.camera,
            seq=facts.get("seq"),  # type: ignore[arg-type] # checked, and read, by Receipt
            sha256=facts.get("sha256"),  # type: ignore[arg-type]
            tx=facts.get("tx"),  # type: ignore[arg-type]
            status="quarantined",
            key=key,
            stored_at=datetime.now(UTC),
            reason=reason[:_REASON_LENGTH],
        )
    except ValidationError:
        log.debug("no receipt: the message does not say whose it is")
        return None
