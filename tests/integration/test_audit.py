"""The audit against a real store: each way in which outbox and bucket can differ is told, by seq."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bus.capture import Capture
from detector.outbox import Outbox
from local.audit import LedgerError, audit
from local.stack import BUCKET, Stack
from tests.unit.test_outbox import add, receipt


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with Stack(tmp_path_factory.mktemp("audit")) as stack:
        stack.start("store")
        stack.s3().create_bucket(Bucket=BUCKET)
        yield stack.s3()


@pytest.fixture
def outbox(tmp_path: Path, store: Any) -> Iterator[Outbox]:
    """Three captures, all stored."""
    outbox = Outbox(tmp_path / "outbox.db", "edge-1", "door")
    for _ in range(3):
        capture = add(outbox)
        assert capture
        put(store, capture)
        outbox.settle(receipt(capture))
    yield outbox
    outbox.close()
    for item in store.list_objects_v2(Bucket=BUCKET).get("Contents", ()):
        store.delete_object(Bucket=BUCKET, Key=item["Key"])


def put(store: Any, capture: Capture, body: bytes | None = None) -> None:
    store.put_object(Bucket=BUCKET, Key=capture.key, Body=capture.png if body is None else body)


def key(store: Any, seq: int) -> str:
    keys = [item["Key"] for item in store.list_objects_v2(Bucket=BUCKET)["Contents"]]
    return next(key for key in keys if key.endswith(f"-{seq:09d}.png"))


def test_all_is_well(outbox: Outbox, store: Any, tmp_path: Path) -> None:
    found = audit(tmp_path / "outbox.db", store, BUCKET)
    assert found.sound
    assert found.line() == "captured=3 stored=3 lost=0 duplicated=0"


def test_an_object_that_was_deleted_is_missing(outbox: Outbox, store: Any, tmp_path: Path) -> None:
    store.delete_object(Bucket=BUCKET, Key=key(store, 2))
    found = audit(tmp_path / "outbox.db", store, BUCKET)
    assert (found.sound, found.missing) == (False, [2])
    assert found.line() == "captured=3 stored=2 lost=1 duplicated=0"


def test_other_bytes_under_a_key_are_told(outbox: Outbox, store: Any, tmp_path: Path) -> None:
    store.put_object(Bucket=BUCKET, Key=key(store, 3), Body=b"WRONG")
    found = audit(tmp_path / "outbox.db", store, BUCKET)
    assert (found.sound, found.spoilt) == (False, [key(store, 3)])


def test_other_bytes_are_told_though_ours_are_in_quarantine(outbox: Outbox, store: Any, tmp_path: Path) -> None:
    capture = add(outbox)
    assert capture
    put(store, capture, b"WRONG")
    outbox.settle(receipt(capture, status="quarantined"))
    found = audit(tmp_path / "outbox.db", store, BUCKET)
    assert (found.sound, found.spoilt) == (False, [capture.key])


def test_a_second_object_of_a_capture_is_told(outbox: Outbox, store: Any, tmp_path: Path) -> None:
    twin = key(store, 1).replace("/030405", "/030406")
    store.copy_object(Bucket=BUCKET, Key=twin, CopySource={"Bucket": BUCKET, "Key": key(store, 1)})
    found = audit(tmp_path / "outbox.db", store, BUCKET)
    assert (found.sound, found.twice) == (False, [1])


def test_what_waits_was_dropped_or_is_in_quarantine_is_no_loss(outbox: Outbox, store: Any, tmp_path: Path) -> None:
    for _ in range(3):
        add(outbox)
    quarantined, dropped = outbox.get(4), outbox.get(5)
    assert quarantined
    assert dropped
    outbox.settle(receipt(quarantined, status="quarantined"))
    with outbox._transaction():
        outbox._gap(5, "outbox full")
    found = audit(tmp_path / "outbox.db", store, BUCKET)
    assert found.sound
    assert (found.captured, found.stored, found.waiting, found.quarantined, found.dropped) == (6, 3, 1, 1, 1)


def test_strange_objects_are_nobodys(outbox: Outbox, store: Any, tmp_path: Path) -> None:
    for name in ("notes.txt", "x-000000009.png", "2026/01/02/030405000Z-999999999.png"):
        store.put_object(Bucket=BUCKET, Key=f"faces/edge-1/door/{name}", Body=b"")
    assert audit(tmp_path / "outbox.db", store, BUCKET).sound


def test_an_outbox_that_is_none_is_said(store: Any, tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="no outbox"):
        audit(tmp_path / "none.db", store, BUCKET)
    (tmp_path / "bad.db").write_bytes(b"not a database" * 1000)
    with pytest.raises(LedgerError, match="cannot be read"):
        audit(tmp_path / "bad.db", store, BUCKET)
