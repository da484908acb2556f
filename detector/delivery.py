"""What to send, and when to send it again: plain state and time, without a network or a clock.

Loss recovery and congestion control follow QUIC (RFC 9002): transmissions are numbered, numbers are
never reused, receipts echo them. One module, though it is longer than others, because each of its
steps reads what the others write.
"""

import sqlite3
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from bus import metrics
from bus.capture import Capture
from bus.log import log
from bus.message import ContractError, Down, Event, Message, Up
from bus.receipt import Receipt
from bus.topics import CONNECTION, LINK
from detector.congestion import CongestionWindow
from detector.outbox import Outbox

REORDER = 24  # transmissions by which one may be overtaken before it counts as lost
PATIENCE_S = 2.0  # no copy counts as lost sooner
PROBE_AFTER_AT_MOST_S = 300.0  # also the longest wait for a copy to count as lost
SAMPLE_AT_MOST_S = 60.0  # a receipt that an outage delayed says little about the way
LINK_WORD_WITHIN_S = 2.0  # after which a broker that says nothing of the link is taken to have one
REFUSALS = 20  # for a sound capture before they are believed: with their back-off, after an hour
TROUBLED_LOSSES = 3  # of one capture, while others come home: it is not the way that loses it
COPIES_REMEMBERED = 64  # of one capture; a receipt for an older one releases all the same
PROBE = "probe"  # why one is sent again: to hear anything at all
_DOUBLINGS = 16  # of a wait; far beyond its bound


@dataclass(slots=True)
class InFlight:
    """A capture on its way: when each copy was sent, and why it must be sent again, if it must."""

    seq: int
    sha256: str
    size: int  # bytes
    copies: dict[int, float] = field(default_factory=dict)  # transmission number -> s
    losses: int = 0
    refusals: int = 0
    resend: str = ""
    tx: int = 0
    sent_at: float = 0.0

    @property
    def is_troubled(self) -> bool:
        """Whether it is itself the reason that it does not come home."""
        return self.refusals > 0 or self.losses >= TROUBLED_LOSSES


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

    At most `window` captures are on their way without a receipt, and no more bytes than the
    congestion window has; a quarter of the places may be taken by those that are refused. Nothing
    is sent while the link is known to be down. All times are seconds of one monotonic clock that
    the caller reads.
    """

    def __init__(self, outbox: Outbox, window: int) -> None:
        self._outbox = outbox
        self._window = window
        self._troubled_at_most = max(window // 4, 1)
        self._camera_id = outbox.camera_id
        self._connected = False
        self._connected_at = 0.0
        self._link: bool | None = None  # None: nobody has told yet
        self._in_flight: dict[int, InFlight] = {}  # in the order of sending
        self._parked: deque[InFlight] = deque()  # waits for a place among the troubled
        self._tx = outbox.life << 32  # the newest transmission's; larger than of an earlier life
        self._overtaken_below = self._tx
        self._probes: set[int] = set()  # transmission numbers
        self._heard_at = 0.0
        self._silent_probes = 0  # since then
        self._round_trip = RoundTrip()
        self._congestion = CongestionWindow()

    def step(self, event: Event | None, now: float) -> list[Message]:
        """Take in what happened, then say what to transmit now."""
        self._take(event, now)
        if not self._may_send(now):
            return []
        self._mark_lost(now)
        self._mark_probe(now)
        self._park()
        return [*self._resent(now), *self._new(now)]

    def _may_send(self, now: float) -> bool:
        if self._link is None:
            return self._connected and now >= self._connected_at + LINK_WORD_WITHIN_S
        return self._connected and self._link

    def _take(self, event: Event | None, now: float) -> None:
        match event:
            case Up(session_present):
                self._connected = True
                self._connected_at = now
                self._link = self._link or None  # what was down may be up since
                self._hear(now)
                if not session_present:
                    self._forget_sent()
            case Down():
                self._connected = False
            case Message(topic, payload) if topic.startswith(LINK):
                self._link = payload == b"1"
                metrics.link_up.labels(CONNECTION).set(self._link)
                self._hear(now)
            case Message():
                self._take_receipt(event, now)

    def _hear(self, now: float) -> None:
        self._heard_at = now
        self._silent_probes = 0

    def _forget_sent(self) -> None:
        """The broker has lost what it held."""
        self._congestion.restart()
        for sent in self._in_flight.values():
            sent.resend = "session"

    def _resent(self, now: float) -> list[Message]:
        due = [sent for sent in self._in_flight.values() if sent.resend]
        due.sort(key=lambda sent: sent.resend != PROBE)  # which waits for no room
        messages = []
        for sent in due:
            if sent.resend != PROBE and not self._has_room(sent.size):
                break
            capture = self._outbox.get(sent.seq)
            if capture is None:  # it waits no more
                del self._in_flight[sent.seq]
                continue
            metrics.resent.labels(*self._camera_id, sent.resend).inc()
            messages.append(self._transmit(sent, capture, now=now))
        return messages

    def _new(self, now: float) -> list[Message]:
        messages = []
        while self._has_place():
            following = self._next()
            if following is None:
                break
            sent, capture = following
            self._in_flight[sent.seq] = sent
            messages.append(self._transmit(sent, capture, now=now))
        return messages

    def _has_place(self) -> bool:
        """Whether one more may be on its way."""
        waiting_to_go = any(sent.resend for sent in self._in_flight.values())
        return len(self._in_flight) < self._window and not waiting_to_go and self._has_room(0)

    def _has_room(self, size: int) -> bool:
        """Whether the congestion window has `size` bytes left."""
        return self._congestion.allows(size, self._bytes_on_their_way())

    def _bytes_on_their_way(self) -> int:
        return sum(sent.size for sent in self._in_flight.values() if not sent.resend)

    def _next(self) -> tuple[InFlight, Capture] | None:
        """What is to be sent next: of those that were parked, if there is a place for them."""
        while self._parked and len(self._troubled()) < self._troubled_at_most:
            parked = self._parked.popleft()
            capture = self._outbox.get(parked.seq)
            if capture:
                return parked, capture
        capture = self._outbox.next()
        if capture is None:
            return None
        refusals = self._outbox.refusals(capture.seq)
        size = len(capture.png)
        return InFlight(capture.seq, capture.sha256, size=size, refusals=refusals), capture

    def _troubled(self) -> list[InFlight]:
        return [sent for sent in self._in_flight.values() if sent.is_troubled]

    def _park(self) -> None:
        """Let too many troubled ones wait aside, and those that failed again let others try."""
        troubled = [sent for sent in self._troubled() if sent.resend != PROBE]
        leaving = troubled[self._troubled_at_most :]
        if self._parked:
            leaving += [sent for sent in troubled[: self._troubled_at_most] if sent.resend]
        for sent in leaving:
            del self._in_flight[sent.seq]
            self._parked.append(sent)

    def _transmit(self, sent: InFlight, capture: Capture, *, now: float) -> Message:
        self._tx += 1
        if sent.resend == PROBE:
            self._probes.add(self._tx)
        sent.resend = ""
        sent.tx = self._tx
        sent.sent_at = now
        sent.copies[self._tx] = now
        if len(sent.copies) > COPIES_REMEMBERED:
            del sent.copies[next(iter(sent.copies))]
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
            self._count_refusal(sent, receipt.reason)
        return sent.refusals >= REFUSALS

    def _count_refusal(self, sent: InFlight, reason: str) -> None:
        facts = {"camera": self._camera_id.camera, "seq": sent.seq, "reason": reason}
        log.warning("refused", extra=facts)
        sent.refusals += 1
        try:
            sent.refusals = self._outbox.refuse(sent.seq)
        except sqlite3.Error as error:
            log.error("refusal not written", extra={"seq": sent.seq, "reason": str(error)})

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
        self._congestion.came_home(sent.size, self._bytes_on_their_way())
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
            if reason and not sent.resend and now - sent.sent_at > wait_s:
                self._lose(sent, reason, now=now)

    def _lose(self, sent: InFlight, reason: str, *, now: float) -> None:
        sent.losses += 1
        sent.resend = reason
        if not sent.is_troubled:
            self._congestion.lost(sent.sent_at, now)

    def _fate(self, sent: InFlight) -> str:
        """What became of the newest copy; empty if it may still come home."""
        if sent.tx not in sent.copies:
            return "refused"
        if sent.tx < self._overtaken_below:
            return "overtaken"
        return ""

    def _mark_probe(self, now: float) -> None:
        """After a silence the oldest is sent as a probe, even if it waits to be sent again."""
        oldest = _oldest(self._in_flight.values())
        if oldest is None:
            return
        doublings = min(self._silent_probes, _DOUBLINGS)
        wait_s = min(self._round_trip.silence_s * 2.0**doublings, PROBE_AFTER_AT_MOST_S)
        if now > max(self._heard_at, oldest.sent_at) + wait_s:
            self._silent_probes += 1
            oldest.resend = PROBE


def _oldest(in_flight: Iterable[InFlight]) -> InFlight | None:
    """The one that was sent first, of those whose newest copy was not refused."""
    for sent in in_flight:
        if sent.tx in sent.copies:
            return sent
    return None
