"""What is sent, and when it is sent again: the delivery driven by hand, its clock included."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bus.message import Down, Event, Message, Up
from bus.topics import CameraId
from detector.congestion import FIRST_BYTES, MOST_BYTES
from detector.delivery import LINK_WORD_WITHIN_S, PROBE_AFTER_AT_MOST_S, REFUSALS, REORDER, Delivery
from detector.outbox import Outbox
from tests.support.captures import png, receipt, shot

DOOR = CameraId("edge-1", "door")
NEW = Up(session_present=False)
RESUMED = Up(session_present=True)
LINK = "$SYS/broker/connection/edge-1.cloud/state"


class Bench:
    """A delivery over a real outbox, with everything it sends kept by transmission."""

    def __init__(self, path: Path, window: int = 64, *, told_of_link: bool = True) -> None:
        self.path = path
        self.now = 100.0
        self.outbox = Outbox(path, DOOR)
        self.delivery = Delivery(self.outbox, window)
        self.sent: list[tuple[int, int]] = []  # seq, tx
        if told_of_link:
            self.step(Message(LINK, b"1"))

    def step(self, event: Event | None = None, after: float = 0.0) -> list[int]:
        """The seqs that are sent `after` seconds later."""
        self.now += after
        facts = [dict(message.properties) for message in self.delivery.step(event, self.now)]
        self.sent += [(int(fact["seq"]), int(fact["tx"])) for fact in facts]
        return [int(fact["seq"]) for fact in facts]

    def home(
        self, seq: int, tx: int | None = None, after: float = 0.0, **changes: Any
    ) -> list[int]:
        """The receipt of the newest copy of `seq`, or of copy `tx`, comes home."""
        capture = self.outbox.get(seq)
        if not capture:  # settled already: any receipt will do
            capture = self.outbox.get(max(s for s, _ in self.sent if self.outbox.get(s)))
        assert capture
        tx = tx or max(t for s, t in self.sent if s == seq)
        return self.step(receipt(capture, seq=seq, tx=tx, **changes).to_message(), after)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path / "outbox.db")
    yield bench
    bench.outbox.close()


def fill(bench: Bench, count: int, size: int = 0) -> None:
    for _ in range(count):
        bench.outbox.add(shot(png=png(filler=bytes(size))))


def test_nothing_is_sent_without_a_broker(bench: Bench) -> None:
    fill(bench, 3)
    assert bench.step() == []
    assert bench.step(NEW) == [1, 2, 3]
    bench.step(Down())
    fill(bench, 1)
    assert bench.step() == []


def test_the_window_bounds_what_is_on_its_way(bench: Bench) -> None:
    fill(bench, 100)
    assert bench.step(NEW) == list(range(1, 65))
    assert bench.step() == []
    assert bench.home(1) == [65]
    assert bench.outbox.waiting == 99


def test_a_lost_session_resends_the_window_under_new_numbers(bench: Bench) -> None:
    fill(bench, 5)
    bench.step(NEW)
    bench.step(Down())
    assert bench.step(NEW) == [1, 2, 3, 4, 5]
    numbers = [tx for _, tx in bench.sent]
    assert numbers == sorted(set(numbers))


def test_a_kept_session_resends_nothing(bench: Bench) -> None:
    fill(bench, 5)
    bench.step(NEW)
    bench.step(Down())
    assert bench.step(RESUMED) == []


@pytest.mark.parametrize(("homes", "resent"), [(REORDER, [1]), (REORDER + 1, [1, 2])])
def test_one_that_is_overtaken_by_enough_is_sent_again(
    bench: Bench, homes: int, resent: list[int]
) -> None:
    fill(bench, 60)
    bench.step(NEW)
    for seq in range(3, 3 + homes):
        assert bench.home(seq) == []
    assert bench.step(after=1.9) == []
    assert bench.step(after=0.2) == resent


def test_one_that_is_overtaken_is_given_its_time(bench: Bench) -> None:
    fill(bench, 60)
    bench.step(NEW)
    for seq in range(2, 50):
        assert bench.home(seq, after=0.01) == []


def test_a_second_loss_waits_twice_as_long(bench: Bench) -> None:
    fill(bench, 200)
    first = bench.step(NEW)
    for seq in first[1:40]:
        bench.home(seq)
    assert 1 in bench.step(after=2.1)
    for seq in range(65, 104):
        bench.home(seq)  # these left before the second copy of 1 and say nothing of it
    for seq in range(104, 142):
        bench.home(seq)
    bench.home(142, after=2.1)
    assert sum(seq == 1 for seq, _ in bench.sent) == 2
    bench.home(143, after=2.0)
    assert sum(seq == 1 for seq, _ in bench.sent) == 3


def test_after_a_silence_the_oldest_is_sent_as_a_probe(bench: Bench) -> None:
    fill(bench, 5)
    bench.step(NEW)
    assert bench.step(after=1.9) == []
    assert bench.step(after=0.2) == [1]
    assert bench.step(after=3.9) == []
    assert bench.step(after=0.2) == [1]
    assert bench.step(after=7.9) == []
    assert bench.step(after=0.2) == [1]


def test_probes_come_at_least_every_five_minutes(bench: Bench) -> None:
    fill(bench, 1)
    bench.step(NEW)
    probes = sum(len(bench.step(after=1)) for _ in range(86_400))
    assert 86_400 / PROBE_AFTER_AT_MOST_S <= probes <= 86_400 / PROBE_AFTER_AT_MOST_S + 20


def test_a_probe_needs_no_room(bench: Bench) -> None:
    fill(bench, 3 + REORDER)
    bench.step(NEW)
    for seq in range(2, 3 + REORDER):
        bench.home(seq)
    fill(bench, 10, size=100_000)
    assert len(bench.step()) < 10  # the first is overtaken by all, and waits for room
    assert [1] in [bench.step(after=1) for _ in range(60)]


def test_no_probe_while_the_link_is_down(bench: Bench) -> None:
    fill(bench, 3)
    bench.step(NEW)
    bench.step(Message(LINK, b"0"))
    assert [bench.step(after=60) for _ in range(100)] == [[]] * 100
    assert bench.step(Message(LINK, b"1")) == []
    assert bench.step(after=2.1) == [1]


def test_a_probe_that_comes_home_condemns_what_left_before_it(bench: Bench) -> None:
    fill(bench, 10)
    bench.step(NEW)
    assert bench.step(after=2.1) == [1]
    assert bench.home(1) == list(range(2, 11))


def test_no_probe_of_what_was_sent_after_an_idle_hour(bench: Bench) -> None:
    bench.step(NEW)
    bench.step(after=3600)
    fill(bench, 1)
    assert bench.step() == [1]
    assert bench.step(after=1.9) == []


def test_a_late_receipt_of_an_earlier_copy_releases_too(bench: Bench) -> None:
    fill(bench, 2)
    bench.step(NEW)
    first = bench.sent[0][1]
    bench.step(after=2.1)
    bench.home(1, tx=first)
    assert bench.outbox.waiting == 1
    assert bench.outbox.get(1) is None


@pytest.mark.parametrize("payload", [b"", b"{}", b"\xff", b"[" * 9000])
def test_a_receipt_that_is_none_changes_nothing(bench: Bench, payload: bytes) -> None:
    fill(bench, 2)
    bench.step(NEW)
    assert bench.step(Message("stored/edge-1/door", payload)) == []
    assert bench.outbox.waiting == 2


def test_a_receipt_for_other_bytes_changes_nothing(bench: Bench) -> None:
    fill(bench, 2)
    bench.step(NEW)
    bench.home(1, sha256="0" * 64)
    assert bench.outbox.waiting == 2


def test_a_sound_capture_is_not_let_go_at_the_first_quarantine(bench: Bench) -> None:
    fill(bench, 1)
    bench.step(NEW)
    began = bench.now
    refused: dict[str, Any] = {
        "status": "quarantined",
        "reason": "sha256: is not that of the payload",
    }
    for _ in range(REFUSALS - 1):
        assert bench.home(1, **refused) == []
        while not bench.step(after=1):
            assert bench.outbox.waiting == 1
    assert bench.home(1, **refused) == []
    assert bench.outbox.waiting == 0
    assert 3600 < bench.now - began < 2 * 3600


def test_what_is_refused_once_is_sent_again_soon_and_released(bench: Bench) -> None:
    fill(bench, 1)
    bench.step(NEW)
    assert bench.home(1, status="quarantined", reason="sha256: is not that of the payload") == []
    assert bench.step(after=1.9) == []
    assert bench.step(after=0.2) == [1]
    bench.home(1)
    assert bench.outbox.waiting == 0


@pytest.mark.parametrize("changes", [{"tx": 1}, {"sha256": "0" * 64}, {}])
def test_a_refusal_counts_once_and_for_a_copy_of_ours(
    bench: Bench, changes: dict[str, Any]
) -> None:
    fill(bench, 1)
    bench.step(NEW)
    tx = bench.sent[0][1]
    for _ in range(REFUSALS + 2):
        bench.home(1, **{"tx": tx, "status": "quarantined", "reason": "forged", **changes})
    assert bench.outbox.waiting == 1


def test_a_restarted_detector_sends_all_with_larger_numbers(bench: Bench) -> None:
    fill(bench, 3)
    bench.step(NEW)
    bench.outbox.close()
    again = Bench(bench.path)
    assert again.step(RESUMED) == [1, 2, 3]
    assert min(tx for _, tx in again.sent) > max(tx for _, tx in bench.sent)
    again.outbox.close()


def test_a_receipt_of_an_earlier_life_condemns_nothing(bench: Bench) -> None:
    fill(bench, 40)
    bench.step(NEW)
    bench.outbox.close()
    again = Bench(bench.path)
    again.step(RESUMED)
    for seq in range(2, 40):
        assert again.home(seq, tx=bench.sent[seq - 1][1]) == []
    assert again.outbox.waiting == 2
    assert again.step(after=1.9) == []
    again.outbox.close()
    bench.outbox = Outbox(bench.path, DOOR)


REFUSED: dict[str, Any] = {"status": "quarantined", "reason": "png: not a PNG, or cut off"}


def test_refusals_are_counted_over_restarts(bench: Bench) -> None:
    fill(bench, 1)
    bench.step(NEW)
    for _ in range(REFUSALS - 1):
        assert bench.outbox.waiting == 1
        bench.home(1, **REFUSED)
        bench.outbox.close()
        again = Bench(bench.path)
        again.step(NEW)
        bench.outbox, bench.delivery, bench.sent = again.outbox, again.delivery, again.sent
    assert bench.outbox.waiting == 1
    bench.home(1, **REFUSED)
    assert bench.outbox.waiting == 0


def test_what_is_refused_holds_a_quarter_of_the_window(bench: Bench) -> None:
    fill(bench, 200)
    bench.step(NEW)
    bad = set(range(1, 101))
    stored: set[int] = set()
    for _ in range(400):
        for seq, tx in bench.sent[-64:]:
            if seq in bad:
                bench.home(seq, tx=tx, **REFUSED)
            elif seq not in stored:
                stored.add(seq)
                bench.home(seq, tx=tx)
        bench.step(after=2.5)
        if len(stored) == 100:
            break
    assert len(stored) == 100
    assert bench.outbox.waiting == 100


def test_what_fails_again_lets_others_try(bench: Bench) -> None:
    fill(bench, 64)
    bench.step(NEW)
    for seq in range(1, 65):
        bench.home(seq, **REFUSED)
    tried: set[int] = set()
    for _ in range(3000):
        tried.update(bench.step(after=2.5))
        for seq, tx in bench.sent[-16:]:
            bench.home(seq, tx=tx, **REFUSED)
    assert tried == set(range(1, 65))


def test_a_receipt_that_names_another_key_changes_nothing(bench: Bench) -> None:
    fill(bench, 2)
    bench.step(NEW)
    bench.home(1, key="faces/edge-1/door/elsewhere.png")
    assert bench.outbox.waiting == 2


def test_nothing_leaves_before_something_is_known_of_the_link(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "other.db", told_of_link=False)
    fill(bench, 3)
    assert bench.step(NEW) == []
    assert bench.step(after=LINK_WORD_WITHIN_S - 0.1) == []
    assert bench.step(after=0.2) == [1, 2, 3]
    bench.outbox.close()


def test_nothing_leaves_while_the_link_is_down(bench: Bench) -> None:
    bench.step(NEW)
    bench.step(Message(LINK, b"0"))
    fill(bench, 3)
    assert [bench.step(after=60) for _ in range(10)] == [[]] * 10
    assert bench.step(Message(LINK, b"1")) == [1, 2, 3]


def test_the_first_flight_is_small(bench: Bench) -> None:
    fill(bench, 64, size=100_000)
    assert len(bench.step(NEW)) * 100_000 <= FIRST_BYTES + 100_000


def test_the_window_opens_with_what_comes_home_up_to_its_bound(bench: Bench) -> None:
    fill(bench, 300, size=400_000)
    flight = bench.step(NEW)
    longest = len(flight)
    on_their_way = list(flight)
    while on_their_way:
        on_their_way += bench.home(on_their_way.pop(0), after=0.01)
        longest = max(longest, len(on_their_way))
    assert len(flight) < 3
    assert MOST_BYTES - 800_000 <= longest * 400_000 <= MOST_BYTES + 800_000
    assert bench.outbox.waiting == 0


def test_a_loss_halves_the_window_once(bench: Bench) -> None:
    fill(bench, 400, size=20_000)
    on_their_way = bench.step(NEW)
    for _ in range(100):
        on_their_way += bench.home(on_their_way.pop(0), after=0.01)
    before = bench.delivery._congestion.size
    for seq in on_their_way[10 : 10 + REORDER + 5]:
        bench.home(seq)
    bench.step(after=10)
    assert bench.delivery._congestion.size == pytest.approx(before / 2, rel=0.2)


def test_a_lost_session_is_sent_again_little_by_little(bench: Bench) -> None:
    fill(bench, 200, size=100_000)
    on_their_way = bench.step(NEW)
    for _ in range(100):
        on_their_way += bench.home(on_their_way.pop(0), after=0.01)
    assert len(on_their_way) * 100_000 > 2 * FIRST_BYTES
    bench.step(Down())
    assert len(bench.step(NEW)) * 100_000 <= FIRST_BYTES + 100_000
