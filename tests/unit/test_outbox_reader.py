"""What a reader sees of an outbox while its detector has it open."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from bus.capture import Capture
from bus.topics import CameraId
from detector.outbox import Outbox
from detector.outbox_reader import Entry, Gap, Ledger, LedgerError, OutboxReader
from detector.outbox_schema import FULL, QUARANTINED
from tests.support.captures import png, receipt, shot

DOOR = CameraId("edge-1", "door")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


@pytest.fixture
def outbox(path: Path) -> Iterator[Outbox]:
    """Room for two captures."""
    outbox = Outbox(path, DOOR, budget=2 * len(png()))
    yield outbox
    outbox.close()


def add(outbox: Outbox) -> Capture:
    capture = outbox.add(shot(final=True))
    assert capture
    return capture


def test_every_seq_is_in_one_place(outbox: Outbox, path: Path) -> None:
    outbox.settle(receipt(add(outbox)))
    outbox.settle(receipt(add(outbox), status="quarantined"))
    for _ in range(4):  # of which two have to go
        add(outbox)
    ledger = Ledger.read(path)
    assert ledger == Ledger(
        camera_id=DOOR,
        captured=6,
        waiting_seqs=(5, 6),
        gaps=(Gap(2, 2, QUARANTINED), Gap(3, 4, FULL)),
    )
    assert (ledger.waiting, ledger.stored) == (2, 1)
    assert (ledger.given_up(FULL), ledger.given_up(QUARANTINED)) == (2, 1)
    assert [gap.quarantined for gap in ledger.gaps] == [True, False]


def test_an_entry_says_what_the_capture_was(outbox: Outbox, path: Path) -> None:
    settled = add(outbox)
    outbox.settle(receipt(settled))
    waiting = add(outbox)
    with OutboxReader(path) as reader:
        assert reader.entries() == [entry(settled, waiting=False), entry(waiting, waiting=True)]
        assert reader.entry(2) == entry(waiting, waiting=True)
        assert reader.entry(3) is None


def entry(capture: Capture, *, waiting: bool) -> Entry:
    return Entry(
        seq=capture.seq,
        key=capture.key,
        sha256=capture.sha256,
        size=len(capture.png),
        facts=capture.facts(),
        waiting=waiting,
    )


def test_a_reader_sees_what_is_committed_after_it_opened(outbox: Outbox, path: Path) -> None:
    with OutboxReader(path) as reader:
        assert reader.ledger().captured == 0
        add(outbox)
        assert reader.ledger().waiting_seqs == (1,)


def test_a_reader_cannot_write(outbox: Outbox, path: Path) -> None:
    with OutboxReader(path) as reader, pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader._db.execute("DELETE FROM captures")


def test_a_file_without_a_camera_says_what_to_do(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE outbox (edge, camera, last_seq)")
    with pytest.raises(LedgerError, match="has no camera yet: start its detector first"):
        Ledger.read(path)
