"""Names become topics and keys, or nothing."""

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.message import ContractError
from bus.topics import CAPTURES, RECEIPTS, CameraId, checked, face_key, parse, quarantine_key, topic

CAMERA = CameraId("e", "c")
NOW = datetime(2026, 1, 2, 3, 4, 5, 678_000, UTC)
HOSTILE = [
    "",
    "..",
    "../x",
    "a/b",
    "+",
    "#",
    "a b",
    "A",
    "-a",
    "a\n",
    "ä",
    "a" * 64,
    "x" * 2000,
    "$SYS",
    "a\0",
    "a.b",
    "_",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_becomes_nothing(name: str) -> None:
    for build in (
        lambda: checked(name, "edge"),
        lambda: topic(CAPTURES, CameraId(name, "door")),
        lambda: topic(CAPTURES, CameraId("edge-1", name)),
        lambda: topic(RECEIPTS, CameraId("edge-1", name)),
        lambda: face_key(CameraId(name, "door"), NOW, 1),
        lambda: face_key(CameraId("edge-1", name), NOW, 1),
        lambda: parse(f"stored/{name}/door", "stored"),
        lambda: parse(f"stored/edge-1/{name}", "stored"),
    ):
        with pytest.raises(ContractError):
            build()


@pytest.mark.parametrize(
    "text", ["", "stored", "stored/a", "stored/a/b/c", "/stored/a/b", "Stored/a/b", "stored/a/b/"]
)
def test_another_topic_is_not_parsed(text: str) -> None:
    with pytest.raises(ContractError, match="^topic: "):
        parse(text, "stored")


@given(st.text(), st.from_regex(r"[0-9a-f]{64}", fullmatch=True))
def test_a_quarantine_key_never_leaves_its_prefix(text: str, sha256: str) -> None:
    key = quarantine_key(text, sha256, NOW)
    assert re.fullmatch(rf"quarantine/(_|[a-z0-9-]+)/(_|[a-z0-9-]+)/2026/01/02/{sha256}\.bin", key)


def test_keys_have_their_form() -> None:
    assert face_key(CAMERA, NOW, 42) == "faces/e/c/2026/01/02/030405678Z-000000042.png"
    assert (
        quarantine_key("face-detector/e/../x", "0" * 64, NOW)
        == f"quarantine/e/_/2026/01/02/{'0' * 64}.bin"
    )


def test_what_is_built_is_parsed() -> None:
    assert parse(topic(CAPTURES, CAMERA), "face-detector") == CAMERA
    assert parse(topic(RECEIPTS, CAMERA), "stored") == CAMERA
