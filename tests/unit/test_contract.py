"""The contract: what is written is read back, and nothing else is."""

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.capture import MAX_PNG, Capture
from bus.message import ContractError, Message
from bus.receipt import Receipt
from tests.support.captures import capture, message, png, receipt

names = st.from_regex(r"[a-z0-9][a-z0-9-]{0,62}", fullmatch=True)
instants = st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))
shares = st.floats(0, 1)


@st.composite
def captures(draw: st.DrawFn) -> Capture:
    width, height = draw(st.integers(1, 200)), draw(st.integers(1, 200))
    x, y = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    box = (x, y, draw(st.integers(1, width - x)), draw(st.integers(1, height - y)))
    picture = png(width=box[2], height=box[3], filler=draw(st.binary(max_size=50)))
    return Capture(
        edge=draw(names),
        camera=draw(names),
        seq=draw(st.integers(1, 999_999_999)),
        captured_at=draw(instants),
        box=box,
        frame=(width, height),
        score=draw(shares),
        quality=draw(shares),
        visit=draw(st.from_regex(r"[A-Za-z0-9-]{1,40}", fullmatch=True)),
        shot=draw(st.integers(1, 9999)),
        png=picture,
        sha256=hashlib.sha256(picture).hexdigest(),
        final=draw(st.booleans()),
    )


@given(captures(), st.integers(0, 2**62))
def test_a_capture_survives_the_journey(capture: Capture, tx: int) -> None:
    assert Capture.from_message(capture.to_message(tx)) == (capture, tx)


def test_the_sample_message_is_sound() -> None:
    capture, tx = Capture.from_message(message())
    assert (capture.seq, tx) == (7, 12)
    assert capture.key == "faces/edge-1/door/2026/01/02/030405678Z-000000007.png"


@pytest.mark.parametrize(
    "field", ["seq", "captured_at", "sha256", "box", "frame", "score", "quality", "visit", "shot"]
)
@pytest.mark.parametrize(
    "text",
    [None, "", "x", "-1", "\u0667", "1e400", "nan", " 7", "7 ", "007", "\0", "9" * 2000, "1,2,3"],
)
def test_a_bad_fact_is_named(field: str, text: str | None) -> None:
    if field == "visit" and text in ("x", "-1", "007", "1e400", "nan"):
        return  # a visit may be called so
    with pytest.raises(ContractError, match=f"^{field}: "):
        Capture.from_message(message(**{field: text}))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"tx": None}, "tx"),
        ({"tx": "-1"}, "tx"),
        ({"tx": "9" * 40}, "tx"),
        ({"box": "600,0,41,10"}, "box"),
        ({"box": "0,0,0,10"}, "box"),
        ({"box": "0,0,10"}, "box"),
        ({"box": "-1,0,10,10"}, "box"),
        ({"frame": "0,0"}, "box"),
        ({"captured_at": "2026-01-02T03:04:05.678+01:00"}, "captured_at"),
        ({"captured_at": "1767323045"}, "captured_at"),
        ({"captured_at": "2026-01-02T03:04:05.678"}, "captured_at"),
        ({"captured_at": "0001-01-01T00:00:00.000+01:00"}, "captured_at"),
        ({"captured_at": "9999-12-31T23:59:59.000-01:00"}, "captured_at"),
        ({"sha256": "0" * 64}, "sha256"),
        ({"score": "1.0001"}, "score"),
        ({"score": "0.9"}, "score"),
        ({"shot": "0"}, "shot"),
        ({"visit": "../x"}, "visit"),
        ({"seq": "1000000000"}, "seq"),
        ({"seq": "1_0"}, "seq"),
    ],
)
def test_a_wrong_value_is_named(changes: dict[str, str | None], field: str) -> None:
    with pytest.raises(ContractError, match=f"^{field}: "):
        Capture.from_message(message(**changes))


@pytest.mark.parametrize("name", ["__dataclass_self__", "self", "cls", "", "png", "a b"])
def test_a_fact_that_nobody_knows_is_ignored(name: str) -> None:
    assert Capture.from_message(message(**{name: "x"})) == Capture.from_message(message())


def test_a_fact_given_twice_is_refused() -> None:
    sound = message()
    with pytest.raises(ContractError, match="twice"):
        Capture.from_message(replace(sound, properties=(*sound.properties, ("seq", "8"))))


def test_another_content_type_is_refused() -> None:
    with pytest.raises(ContractError, match="content type"):
        Capture.from_message(replace(message(), content_type="image/jpeg"))


@pytest.mark.parametrize(
    "picture",
    [b"", b"GIF89a", png()[:-1], png()[:30], png(width=0), png(height=0), b"\x89PNG\r\n\x1a\n"],
)
def test_what_is_no_png_is_refused(picture: bytes) -> None:
    bad = message(sha256=hashlib.sha256(picture).hexdigest())
    with pytest.raises(ContractError, match="^png: "):
        Capture.from_message(replace(bad, payload=picture))


SOUND = png(width=30, height=40)


@pytest.mark.parametrize(
    ("picture", "fault"),
    [
        (png(width=60_000, height=1), "too large a picture"),
        (png(width=641, height=40), "larger than its frame"),
        (png(width=30, height=481), "larger than its frame"),
        (png(width=29, height=40), "smaller than its box"),
        (SOUND[:-20] + b"\1" + SOUND[-19:], "a checksum is wrong"),
        (SOUND + b"<script>", "something comes after its end"),
        (SOUND[:8] + SOUND[33:], "not a PNG"),
    ],
)
def test_a_picture_is_what_it_says_it_is(picture: bytes, fault: str) -> None:
    bad = message(sha256=hashlib.sha256(picture).hexdigest())
    with pytest.raises(ContractError, match=f"^png: .*{fault}"):
        Capture.from_message(replace(bad, payload=picture))


def test_a_large_face_may_be_made_smaller() -> None:
    picture = png(width=1600, height=900)
    large = message(
        sha256=hashlib.sha256(picture).hexdigest(), box="0,0,3000,1700", frame="4000,3000"
    )
    capture, _ = Capture.from_message(replace(large, payload=picture))
    assert capture.png == picture


def test_a_picture_that_is_too_large_is_refused() -> None:
    picture = png(width=30, height=40, filler=bytes(MAX_PNG))
    with pytest.raises(ContractError, match="^png: "):
        Capture.from_message(
            replace(message(sha256=hashlib.sha256(picture).hexdigest()), payload=picture)
        )


@given(
    st.text(max_size=40),
    st.binary(max_size=80),
    st.lists(st.tuples(st.text(max_size=12), st.text(max_size=12))),
)
def test_no_message_is_more_than_refused(
    topic: str, payload: bytes, properties: list[tuple[str, str]]
) -> None:
    for name in (
        topic,
        f"face-detector/{topic}",
        "face-detector/edge-1/door",
        f"stored/{topic}",
        "stored/edge-1/door",
    ):
        hostile = Message(name, payload, "image/png", tuple(properties))
        for parse in (Capture.from_message, Receipt.from_message):
            with pytest.raises(ContractError):
                parse(hostile)


@given(
    st.sampled_from(["seq", "captured_at", "sha256", "box", "frame", "score", "shot"]),
    st.text(max_size=30),
)
def test_facts_are_taken_in_one_spelling_only(field: str, text: str) -> None:
    try:
        capture, _ = Capture.from_message(message(**{field: text}))
    except ContractError:
        return
    assert capture.facts()[field] == text


def test_times_are_utc_in_milliseconds() -> None:
    capture, _ = Capture.from_message(message())
    local = datetime(2026, 1, 2, 5, 4, 5, 678_999, timezone(timedelta(hours=2)))
    assert replace(capture, captured_at=local) == capture


def answer(**changes: Any) -> Receipt:
    return receipt(capture(7), **changes)


@given(
    names,
    names,
    st.integers(1, 999_999_999),
    st.integers(0, 2**62),
    st.sampled_from(["stored", "quarantined"]),
)
def test_a_receipt_survives_the_journey(
    edge: str, camera: str, seq: int, tx: int, status: str
) -> None:
    reason = "too large: \u00e4" if status == "quarantined" else ""
    sent = answer(edge=edge, camera=camera, seq=seq, tx=tx, status=status, reason=reason)
    assert Receipt.from_message(sent.to_message()) == sent


@pytest.mark.parametrize(
    "payload",
    [b"", b"{", b"[]", b"null", b"7", b"{}", b"[" * 100_000, b'{"seq":1}', b"\xff", b"{" * 9],
)
def test_a_receipt_that_is_none_is_refused(payload: bytes) -> None:
    with pytest.raises(ContractError):
        Receipt.from_message(Message("stored/edge-1/door", payload))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("seq", 0),
        ("seq", "x"),
        ("seq", None),
        ("sha256", "zz"),
        ("status", "lost"),
        ("key", ""),
        ("tx", -1),
        ("tx", 2**70),
        ("stored_at", "0001-01-01T00:00:00.000+01:00"),
    ],
)
def test_a_bad_field_of_a_receipt_is_named(field: str, value: object) -> None:
    sound = answer().to_message()
    bad = json.loads(sound.payload) | {field: value}
    with pytest.raises(ContractError, match=f"^{field}: "):
        Receipt.from_message(replace(sound, payload=json.dumps(bad).encode()))
