"""What to send, and when to send it again: plain state and time, without a network or a clock.

Loss recovery follows QUIC (RFC 9002): transmissions are numbered, numbers are never reused,
receipts echo them.
"""

import sqlite3
from dataclasses import dataclass, field

from bus import metrics
from bus.capture import Capture
from bus.log import log
from bus.message import ContractError, Down, Event, Message, Up
from bus.receipt import Receipt
from bus.topics import LINK
from detector.outbox import Outbox

REORDER = 24  # transmissions by which one may be overtaken before it counts as lost
PATIENCE_S = 2.0  # no copy counts as lost sooner
PROBE_AFTER_AT_MOST_S = 300.0  # also the longest wait for a copy to count as lost
SAMPLE_AT_MOST_S = 60.0  # a receipt that an outage delayed says little about the way
REFUSALS = 20  # for a sound capture before they are believed: with their back-off, after an hour
_DOUBLINGS = 16  # of a wait; far beyond its bound


@dataclass(slots=True)
class InFlight:
    """A capture on its way: when each copy was sent, and why it must be sent again, if it must."""

    seq: int
    sha256: str
    copies: dict[int, float] = field(default_factory=dict)  # transmission number -> s
    losses: int = 0
    refusals: int = 0
    resend: str = ""
    tx: int = 0
    sent_at: float = 0.0


class RoundTrip:
    """The usual time from a copy to its receipt, in seconds (RFC 9002, section 5.3)."""

    def __init__(self) -> None:
        self.smoothed_s = 0.0
        self._variance_s = 0.0

    def sample(self, took_s: float) -> None:
        """Take in one more."""
        took_s = min(took_s, SAMPLE_AT_MOST_S)
        if not self.smoothed_s:
            self.smoothed_s = took_s
            self._variance_s = took_s / 2
            return
        deviation_s = abs(self.smoothed_s - took_s)
        self._variance_s += (deviation_s - self._variance_s) / 4
        self.smoothed_s += (took_s - self.smoothed_s) / 8

    @property
    def patience_s(self) -> float:
        """How old a copy must be to count as lost."""
        return max(2 * self.smoothed_s, PATIENCE_S)

    @property
    def silence_s(self) -> float:
        """How long nothing must have been heard before a probe is worth sending."""
        return max(self.smoothed_s + 4 * self._variance_s, PATIENCE_S)


class Delivery:
    """Moves captures from the outbox to the broker, and out of the outbox when receipts come home.

    At most `window` captures are on their way without a receipt. All times are seconds of one
    monotonic clock that the caller reads. `link` says whether the bridge is known to be connected.
    """

    def __init__(self, outbox: Outbox, window: int) -> None:
        self.link = True
        self._outbox = outbox
        self._window = window
        self._camera_id = outbox.camera_id
        self._connected = False
        self._in_flight: dict[int, InFlight] = {}  # in the order of seq
        self._tx = outbox.life << 32  # the newest transmission's; larger than of an earlier life
        self._overtaken_below = self._tx
        self._probes: set[int] = set()  # transmission numbers
        self._heard_at = 0.0
        self._silent_probes = 0  # since then
        self._round_trip = RoundTrip()

    def step(self, event: Event | None, now: float) -> list[Message]:
        """Take in what happened, then say what to transmit now."""
        self._take(event, now)
        if not self._connected:
            return []
        self._mark_lost(now)
        self._mark_probe(now)
        return [*self._resent(now), *self._new(now)]

    def _take(self, event: Event | None, now: float) -> None:
        match event:
            case Up(session_present):
                self._connected = True
                self._hear(now)
                if not session_present:
                    self._mark_all("session")
            case Down():
                self._connected = False
            case Message(topic, payload) if topic.startswith(LINK):
                self.link = payload == b"1"
                metrics.link_up.set(self.link)
                self._hear(now)
            case Message():
                self._take_receipt(event, now)

    def _hear(self, now: float) -> None:
        self._heard_at = now
        self._silent_probes = 0

    def _mark_all(self, reason: str) -> None:
        for sent in self._in_flight.values():
            sent.resend = reason

    def _resent(self, now: float) -> list[Message]:
        due = [sent for sent in self._in_flight.values() if sent.resend]
        messages = []
        for sent in due:
            capture = self._outbox.get(sent.seq)
            if capture is None:  # it waits no more
                del self._in_flight[sent.seq]
                continue
            metrics.resent.labels(*self._camera_id, sent.resend).inc()
            messages.append(self._transmit(sent, capture, now=now))
        return messages

    def _new(self, now: float) -> list[Message]:
        messages = []
        while len(self._in_flight) < self._window:
            capture = self._outbox.next()
            if capture is None:
                break
            sent = InFlight(capture.seq, capture.sha256)
            self._in_flight[capture.seq] = sent
            messages.append(self._transmit(sent, capture, now=now))
        return messages

    def _transmit(self, sent: InFlight, capture: Capture, *, now: float) -> Message:
        self._tx += 1
        if sent.resend == "probe":
            self._probes.add(self._tx)
        sent.resend = ""
        sent.tx = self._tx
        sent.sent_at = now
        sent.copies[self._tx] = now
        metrics.transmitted.labels(*self._camera_id).inc()
        return capture.to_message(self._tx)

    def _take_receipt(self, message: Message, now: float) -> None:
        try:
            receipt = Receipt.from_message(message)
        except ContractError as error:
            facts = {"camera": self._camera_id.camera, "reason": str(error)}
            log.warning("bad receipt", extra=facts)
            return
        self._hear(now)
        self._note_overtaken(receipt.tx)
        sent = self._in_flight.get(receipt.seq)
        if receipt.status == "quarantined" and not self._is_believed(receipt, sent):
            return
        if self._settle(receipt) and sent:
            self._land(sent, receipt, now)

    def _note_overtaken(self, tx: int) -> None:
        """What left long enough before a copy that came home, and has not come home, is late.

        A probe leaves after a silence: what is not home before it is late.
        """
        if tx > self._tx:
            return
        late = tx if tx in self._probes else tx - REORDER
        self._overtaken_below = max(self._overtaken_below, late)

    def _is_believed(self, receipt: Receipt, sent: InFlight | None) -> bool:
        """Whether a capture cannot be stored: when several copies of it were refused."""
        if sent is None:
            return False
        if receipt.sha256 == sent.sha256 and receipt.tx in sent.copies:
            del sent.copies[receipt.tx]
            sent.refusals += 1
            facts = {
                "camera": self._camera_id.camera,
                "seq": sent.seq,
                "reason": receipt.reason,
            }
            log.warning("refused", extra=facts)
        return sent.refusals >= REFUSALS

    def _settle(self, receipt: Receipt) -> bool:
        try:
            settled = self._outbox.settle(receipt)
        except sqlite3.Error as error:
            log.error("receipt not written", extra={"seq": receipt.seq, "reason": str(error)})
            return False
        if settled:
            metrics.outcomes[receipt.status].labels(*self._camera_id).inc()
        return settled

    def _land(self, sent: InFlight, receipt: Receipt, now: float) -> None:
        del self._in_flight[sent.seq]
        self._probes.difference_update(sent.copies)
        sent_at = sent.copies.get(receipt.tx)
        if sent_at is not None:
            took_s = now - sent_at
            metrics.receipt_seconds.labels(*self._camera_id).observe(took_s)
            self._round_trip.sample(took_s)

    def _mark_lost(self, now: float) -> None:
        """Mark what must be sent again because its newest copy was overtaken or refused."""
        patience_s = self._round_trip.patience_s
        for sent in self._in_flight.values():
            reason = self._fate(sent)
            doublings = min(sent.losses, _DOUBLINGS)
            longest_s = max(PROBE_AFTER_AT_MOST_S, patience_s)
            wait_s = min(patience_s * 2.0**doublings, longest_s)
            if reason and now - sent.sent_at > wait_s:
                sent.losses += 1
                sent.resend = sent.resend or reason

    def _fate(self, sent: InFlight) -> str:
        """What became of the newest copy; empty if it may still come home."""
        if sent.tx not in sent.copies:
            return "refused"
        if sent.tx < self._overtaken_below:
            return "overtaken"
        return ""

    def _mark_probe(self, now: float) -> None:
        """After a silence on a working link the oldest is sent as a probe."""
        oldest = self._oldest()
        if not self.link or oldest is None:
            return
        doublings = min(self._silent_probes, _DOUBLINGS)
        wait_s = min(self._round_trip.silence_s * 2.0**doublings, PROBE_AFTER_AT_MOST_S)
        if now > max(self._heard_at, oldest.sent_at) + wait_s:
            self._silent_probes += 1
            oldest.resend = oldest.resend or "probe"

    def _oldest(self) -> InFlight | None:
        """The oldest capture whose newest copy was not refused."""
        for sent in self._in_flight.values():
            if sent.tx in sent.copies:
                return sent
        return None
