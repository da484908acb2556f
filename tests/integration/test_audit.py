"""The audit against a real store: each way in which outbox and bucket can differ is told, by seq."""

import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from botocore.exceptions import ClientError
from pyroaring import BitMap

from audit.compare import audit
from audit.findings import line
from audit.inventory import audit_bucket
from audit.ranges import ranges
from bus.capture import Capture
from bus.topics import CameraId, quarantine_key
from demo.stack import BUCKET, ROOT, Stack
from detector import outbox as outbox_module
from detector.outbox import Outbox
from detector.outbox_reader import LedgerError
from tests.support.captures import CAPTURED_AT, png, receipt, shot

DOOR = CameraId("edge-1", "door")
HALL = CameraId("edge-1", "hall")
Ran: TypeAlias = "subprocess.CompletedProcess[str]"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("audit")) as stack:
        stack.start("store")
        stack.s3().create_bucket(Bucket=BUCKET)
        yield stack


@pytest.fixture(scope="module")
def store(stack: Stack) -> Any:
    return stack.s3()


@pytest.fixture
def outbox(tmp_path: Path, store: Any) -> Iterator[Outbox]:
    """Three captures, all stored."""
    outbox = Outbox(tmp_path / "outbox.db", DOOR)
    stored(outbox, store, 3)
    yield outbox
    outbox.close()
    for item in store.list_objects_v2(Bucket=BUCKET).get("Contents", ()):
        store.delete_object(Bucket=BUCKET, Key=item["Key"])


def put(store: Any, capture: Capture, body: bytes | None = None) -> None:
    store.put_object(Bucket=BUCKET, Key=capture.key, Body=capture.png if body is None else body)


def add(outbox: Outbox) -> Capture:
    capture = outbox.add(shot())
    assert capture
    return capture


def stored(outbox: Outbox, store: Any, count: int) -> None:
    for _ in range(count):
        capture = add(outbox)
        put(store, capture)
        outbox.settle(receipt(capture))


def command(stack: Stack, word: str, *words: str | Path, **env: str) -> Ran:
    """What `./just audit` runs, with this store."""
    return run(stack, "audit", word, "--endpoint", stack.s3_url, *words, **env)


def run(stack: Stack, module: str, *words: str | Path, **env: str) -> Ran:
    """A module, with the keys of this store and nothing of the user's own."""
    plain = {name: text for name, text in os.environ.items() if not name.startswith("AWS_")}
    return subprocess.run(
        [sys.executable, "-m", module, *words],
        cwd=ROOT,
        env={**plain, **stack.keys, "AWS_EC2_METADATA_DISABLED": "true", **env},
        capture_output=True,
        text=True,
    )


class Meanwhile:
    """A store with which something happens when a listing of faces has ended."""

    def __init__(self, store: Any, then: Callable[[], None]) -> None:
        self._store, self._then = store, then

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def get_paginator(self, call: str) -> Any:
        return Meanwhile(self._store.get_paginator(call), self._then)

    def paginate(self, **options: Any) -> Iterator[Any]:
        yield from self._store.paginate(**options)
        self._then()


class Refusing:
    """A store that refuses some calls."""

    def __init__(self, store: Any, *calls: str, status: int = 403) -> None:
        self._store, self._calls, self._status = store, calls, status

    def __getattr__(self, name: str) -> Any:
        return self._refuse if name in self._calls else getattr(self._store, name)

    def _refuse(self, **_: Any) -> None:
        meta = {"HTTPStatusCode": self._status}
        raise ClientError({"Error": {"Code": "AccessDenied"}, "ResponseMetadata": meta}, "Any")


def key(store: Any, seq: int) -> str:
    keys = [str(item["Key"]) for item in store.list_objects_v2(Bucket=BUCKET)["Contents"]]
    return next(key for key in keys if key.endswith(f"-{seq:09d}.png"))


def test_all_is_well(outbox: Outbox, store: Any, tmp_path: Path) -> None:
    found = audit(tmp_path / "outbox.db", store, BUCKET)
    assert found.sound
    assert found.line() == "captured=3 stored=3 lost=0 duplicated=0"


def test_an_object_that_was_deleted_is_missing(outbox: Outbox, store: Any, tmp_path: Path) -> None:
    store.delete_object(Bucket=BUCKET, Key=key(store, 2))
    found = audit(tmp_path / "outbox.db", store, BUCKET)
    assert (found.sound, found.missing) == (False, BitMap([2]))
    assert found.line() == "captured=3 stored=2 lost=1 duplicated=0"


def test_other_bytes_under_a_key_are_told(outbox: Outbox, store: Any, tmp_path: Path) -> None:
    store.put_object(Bucket=BUCKET, Key=key(store, 3), Body=b"WRONG")
    found = audit(tmp_path / "outbox.db", store, BUCKET)
    assert (found.sound, found.spoilt) == (False, [key(store, 3)])


def test_other_bytes_are_told_though_ours_are_in_quarantine(
    outbox: Outbox, store: Any, tmp_path: Path
) -> None:
    capture = add(outbox)
    put(store, capture, b"WRONG")
    outbox.settle(receipt(capture, status="quarantined"))
    found = audit(tmp_path / "outbox.db", store, BUCKET)
    assert (found.sound, found.spoilt) == (False, [capture.key])


def test_a_second_object_of_a_capture_is_told(outbox: Outbox, store: Any, tmp_path: Path) -> None:
    twin = key(store, 1).replace("/030405", "/030406")
    store.copy_object(Bucket=BUCKET, Key=twin, CopySource={"Bucket": BUCKET, "Key": key(store, 1)})
    found = audit(tmp_path / "outbox.db", store, BUCKET)
    assert (found.sound, found.twice) == (False, BitMap([1]))


def test_what_waits_was_dropped_or_is_in_quarantine_is_no_loss(
    outbox: Outbox, store: Any, tmp_path: Path
) -> None:
    outbox.close()
    with closing(Outbox(tmp_path / "outbox.db", DOOR, budget=2 * len(png()))) as tight:
        quarantined = add(tight)
        assert tight.next() == quarantined  # so that it is not the one to be dropped
        add(tight)
        add(tight)
        tight.settle(receipt(quarantined, status="quarantined"))
    found = audit(tmp_path / "outbox.db", store, BUCKET)
    assert found.sound
    assert (found.captured, found.stored, found.waiting, found.quarantined, found.dropped) == (
        6,
        3,
        1,
        1,
        1,
    )


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


def test_runs_of_missing_seqs_are_named_as_ranges(
    outbox: Outbox, store: Any, tmp_path: Path
) -> None:
    stored(outbox, store, 9)
    for seq in (2, 5, 6, 7, 8, 9, 12):
        store.delete_object(Bucket=BUCKET, Key=key(store, seq))
    found = audit(tmp_path / "outbox.db", store, BUCKET)
    assert found.missing == BitMap([2, 5, 6, 7, 8, 9, 12])
    assert found.named() == ["edge-1/door missing: 2, 5-9, 12"]
    assert found.table().caption == found.named()[0]


def test_quick_sees_what_is_there_and_reads_nothing(
    outbox: Outbox, store: Any, tmp_path: Path
) -> None:
    store.put_object(Bucket=BUCKET, Key=key(store, 3), Body=b"WRONG")
    store.delete_object(Bucket=BUCKET, Key=key(store, 2))
    found = audit(tmp_path / "outbox.db", Refusing(store, "get_object"), BUCKET, quick=True)
    assert (found.missing, found.stored, found.spoilt) == (BitMap([2]), 2, [])


def test_an_object_under_another_name_alone_is_told(
    outbox: Outbox, store: Any, tmp_path: Path
) -> None:
    ours = key(store, 1)
    twin = ours.replace("/030405", "/030406")
    store.copy_object(Bucket=BUCKET, Key=twin, CopySource={"Bucket": BUCKET, "Key": ours})
    store.delete_object(Bucket=BUCKET, Key=ours)
    found = audit(tmp_path / "outbox.db", store, BUCKET)
    assert (found.spoilt, found.stored) == ([twin], 2)
    assert (found.twice, found.missing) == (BitMap(), BitMap())


def test_what_the_ledger_has_forgotten_is_looked_for_all_the_same(
    outbox: Outbox, store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_module, "LEDGER", 0)
    monkeypatch.setattr(outbox_module, "_FORGET_EVERY", 1)
    stored(outbox, store, 1)
    store.copy_object(
        Bucket=BUCKET,
        Key=key(store, 1).replace("/030405", "/030406"),
        CopySource={"Bucket": BUCKET, "Key": key(store, 1)},
    )
    store.delete_object(Bucket=BUCKET, Key=key(store, 2))
    found = audit(tmp_path / "outbox.db", store, BUCKET)
    assert (found.stored, found.spoilt) == (3, [])
    assert (found.missing, found.twice) == (BitMap([2]), BitMap([1]))


def test_what_happens_meanwhile_is_no_loss(outbox: Outbox, store: Any, tmp_path: Path) -> None:
    landed, _, quarantined, _, gone, _ = [add(outbox) for _ in range(6)]  # 4 to 9
    outbox.close()

    def then() -> None:
        with closing(Outbox(tmp_path / "outbox.db", DOOR, budget=3 * len(png()))) as tight:
            put(store, landed)
            tight.settle(receipt(landed))
            tight.settle(receipt(quarantined, status="quarantined"))
            tight.settle(receipt(gone))  # and nobody finds it
            stored(tight, store, 1)  # for which 5 has to go

    found = audit(tmp_path / "outbox.db", Meanwhile(store, then), BUCKET)
    assert (found.captured, found.stored, found.dropped, found.quarantined) == (9, 4, 1, 1)
    assert (found.waiting, found.missing) == (2, BitMap([8]))


def test_what_the_ledger_forgets_meanwhile_is_not_called_lost(
    outbox: Outbox, store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_module, "LEDGER", 0)
    monkeypatch.setattr(outbox_module, "_FORGET_EVERY", 1)
    waiting = add(outbox)

    def then() -> None:
        outbox.settle(receipt(waiting))  # too late to be listed
        stored(outbox, store, 1)

    found = audit(tmp_path / "outbox.db", Meanwhile(store, then), BUCKET)
    assert (found.captured, found.stored, found.waiting, found.sound) == (4, 3, 1, True)


def test_an_object_that_goes_meanwhile_is_missing(
    outbox: Outbox, store: Any, tmp_path: Path
) -> None:
    listing = Meanwhile(store, lambda: None)
    ours = key(store, 2)
    get = store.get_object

    def gone(**options: Any) -> Any:
        store.delete_object(Bucket=BUCKET, Key=ours)
        return get(**options)

    listing.get_object = gone  # type: ignore[attr-defined]
    assert audit(tmp_path / "outbox.db", listing, BUCKET).missing == BitMap([2])


def test_the_bucket_alone_shows_gaps_and_doubles_by_seq(
    outbox: Outbox, store: Any, tmp_path: Path
) -> None:
    with closing(Outbox(tmp_path / "hall.db", HALL)) as hall:
        stored(hall, store, 2)
    stored(outbox, store, 6)
    for seq in (2, 5, 6, 7):
        store.delete_object(
            Bucket=BUCKET,
            Key=next(one for one in keys(store, "door") if one.endswith(f"{seq}.png")),
        )
    twin = keys(store, "hall")[0]
    store.copy_object(
        Bucket=BUCKET,
        Key=twin.replace("/0304", "/0305"),
        CopySource={"Bucket": BUCKET, "Key": twin},
    )
    for topic in ("face-detector/edge-1/door", "face-detector/edge-2/yard", "x"):
        store.put_object(Bucket=BUCKET, Key=quarantine_key(topic, "0" * 64, CAPTURED_AT), Body=b"x")
    store.put_object(Bucket=BUCKET, Key="faces/Not a name/x", Body=b"x")
    found = audit_bucket(store, BUCKET)
    assert [str(one.camera_id) for one in found] == [
        "_/_",
        "edge-1/door",
        "edge-1/hall",
        "edge-2/yard",
    ]
    assert [(one.captured, one.stored, one.quarantined) for one in found] == [
        (0, 0, 1),
        (9, 5, 1),
        (2, 2, 0),
        (0, 0, 1),
    ]
    assert found[1].missing == BitMap([2, 5, 6, 7])
    assert found[2].twice == BitMap([1])
    assert line(found) == "seqs=11 stored=7 missing=4 duplicated=1"
    (one,) = audit_bucket(store, BUCKET, camera="hall")
    assert one.camera_id == HALL
    (one,) = audit_bucket(store, BUCKET, edge="edge-2")
    assert str(one.camera_id) == "edge-2/yard"
    assert audit_bucket(store, BUCKET, edge="edge-9", camera="door") == []


def keys(store: Any, camera: str) -> list[str]:
    listed = store.list_objects_v2(Bucket=BUCKET, Prefix=f"faces/edge-1/{camera}/")
    return [item["Key"] for item in listed["Contents"]]


def test_a_lone_high_seq_costs_little(outbox: Outbox, store: Any) -> None:
    store.put_object(
        Bucket=BUCKET, Key="faces/edge-1/door/2026/01/02/030405000Z-999999999.png", Body=b""
    )
    (found,) = audit_bucket(store, BUCKET)
    assert (found.stored, len(found.missing)) == (4, 999_999_995)
    assert ranges(found.missing) == "4-999999998"


def test_a_key_with_two_versions_is_stored_twice(
    outbox: Outbox, stack: Stack, store: Any, tmp_path: Path
) -> None:
    bucket = "versioned"
    store.create_bucket(Bucket=bucket)
    store.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    for seq, bodies in {1: 2, 2: 1, 3: 2}.items():
        body = store.get_object(Bucket=BUCKET, Key=key(store, seq))["Body"].read()
        for _ in range(bodies):
            store.put_object(Bucket=bucket, Key=key(store, seq), Body=body)
    store.delete_object(Bucket=bucket, Key=key(store, 3))
    found = audit(tmp_path / "outbox.db", store, bucket)
    assert (found.stored, found.spoilt) == (2, [])
    assert (found.twice, found.missing) == (BitMap([1]), BitMap([3]))
    (alone,) = audit_bucket(store, bucket)
    assert (alone.stored, alone.twice) == (2, BitMap([1]))
    for refusing in (
        Refusing(store, "get_bucket_versioning", status=501),
        Refusing(store, "list_object_versions"),
    ):
        found = audit(tmp_path / "outbox.db", refusing, bucket)
        assert (found.twice, found.missing, len(found.notes)) == (BitMap(), BitMap([3]), 1)
        assert "AccessDenied" in found.notes[0]


def test_an_outbox_that_was_begun_anew_is_noticed(
    outbox: Outbox, store: Any, tmp_path: Path
) -> None:
    Outbox(tmp_path / "new.db", DOOR).close()
    assert "has seq 3" in audit(tmp_path / "new.db", store, BUCKET).notes[0]


def test_the_command_tells_of_two_cameras(
    outbox: Outbox, stack: Stack, store: Any, tmp_path: Path
) -> None:
    with closing(Outbox(tmp_path / "hall.db", HALL)) as hall:
        stored(hall, store, 2)
        add(hall)
    both = (tmp_path / "outbox.db", tmp_path / "hall.db")
    ran = command(stack, "outbox", *both)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.splitlines()[-1] == "captured=6 stored=5 lost=0 duplicated=0"
    store.delete_object(Bucket=BUCKET, Key=key(store, 3))
    ran = command(stack, "outbox", *both, "--quick")
    assert ran.returncode == 1
    assert ran.stdout.splitlines()[-2:] == [
        "edge-1/door missing: 3",
        "captured=6 stored=4 lost=1 duplicated=0",
    ]
    ran = command(stack, "bucket")
    assert ran.returncode == 0  # the bucket alone cannot know of what came last
    assert ran.stdout.splitlines()[-1] == "seqs=4 stored=4 missing=0 duplicated=0"


def test_the_command_names_the_object_that_was_deleted(
    outbox: Outbox, stack: Stack, store: Any, tmp_path: Path
) -> None:
    store.delete_object(Bucket=BUCKET, Key=key(store, 2))
    ran = command(stack, "outbox", tmp_path / "outbox.db")
    assert (ran.returncode, ran.stderr) == (1, "")
    assert ran.stdout.splitlines()[-2:] == [
        "edge-1/door missing: 2",
        "captured=3 stored=2 lost=1 duplicated=0",
    ]
    ran = command(stack, "bucket", "--edge", "edge-1")
    assert ran.returncode == 1
    assert ran.stdout.splitlines()[-3:] == [
        "edge-1/door missing: 2",
        "note: only the outbox knows whether a missing seq was dropped by choice or is still on its way",
        "seqs=3 stored=2 missing=1 duplicated=0",
    ]


def test_the_last_demo_is_audited_by_itself(stack: Stack, store: Any) -> None:
    stack.outbox.parent.mkdir()
    with closing(Outbox(stack.outbox, CameraId("edge-1", "demo"))) as outbox:
        stored(outbox, store, 2)
    (stack.folder / "store.url").write_text(stack.s3_url)
    ran = run(stack, "demo.audit", RUN=str(stack.folder))
    assert (ran.returncode, ran.stdout.splitlines()[-1]) == (
        0,
        "captured=2 stored=2 lost=0 duplicated=0",
    )
    ran = run(stack, "demo.audit", "bucket", "--camera", "demo", RUN=str(stack.folder))
    assert (ran.returncode, ran.stdout.splitlines()[-1]) == (
        0,
        "seqs=2 stored=2 missing=0 duplicated=0",
    )
    for item in store.list_objects_v2(Bucket=BUCKET)["Contents"]:
        store.delete_object(Bucket=BUCKET, Key=item["Key"])


def test_the_store_of_a_demo_that_has_ended_is_started(tmp_path: Path) -> None:
    with Stack(tmp_path) as ended:
        ended.start("store")
        ended.s3().create_bucket(Bucket=BUCKET)
        with closing(Outbox(ended.outbox, CameraId("edge-1", "demo"))) as outbox:
            stored(outbox, ended.s3(), 2)
    ran = run(ended, "demo.audit", RUN=str(tmp_path), AWS_PROFILE="of-the-user")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.splitlines()[-1] == "captured=2 stored=2 lost=0 duplicated=0"


@pytest.mark.parametrize(
    ("words", "env", "said"),
    [
        (["outbox", "none.db"], {}, "there is no outbox"),
        (["outbox", "README.md"], {}, "is it a detector's"),
        (
            ["bucket", "--bucket", "nowhere"],
            {},
            "the store has no bucket 'nowhere': name it with --bucket",
        ),
        (["bucket", "--bucket", "no bucket"], {}, "cannot be the name of a bucket"),
        (["bucket", "--edge", "Edge_1"], {}, "--edge: not a name"),
        (["bucket", "--edge", "edge-9"], {}, "has no face of those names"),
        (["bucket"], {"AWS_SECRET_ACCESS_KEY": "wrong"}, "does not know these credentials"),
        (
            ["bucket"],
            {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""},
            "no credentials for the store",
        ),
        (["bucket", "--endpoint", "http://127.0.0.1:1"], {}, "the store is not there"),
        (["bucket", "--endpoint", "127.0.0.1"], {}, "--endpoint or AWS_*: Invalid endpoint"),
    ],
)
def test_what_is_wrong_is_one_line(
    outbox: Outbox, stack: Stack, words: list[str], env: dict[str, str], said: str
) -> None:
    ran = command(stack, *words, **env)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert said in ran.stderr
    assert ran.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "now"),
    [
        (["--outbox", "door.db", "--quick"], "./just audit outbox FILE..."),
        (["--bucket", "faces", "--outbox=door.db"], "./just audit outbox FILE..."),
        (["--bucket-only", "--edge", "edge-1"], "./just audit bucket"),
        (["--demo"], "./just audit demo"),
    ],
)
def test_an_option_that_became_a_word_says_so(words: list[str], now: str, tmp_path: Path) -> None:
    ran = just(tmp_path, *words)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.endswith(f" is a word of its own now: type {now}\n")
    assert ran.stderr.count("\n") == 1


@pytest.mark.parametrize("words", [[], ["--quick"], ["demo"], ["demo", "bucket"]])
def test_without_containers_it_is_the_last_demo(words: list[str], tmp_path: Path) -> None:
    ran = just(tmp_path, *words)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert f"there is no outbox {tmp_path}/detector/outbox.db: run ./just demo first" in ran.stderr
    assert ran.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "inside"),
    [
        ([], "outbox /outbox/outbox.db"),
        (["--quick"], "outbox /outbox/outbox.db --quick"),
        (["containers"], "outbox /outbox/outbox.db"),
        (["containers", "--quick"], "outbox /outbox/outbox.db --quick"),
        (["containers", "bucket", "--edge", "edge-1"], "bucket --edge edge-1"),
    ],
)
def test_where_a_store_runs_it_is_the_containers(
    words: list[str], inside: str, tmp_path: Path
) -> None:
    ran = just(tmp_path, *words, store="a-container")
    assert (ran.returncode, ran.stderr) == (7, "the containers:\n")
    assert ran.stdout.endswith(f"run --rm --quiet-pull audit {inside}\n")


@pytest.mark.parametrize("words", [["demo"], ["outbox", "none.db"]])
def test_what_is_named_goes_before_the_containers(words: list[str], tmp_path: Path) -> None:
    ran = just(tmp_path, *words, store="a-container")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "there is no outbox" in ran.stderr


def just(folder: Path, *words: str, store: str = "") -> Ran:
    """`./just audit` beside an engine that runs the container `store`, and says what it is to run.

    What it runs ends with 7. The last demo is in `folder`.
    """
    docker = folder / "docker"
    docker.write_text(
        """#!/bin/sh
        case "$*" in
            *' ps --quiet store') echo "$STORE" ;;
            *' run '*) echo "$*"; exit 7 ;;
        esac
        """
    )
    docker.chmod(0o755)
    path = f"{folder}:{os.environ['PATH']}"
    return subprocess.run(
        [ROOT / "just", "audit", *words],
        cwd=folder,
        env={**os.environ, "PATH": path, "STORE": store, "RUN": str(folder)},
        capture_output=True,
        text=True,
    )


class Endless:
    """A store with any number of objects that takes no room itself."""

    def __init__(self, capture: Capture, count: int) -> None:
        self._stem, self._png, self._count = capture.key[:-13], capture.png, count

    def get_bucket_versioning(self, **_: Any) -> dict[str, str]:
        return {}

    def get_paginator(self, _: str) -> "Endless":
        return self

    def paginate(self, **_: Any) -> Iterator[Any]:
        for first in range(1, self._count + 1, 1000):
            yield {
                "Contents": [{"Key": f"{self._stem}{first + more:09d}.png"} for more in range(1000)]
            }

    def get_object(self, **_: Any) -> dict[str, Any]:
        return {"Body": self}

    def iter_chunks(self, _: int) -> list[bytes]:
        return [self._png]


def test_memory_does_not_grow_with_the_objects(tmp_path: Path) -> None:
    peaks = []
    for count in (1000, 9000):
        sample = settled(tmp_path / str(count), count)
        tracemalloc.start()
        try:
            found = audit(tmp_path / str(count), Endless(sample, count), BUCKET)
            assert (found.stored, found.sound) == (count, True)
            (alone,) = audit_bucket(Endless(sample, count), BUCKET, edge="edge-1", camera="door")
            assert alone.stored == count
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert peaks[1] < peaks[0] + 300_000, peaks  # their keys alone would be 1 MB


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs the kernel's own count")
def test_memory_does_not_grow_with_a_real_bucket(stack: Stack, store: Any, tmp_path: Path) -> None:
    # Not getrusage: it counts in what the parent had before the exec.
    program = (
        "import re, sys; from audit.__main__ import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: print(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])"
    )
    peaks = []
    for camera, count in (("few", 100), ("many", int(os.environ.get("AUDIT_OBJECTS", "300")))):
        sample = settled(tmp_path / camera, count, camera)
        with ThreadPoolExecutor(8) as pool:
            for first in range(1, count + 1, 100):
                copies = [replace(sample, seq=seq) for seq in range(first, first + 100)]
                list(pool.map(partial(put, store), copies))
        ran = subprocess.run(
            [
                sys.executable,
                "-c",
                program,
                "outbox",
                str(tmp_path / camera),
                "--endpoint",
                stack.s3_url,
            ],
            cwd=ROOT,
            env={**os.environ, **stack.keys},
            capture_output=True,
            text=True,
            check=True,
        )
        *_, last, peak = ran.stdout.splitlines()
        assert last == f"captured={count} stored={count} lost=0 duplicated=0"
        peaks.append(int(peak))
    print(f"peak RSS {peaks} KiB")
    assert peaks[1] < peaks[0] + 16 * 1024


def settled(path: Path, count: int, camera: str = "door") -> Capture:
    """The first of `count` captures of the same picture that an outbox remembers, all settled."""
    with closing(Outbox(path, CameraId("edge-1", camera))) as outbox:
        first = add(outbox)
        outbox.settle(receipt(first))
        for _ in range(count - 1):
            outbox.settle(receipt(add(outbox)))
    return first
