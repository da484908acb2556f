"""The outbox against a model of it, and what it does when it cannot be used."""

import hashlib
import random
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from bus.capture import Capture
from bus.topics import CameraId
from detector.outbox import RESERVE, Outbox
from detector.outbox_file import OutboxError
from detector.outbox_schema import FULL, QUARANTINED, SPOILT
from detector.settings import OutboxFull
from tests.support.captures import png, receipt, shot

DOOR = CameraId("edge-1", "door")


def add(outbox: Outbox, size: int = 0) -> Capture | None:
    return outbox.add(shot(png=png(filler=bytes(size))))


def gaps(path: Path) -> dict[int, str]:
    with closing(sqlite3.connect(path)) as db:
        rows = db.execute("SELECT first, last, reason FROM gaps").fetchall()
    return {seq: reason for first, last, reason in rows for seq in range(first, last + 1)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


@pytest.fixture
def outbox(path: Path) -> Iterator[Outbox]:
    outbox = Outbox(path, DOOR)
    yield outbox
    outbox.close()


class Model(RuleBasedStateMachine):
    """Adds, hand-outs, receipts and restarts in any order, with a budget of a few pictures."""

    policy: OutboxFull = "drop-oldest"

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.waiting: dict[int, Capture] = {}
        self.gaps: dict[int, str] = {}
        self.settled: list[int] = []
        self.last_seq = self.taken = 0
        self.open()

    def open(self) -> None:
        self.outbox = Outbox(self.folder / "outbox.db", DOOR, budget=3000, full=self.policy)
        self.taken = 0

    def teardown(self) -> None:
        self.outbox.close()
        shutil.rmtree(self.folder)

    @property
    def bytes(self) -> int:
        return sum(len(capture.png) for capture in self.waiting.values())

    @rule(size=st.integers(0, 1500))
    def add(self, size: int) -> None:
        need = len(png(filler=bytes(size)))
        self.last_seq += 1
        free = (
            [seq for seq in self.waiting if seq > self.taken]
            if self.policy == "drop-oldest"
            else []
        )
        if (
            self.bytes + need > 3000
            and self.bytes - sum(len(self.waiting[seq].png) for seq in free) + need <= 3000
        ):
            while self.bytes + need > 3000:
                seq = free.pop(0)
                del self.waiting[seq]
                self.gaps[seq] = FULL
        got = add(self.outbox, size)
        if self.bytes + need > 3000:
            assert got is None
            self.gaps[self.last_seq] = FULL
        else:
            assert got is not None
            assert got.seq == self.last_seq
            self.waiting[got.seq] = got

    @rule()
    def hand_out(self) -> None:
        expected = next((seq for seq in self.waiting if seq > self.taken), None)
        got = self.outbox.next()
        assert got == (self.waiting[expected] if expected else None)
        self.taken = expected or self.taken

    @precondition(lambda self: self.waiting)
    @rule(data=st.data(), status=st.sampled_from(["stored", "quarantined"]))
    def settle(self, data: st.DataObject, status: str) -> None:
        capture = self.waiting.pop(data.draw(st.sampled_from(list(self.waiting))))
        assert self.outbox.settle(receipt(capture, status=status))
        assert not self.outbox.settle(receipt(capture, status=status))
        self.settled.append(capture.seq)
        if status == "quarantined":
            self.gaps[capture.seq] = QUARANTINED

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def wrong_receipt(self, data: st.DataObject) -> None:
        capture = self.waiting[data.draw(st.sampled_from(list(self.waiting)))]
        assert not self.outbox.settle(receipt(capture, sha256="0" * 64))
        assert not self.outbox.settle(receipt(capture, seq=self.last_seq + 1))

    @rule()
    def restart(self) -> None:
        life = self.outbox.life
        self.outbox.close()
        self.open()
        assert self.outbox.life == life + 1

    @invariant()
    def agree(self) -> None:
        assert self.outbox.last_seq == self.last_seq
        assert (self.outbox.waiting, self.outbox.waiting_bytes) == (len(self.waiting), self.bytes)
        assert all(self.outbox.get(seq) == capture for seq, capture in self.waiting.items())
        assert gaps(self.folder / "outbox.db") == self.gaps
        with closing(sqlite3.connect(self.folder / "outbox.db")) as db:
            rows = db.execute("SELECT seq FROM captures WHERE png IS NULL ORDER BY seq").fetchall()
        assert rows == [(seq,) for seq in sorted(self.settled)]
        assert (self.outbox.age() > 0) == bool(self.waiting)


class NewestModel(Model):
    policy: OutboxFull = "drop-newest"


TestDropOldest = Model.TestCase
TestDropNewest = NewestModel.TestCase
TestDropOldest.settings = TestDropNewest.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None
)


def test_a_second_detector_is_refused(outbox: Outbox, path: Path) -> None:
    with pytest.raises(OutboxError, match="in use by another detector"):
        Outbox(path, DOOR)


def test_another_camera_is_refused(path: Path) -> None:
    Outbox(path, DOOR).close()
    with pytest.raises(OutboxError, match="belongs to edge-1/door"):
        Outbox(path, CameraId("edge-1", "hall"))
    Outbox(path, DOOR).close()  # and the refusal holds no lock


def test_what_is_no_database_is_refused(path: Path) -> None:
    path.write_bytes(b"not a database, but long enough to be looked at" * 100)
    with pytest.raises(OutboxError, match="cannot be used"):
        Outbox(path, DOOR)


def test_an_unwritable_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutboxError, match="cannot be used"):
        Outbox(tmp_path / "file" / "outbox.db", DOOR)


def test_a_full_disk_refuses_one_capture_and_costs_no_seq(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")
    with monkeypatch.context() as full:
        full.setattr(shutil, "disk_usage", lambda _: usage._replace(free=100))
        assert add(outbox) is None
    capture = add(outbox)
    assert capture
    assert capture.seq == 1


def test_the_room_of_what_was_released_is_used_again(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    captures = [add(outbox, 100_000) for _ in range(20)]
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(
        shutil, "disk_usage", lambda _: usage._replace(free=RESERVE)
    )  # the file does not shrink
    assert add(outbox, 100_000) is None
    for capture in captures:
        assert capture
        assert outbox.settle(receipt(capture))
    assert [bool(add(outbox, 100_000)) for _ in range(15)] == [True] * 15
    assert not all(add(outbox, 100_000) for _ in range(10))


def test_what_is_no_capture_is_refused(outbox: Outbox) -> None:
    assert outbox.add(shot(png=b"no png")) is None
    assert outbox.add(shot(box=(0, 0, 9, 9))) is None
    assert outbox.last_seq == 0


def test_what_is_given_up_takes_its_refusals_along(path: Path) -> None:
    with closing(Outbox(path, DOOR, budget=3_000)) as outbox:
        add(outbox, size=1_000)
        assert outbox.refuse(1) == 1
        add(outbox, size=1_500)
        add(outbox, size=1_500)
        assert outbox.get(1) is None
        assert outbox.refusals(1) == 0


def test_a_row_that_the_disk_spoilt_is_given_up(outbox: Outbox, path: Path) -> None:
    add(outbox)
    add(outbox)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE captures SET png = zeroblob(70) WHERE seq = 1")
    capture = outbox.next()
    assert capture
    assert capture.seq == 2
    assert gaps(path) == {1: SPOILT}
    assert outbox.waiting == 1


def test_gaps_take_no_room(path: Path) -> None:
    outbox = Outbox(path, DOOR, budget=100, full="drop-newest")
    for _ in range(50):
        assert not add(outbox, 200)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT * FROM gaps").fetchall() == [(1, 50, FULL)]
    outbox.close()


def test_the_hash_in_the_ledger_is_the_pictures(outbox: Outbox, path: Path) -> None:
    capture = add(outbox)
    assert capture
    outbox.settle(receipt(capture))
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT seq, sha256, png FROM captures").fetchall() == [
            (1, hashlib.sha256(png()).hexdigest(), None)
        ]


def test_of_a_face_that_was_delivered_nothing_is_left(path: Path) -> None:
    faces = [random.randbytes(20_000) for _ in range(8)]
    with closing(Outbox(path, DOOR)) as outbox:
        for face in faces:
            capture = outbox.add(shot(png=png(filler=face)))
            assert capture
            assert face[:64] in carved(path)
            assert outbox.settle(receipt(capture))
        outbox.scrub()
        left = carved(path)
    for face in faces:
        for at in range(0, len(face), 1000):
            assert face[at : at + 64] not in left


def carved(path: Path) -> bytes:
    """All that the outbox has on the disk."""
    return b"".join(file.read_bytes() for file in path.parent.glob(f"{path.name}*"))


def test_only_its_owner_may_read_it(path: Path) -> None:
    path.touch(mode=0o644)  # as older versions made it
    with closing(Outbox(path, DOOR)) as outbox:
        add(outbox)
        modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    assert modes["outbox.db"] == modes["outbox.db-wal"] == 0o600


def test_a_reader_in_the_way_holds_up_nothing(outbox: Outbox, path: Path) -> None:
    capture = add(outbox)
    assert capture
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM captures").fetchall()
        assert outbox.settle(receipt(capture))
        begun = time.monotonic()
        outbox.scrub()
        assert time.monotonic() < begun + 1
        reader.execute("ROLLBACK")
    outbox.scrub()
    assert path.with_name("outbox.db-wal").stat().st_size == 0


def test_a_disk_that_is_full_does_not_end_the_delivery(
    outbox: Outbox, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full:
        def execute(self, _: str) -> None:
            raise sqlite3.OperationalError("database or disk is full")

    capture = add(outbox)
    assert capture
    assert outbox.settle(receipt(capture))
    with monkeypatch.context() as full:
        full.setattr(outbox._file, "db", Full())
        outbox.scrub()
    outbox.scrub()
    assert path.with_name("outbox.db-wal").stat().st_size == 0


def test_a_broken_file_without_room_for_another_is_said_in_one_line(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Outbox(path, DOOR).close()
    path.write_bytes(bytes(8192))

    def no_room(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("detector.outbox_file.salvage", no_room)
    said = r"is broken .* and cannot be salvaged \(no space left on device\): make room"
    with pytest.raises(OutboxError, match=said):
        Outbox(path, DOOR)
