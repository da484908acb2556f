"""The reading of publications, held against the MQTT library's own on packets that are sound."""

import os
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.exception import MalformedPacket
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from bus import wire
from bus.client import _Mqtt

HEADER = 0x32  # PUBLISH at QoS 1
texts = st.text(st.characters(exclude_characters="\0\ufeff", exclude_categories=["Cs"]), max_size=8)
EXAMPLES = int(os.environ.get("FUZZ", "2000"))  # FUZZ=100000 for a long look


def packet(properties: bytes, payload: bytes = b"p", topic: bytes = b"t") -> bytes:
    """What follows the length of a PUBLISH packet."""
    return (
        len(topic).to_bytes(2, "big")
        + topic
        + b"\0\7"
        + varint(len(properties))
        + properties
        + payload
    )


def varint(number: int) -> bytes:
    groups = bytearray()
    while number > 127:
        groups.append(number & 127 | 128)
        number >>= 7
    return bytes([*groups, number])


@st.composite
def sound(draw: st.DrawFn) -> Properties:
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    fields: dict[str, st.SearchStrategy[Any]] = {
        "PayloadFormatIndicator": st.integers(0, 1),
        "MessageExpiryInterval": st.integers(0, 2**32 - 1),
        "ContentType": texts,
        "ResponseTopic": texts,
        "CorrelationData": st.binary(max_size=8),
        "SubscriptionIdentifier": st.integers(1, 268_435_455),
        "TopicAlias": st.integers(1, 65_535),
        "UserProperty": st.lists(st.tuples(texts, texts), max_size=4),
    }
    for name in draw(st.sets(st.sampled_from(list(fields)))):
        setattr(properties, name, draw(fields[name]))
    return properties


@settings(max_examples=EXAMPLES, deadline=None)
@given(sound(), st.binary(max_size=20))
def test_a_sound_packet_is_read_as_the_library_reads_it(
    properties: Properties, payload: bytes
) -> None:
    packed = properties.pack()  # type: ignore[no-untyped-call]
    body = b"\0\3t/u\0\7" + packed + payload
    theirs = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    theirs.unpack(packed)  # type: ignore[no-untyped-call]
    ours = wire.publication(HEADER, body)
    assert (ours.topic, ours.packet_id, ours.qos, ours.payload) == ("t/u", 7, 1, payload)
    assert not ours.fault
    assert ours.properties.content_type == getattr(theirs, "ContentType", "")
    assert ours.properties.user == getattr(theirs, "UserProperty", [])


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.integers(0x30, 0x3F), st.binary(max_size=60))
def test_no_packet_is_more_than_malformed(header: int, body: bytes) -> None:
    try:
        publication = wire.publication(header, body)
    except MalformedPacket:
        return
    assert len(publication.payload) <= len(body)


@pytest.mark.parametrize(
    ("properties", "fault"),
    [
        (b"\x26\0\1a", "properties: cut off"),
        (b"\x03\0\x09text", "properties: cut off"),
        (b"\x11\0\0\0\1", "properties: 17 is none of a publication"),
        (b"\xff\xff\xff\xff\xff", "properties: a length of more than four bytes"),
        (b"\x26\0\0\0\0" * 20_000, "properties: more than 65536 bytes"),
    ],
)
def test_what_cannot_be_read_is_a_fault_and_the_rest_is_read(properties: bytes, fault: str) -> None:
    publication = wire.publication(HEADER, packet(properties, payload=b"the face"))
    assert publication.fault == fault
    assert publication.payload == b"the face"
    assert publication.packet_id == 7


@pytest.mark.parametrize("body", [b"", b"\0", b"\0\5t", b"\0\1t", b"\0\1t\0\7", b"\0\1t\0\7\x80"])
def test_a_packet_without_its_beginning_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedPacket):
        wire.publication(HEADER, body)


def test_many_properties_are_read_in_one_pass() -> None:
    most = b"\x26\0\0\0\0" * (wire.PROPERTIES_AT_MOST // 5)
    begun_at = time.thread_time()
    publication = wire.publication(HEADER, packet(most))
    assert time.thread_time() - begun_at < 0.5
    assert len(publication.properties.user) == wire.PROPERTIES_AT_MOST // 5


def test_the_library_asks_here() -> None:
    """Fails where a release of the library reads publications in another place."""
    got: list[wire.Publication] = []
    mqtt = _Mqtt("name", got.append)
    mqtt._in_packet["command"] = HEADER
    mqtt._in_packet["packet"] = bytearray(packet(b"\x26\0\3\xef\xbb\xbf\0\1v"))
    assert mqtt._packet_handle() == MQTTErrorCode.MQTT_ERR_SUCCESS
    assert [publication.properties.user for publication in got] == [[("\ufeff", "v")]]
