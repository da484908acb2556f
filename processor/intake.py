"""From the bus to the bucket: first the store answers, then the receipt goes out, then the ack."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from pydantic import ValidationError

from bus import metrics
from bus.capture import Capture
from bus.client import Client
from bus.log import log
from bus.message import ContractError, Message
from bus.receipt import Receipt
from bus.topics import CAPTURES, CameraId, is_name, parse
from processor.allowance import Allowance
from processor.fair_queue import FairQueue
from processor.store import Store
from processor.trouble import RefusedError, StoppedError, UnlikeError

NOBODY = CameraId("_", "_")  # of a bad message that does not say whose it is
HANGS_AFTER_S = 30.0  # without a look at what came
QUARANTINED_A_MINUTE = 100  # of one edge; what is more is shed

_REASON_LENGTH = 200  # the contract's
_PATIENCE_S = 0.2  # after which a thread looks whether it is to end


class Intake:
    """Takes messages from `client` and stores them, `threads` at a time, until `stop` is set.

    It always reads. What waits has a budget for each edge; what is beyond it is acknowledged and
    dropped, without a receipt, so that its edge sends it again.
    """

    def __init__(
        self, client: Client, store: Store, *, threads: int, stop: threading.Event
    ) -> None:
        self._client = client
        self._store = store
        self._threads = threads
        self._stop = stop
        # A quarter of the threads is always for others.
        self._queue = FairQueue(busy_at_most=threads - threads // 4)
        self._quarantines = Allowance(QUARANTINED_A_MINUTE, period_s=60)
        self._words = Allowance(1, period_s=60)  # about what is shed
        self._read_at: float | None = None  # the last time, if it has begun
        metrics.queued_bytes.set_function(lambda: self._queue.size)

    def run(self) -> None:
        """Take in messages.

        An error that nobody foresaw sets `stop` and is raised; what was not acknowledged comes
        again.
        """
        with ThreadPoolExecutor(self._threads) as pool:
            workers = [pool.submit(self._work) for _ in range(self._threads)]
            self._read()
            for worker in workers:
                worker.result()

    def hangs(self) -> str:
        """One line if nothing is read any more, or nothing."""
        begun_at = self._read_at
        if begun_at is None or time.monotonic() < begun_at + HANGS_AFTER_S:
            return ""
        return "nothing is read from the broker"

    def _read(self) -> None:
        try:
            while not self._stop.is_set():
                self._read_at = time.monotonic()
                event = self._client.next(_PATIENCE_S)
                if isinstance(event, Message):
                    self._sort(event)
        finally:
            self._stop.set()

    def _sort(self, message: Message) -> None:
        for shed in self._queue.offer(_edge(message), message):
            self._shed(shed, reason="too much at once")

    def _work(self) -> None:
        try:
            while not self._stop.is_set():
                taken = self._queue.take(_PATIENCE_S)
                if taken:
                    edge, message = taken
                    self.handle(message)
                    self._queue.done(edge)
        except StoppedError:
            pass
        finally:
            self._stop.set()

    def handle(self, message: Message) -> None:
        """Store one message as a face or in quarantine, answer it, acknowledge it.

        What the store refuses, though it takes others, gets no answer: it waits at its edge and
        comes again. Raises StoppedError.
        """
        try:
            receipt = self._answer(message)
        except RefusedError:
            metrics.refused.labels(_edge(message)).inc()
        else:
            if receipt:
                self._client.publish(receipt.to_message())
        self._client.ack(message)

    def _answer(self, message: Message) -> Receipt | None:
        try:
            return self._store_face(message)
        except (ContractError, UnlikeError) as error:
            return self._put_away(message, reason=str(error))

    def _store_face(self, message: Message) -> Receipt:
        capture, tx = Capture.from_message(message)
        is_new = self._store.put(capture)
        outcome = "stored" if is_new else "absorbed"
        key = capture.key
        metrics.count(metrics.outcomes[outcome], capture.camera_id)
        facts = {
            "edge": capture.edge,
            "camera": capture.camera,
            "seq": capture.seq,
            "bytes": len(capture.png),
            "key": key,
        }
        log.info(outcome, extra=facts)
        return Receipt(
            edge=capture.edge,
            camera=capture.camera,
            seq=capture.seq,
            sha256=capture.sha256,
            tx=tx,
            status="stored",
            key=key,
            stored_at=datetime.now(UTC),
        )

    def _put_away(self, message: Message, reason: str) -> Receipt | None:
        """Put a bad message into quarantine; a receipt for it, if it says whose it is.

        None also for one that is beyond its edge's allowance.
        """
        if not self._quarantines.take(_edge(message)):
            self._count_shed(message, reason="too much garbage")
            return None
        key = self._store.quarantine(message, reason)
        camera_id = _sender(message)
        receipt = _refusal(message, camera_id, key=key, reason=reason)
        metrics.count(metrics.quarantined, camera_id)
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

    def _shed(self, message: Message, reason: str) -> None:
        self._count_shed(message, reason)
        self._client.ack(message)

    def _count_shed(self, message: Message, reason: str) -> None:
        """Count what is dropped unanswered, and say so once a minute for each edge."""
        edge = _edge(message)
        metrics.shed.labels(edge).inc()
        if self._words.take(edge):
            log.warning("shed", extra={"edge": edge, "reason": reason})


def _edge(message: Message) -> str:
    """Whose budget a message is of; the broker lets nobody publish as another edge."""
    edge = message.topic.split("/")[1] if "/" in message.topic else ""
    return edge if is_name(edge) else NOBODY.edge


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
