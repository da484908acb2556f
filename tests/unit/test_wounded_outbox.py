"""An outbox whose file the disk has spoilt goes on with what can be read, and names the rest."""

import random
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from bus.capture import Capture
from bus.topics import CameraId
from detector.outbox import Outbox
from detector.outbox_reader import Ledger
from detector.outbox_schema import QUARANTINED, SPOILT
from tests.support.captures import png, receipt, shot

DOOR = CameraId("edge-1", "door")
CAPTURES = 200
SETTLED = 40  # the oldest, of which every tenth is in quarantine
SECTOR = 512  # bytes


def filled(folder: Path) -> dict[int, bytes]:
    """An outbox of a detector that was killed: the pictures that wait in it, by seq."""
    outbox = Outbox(folder / "outbox.db", DOOR)
    rng = random.Random(1)
    waiting = {}
    for seq in range(1, CAPTURES + 1):
        capture = outbox.add(shot(png=png(filler=rng.randbytes(rng.randrange(100, 6000)))))
        assert capture
        if seq <= SETTLED:
            status = "quarantined" if seq % 10 == 0 else "stored"
            assert outbox.settle(receipt(capture, status=status))
        else:
            waiting[seq] = capture.png
    # As the disk has it when the power fails: with SQLite's journal, without a good end.
    (folder / "killed").mkdir()
    for file in folder.glob("outbox.db*"):
        shutil.copy(file, folder / "killed")
    outbox.close()
    return waiting


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[int, bytes]]:
    folder = tmp_path_factory.mktemp("sound")
    waiting = filled(folder)
    return folder, waiting


def wounds(size: int, *, sectors: int, flips: int) -> Iterator[tuple[int, bytes | int]]:
    """Where a file is spoilt: a sector that is zero, or a bit that is another."""
    rng = random.Random(2)
    for _ in range(sectors):
        yield rng.randrange(size // SECTOR) * SECTOR, bytes(SECTOR)
    for _ in range(flips):
        yield rng.randrange(size), 1 << rng.randrange(8)


def wound(file: Path, at: int, what: bytes | int) -> None:
    content = bytearray(file.read_bytes())
    if isinstance(what, int):
        content[at] ^= what
    else:
        content[at : at + SECTOR] = what
    file.write_bytes(content)


def drained(path: Path) -> tuple[list[Capture], int]:
    """What an outbox still gives, and the seq of the next capture."""
    with closing(Outbox(path, DOOR)) as outbox:
        captures = []
        while capture := outbox.next():
            captures.append(capture)
        for capture in captures:
            again = outbox.get(capture.seq)
            assert again == capture
        outbox.age()
        new = outbox.add(shot())
        assert new, "nothing is taken any more"
        for capture in [*captures, new]:
            assert outbox.settle(receipt(capture))
        assert outbox.waiting == 0
        return captures, new.seq


@pytest.mark.parametrize("state", ["closed", "killed"])
def test_any_sector_and_any_bit_may_be_lost(
    sound: tuple[Path, dict[int, bytes]], tmp_path: Path, state: str
) -> None:
    folder, waiting = sound
    source = folder if state == "closed" else folder / "killed"
    files = [file for file in source.glob("outbox.db*") if file.suffix in (".db", ".db-wal")]
    salvaged = 0
    for file in files:
        for number, (at, what) in enumerate(wounds(file.stat().st_size, sectors=40, flips=40)):
            place = tmp_path / f"{file.name}-{number}"
            place.mkdir()
            for other in source.glob("outbox.db*"):
                shutil.copy(other, place)
            wound(place / file.name, at, what)
            captures, new_seq = drained(place / "outbox.db")
            for capture in captures:
                assert waiting[capture.seq] == capture.png, (at, what)
            assert new_seq > CAPTURES, (at, what)
            ledger = Ledger.read(place / "outbox.db")
            named = {seq for gap in ledger.gaps for seq in range(gap.first, gap.last + 1)}
            lost = waiting.keys() - {capture.seq for capture in captures}
            assert lost <= named, (at, what)
            salvaged += bool(list(place.glob("*.broken-*")))
            shutil.rmtree(place)
    assert salvaged, "no wound was deep enough for this to be a test"


def test_what_waits_and_can_be_read_is_not_lost_with_its_neighbours(
    sound: tuple[Path, dict[int, bytes]], tmp_path: Path
) -> None:
    folder, waiting = sound
    for file in folder.glob("outbox.db*"):
        shutil.copy(file, tmp_path)
    file = tmp_path / "outbox.db"
    wound(file, file.stat().st_size // 2 // SECTOR * SECTOR, bytes(SECTOR))
    captures, _ = drained(file)
    assert len(captures) > len(waiting) - 20


def test_the_old_file_is_kept(sound: tuple[Path, dict[int, bytes]], tmp_path: Path) -> None:
    folder, _ = sound
    for file in folder.glob("outbox.db*"):
        shutil.copy(file, tmp_path)
    wound(tmp_path / "outbox.db", 0, bytes(SECTOR))
    content = (tmp_path / "outbox.db").read_bytes()
    drained(tmp_path / "outbox.db")
    (kept,) = (file for file in tmp_path.glob("*.broken-*") if file.suffix[-4:] not in ("-wal",))
    assert kept.read_bytes() == content


def test_no_seq_is_used_again_when_the_file_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    filled(tmp_path)
    path.unlink()
    captures, new_seq = drained(path)
    assert captures == []
    assert CAPTURES < new_seq <= CAPTURES + 101
    (gap,) = Ledger.read(path).gaps
    assert (gap.first, gap.last, gap.reason) == (1, new_seq - 1, SPOILT)


def test_a_life_is_not_lived_again(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    for _ in range(3):
        with closing(Outbox(path, DOOR)) as outbox:
            life = outbox.life
    path.unlink()
    with closing(Outbox(path, DOOR)) as outbox:
        assert outbox.life == life + 1


def test_an_older_version_may_go_on_in_between(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    filled(tmp_path)
    mark = tmp_path / "outbox.db.mark"
    before = mark.read_text()
    with closing(Outbox(path, DOOR)) as outbox:
        for _ in range(250):
            outbox.add(shot())
    mark.write_text(before)  # which it does not know
    with closing(Outbox(path, DOOR)) as outbox:
        assert outbox.last_seq == CAPTURES + 250
    assert {gap.reason for gap in Ledger.read(path).gaps} == {QUARANTINED}


def test_a_spoilt_mark_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    filled(tmp_path)
    (tmp_path / "outbox.db.mark").write_bytes(bytes(SECTOR))
    _, new_seq = drained(path)
    assert new_seq == CAPTURES + 1


def test_a_salvage_that_was_cut_off_is_finished(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    waiting = filled(tmp_path)
    path.rename(tmp_path / "outbox.db.new")
    path.with_name("outbox.db-wal").write_bytes(b"of the file that was put aside")
    captures, _ = drained(path)
    assert {capture.seq: capture.png for capture in captures} == waiting


def test_a_row_of_a_stricter_contract_is_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "outbox.db"
    with closing(Outbox(path, DOOR)) as outbox:
        outbox.add(shot(png=png(filler=b"1")))
        outbox.add(shot(png=png(filler=b"2")))
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE captures SET facts = replace(facts, '0,0,2,2', '-1,0,2,2') WHERE seq=1")
    with closing(Outbox(path, DOOR)) as outbox:
        capture = outbox.next()
        assert capture
        assert capture.seq == 2
        assert outbox.waiting == 2
    assert Ledger.read(path).gaps == ()
    assert "kept" in caplog.text
