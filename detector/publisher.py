"""What to send, and when to send it again: plain state and time, without a network, a thread or a clock.

Loss recovery follows QUIC (RFC 9002): transmissions are numbered, numbers are never reused, receipts echo them.
"""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field

from bus import metrics
from bus.capture import Capture, Receipt
from bus.log import log
from bus.message import ContractError, Down, Event, Message, Up
from bus.topics import LINK
from detector.outbox import Outbox

REORDER = 24  # transmissions by which one may be overtaken before it counts as lost
PATIENCE = 2.0  # s: no copy counts as lost sooner
PROBE_MAX = 300.0  # s: the longest wait for a probe, or for a copy to count as lost
SAMPLE_MAX = 60.0  # s: a receipt that an outage delayed says little about the way
REFUSALS = 20  # quarantine receipts for a sound capture before they are believed: with their back-off, after an hour


@dataclass(slots=True)
class Flight:
    """A capture on its way: when each copy was sent, and why it must be sent again, if it must."""

    seq: int
    sha256: str
    copies: dict[int, float] = field(default_factory=dict)  # transmission number -> s
    losses: int = 0
    refusals: int = 0
    resend: str = ""
    tx: int = 0
    sent_at: float = 0.0


class Publisher:
    """Moves captures from the outbox to the broker and out of the outbox when their receipts come home.

    At most `window` captures are on their way without a receipt. All times are seconds of one monotonic clock that the
    caller reads.
    """

    def __init__(self, outbox: Outbox, window: int) -> None:
        self._outbox, self._window = outbox, window
        self._names = (outbox.edge, outbox.camera)
        self._flights: dict[int, Flight] = {}  # in the order of seq
        self._up, self.link = False, True
        self._tx = (
            outbox.life << 32
        )  # of the newest transmission, larger than any of an earlier life
        self._horizon = self._tx  # copies numbered below have been overtaken
        self._probe_txs: set[int] = set()
        self._heard_at, self._silence = 0.0, 0  # last news, probes since
        self._smoothed, self._variance = 0.0, 0.0

    def step(self, event: Event | None, now: float) -> Iterator[Message]:
        """Take in what happened, then say what to transmit now; must be read to its end."""
        match event:
            case Up(session_present):
                self._up = True
                self._heard_at, self._silence = now, 0
                for flight in self._flights.values() if not session_present else ():
                    flight.resend = "session"
            case Down():
                self._up = False
            case Message(topic, payload) if topic.startswith(LINK):
                self.link = payload == b"1"
                metrics.link_up.set(self.link)
                self._heard_at, self._silence = now, 0
            case Message():
                self._receipt(event, now)
        if not self._up:
            return
        self._expire(now)
        for flight in [flight for flight in self._flights.values() if flight.resend]:
            if capture := self._outbox.get(flight.seq):
                metrics.resent.labels(*self._names, flight.resend).inc()
                yield self._transmit(flight, capture, now)
            else:
                del self._flights[flight.seq]
        while len(self._flights) < self._window and (capture := self._outbox.next()):
            flight = self._flights[capture.seq] = Flight(capture.seq, capture.sha256)
            yield self._transmit(flight, capture, now)

    def _transmit(self, flight: Flight, capture: Capture, now: float) -> Message:
        self._tx += 1
        if flight.resend == "probe":
            self._probe_txs.add(self._tx)
        flight.resend, flight.tx, flight.sent_at, flight.copies[self._tx] = "", self._tx, now, now
        metrics.transmitted.labels(*self._names).inc()
        return capture.to_message(self._tx)

    def _receipt(self, message: Message, now: float) -> None:
        try:
            receipt = Receipt.from_message(message)
        except ContractError as error:
            return log.warning(
                "bad receipt", extra={"camera": self._names[1], "reason": str(error)}
            )
        self._heard_at, self._silence = now, 0
        if receipt.tx <= self._tx:
            # A probe leaves after a silence, so what has not come home before it is late however few came between.
            late = receipt.tx if receipt.tx in self._probe_txs else receipt.tx - REORDER
            self._horizon = max(self._horizon, late)
        flight = self._flights.get(receipt.seq)
        if receipt.status == "quarantined" and not (flight and self._final(flight, receipt)):
            return
        try:
            settled = self._outbox.settle(receipt)
        except sqlite3.Error as error:
            return log.error(
                "receipt not written", extra={"seq": receipt.seq, "reason": str(error)}
            )
        if settled:
            metrics.outcomes[receipt.status].labels(*self._names).inc()
        if settled and flight:
            del self._flights[receipt.seq]
            if receipt.tx in flight.copies:
                self._sample(now - flight.copies[receipt.tx])
            self._probe_txs.difference_update(flight.copies)

    def _final(self, flight: Flight, receipt: Receipt) -> bool:
        """Whether to believe that a capture cannot be stored: when several copies of it, of this life, were refused."""
        if receipt.sha256 == flight.sha256 and flight.copies.pop(receipt.tx, 0):
            flight.refusals += 1
            log.warning(
                "refused",
                extra={"camera": self._names[1], "seq": flight.seq, "reason": receipt.reason},
            )
        return flight.refusals >= REFUSALS

    def _sample(self, took: float) -> None:
        """Smooth the receipt time and its variance (RFC 9002, section 5.3)."""
        metrics.receipt_seconds.labels(*self._names).observe(took)
        took = min(took, SAMPLE_MAX)
        if self._smoothed:
            self._variance += (abs(self._smoothed - took) - self._variance) / 4
            self._smoothed += (took - self._smoothed) / 8
        else:
            self._smoothed, self._variance = took, took / 2

    def _expire(self, now: float) -> None:
        """Mark what must be sent again: overtaken or refused copies, after a silence on a working link the oldest."""
        patience = max(2 * self._smoothed, PATIENCE)
        for flight in self._flights.values():
            wait = max(min(patience * 2.0**flight.losses, PROBE_MAX), patience)
            why = (
                "refused"
                if flight.tx not in flight.copies
                else "overtaken"
                if flight.tx < self._horizon
                else ""
            )
            if why and now - flight.sent_at > wait:
                flight.losses, flight.resend = flight.losses + 1, flight.resend or why
        oldest = next(
            (flight for flight in self._flights.values() if flight.tx in flight.copies), None
        )
        wait = max(self._smoothed + 4 * self._variance, PATIENCE) * 2.0 ** min(self._silence, 16)
        if (
            self.link
            and oldest
            and now > max(self._heard_at, oldest.sent_at) + min(wait, PROBE_MAX)
        ):
            self._silence, oldest.resend = self._silence + 1, oldest.resend or "probe"
