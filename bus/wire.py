"""What a publication's packet carries, read in one pass and with bounds.

The MQTT library's own reader copies the rest of the packet for each property, so a packet full of
them costs minutes, and it ends the connection for texts that brokers pass on (U+FEFF), so such a
packet would come again for ever. MQTT 5.0, sections 2.2.2 and 3.3.
"""

from dataclasses import dataclass, field

from paho.mqtt.exception import MalformedPacket

PROPERTIES_AT_MOST = 64 * 1024  # bytes; a capture has less than one KiB of them

_CONTENT_TYPE = 3
_SUBSCRIPTION_ID = 11
_USER_PROPERTY = 38
_FIXED = {1: 1, 2: 4, 35: 2}  # payload format, message expiry, topic alias: bytes
_LENGTH_FIRST = {_CONTENT_TYPE, 8, 9}  # content type, response topic, correlation data

_QOS = 0b0110
_RETAIN = 0b0001
_VARINT_BYTES = 4


class PropertyError(ValueError):
    """The properties cannot be read; the text says why."""


@dataclass(slots=True)
class Properties:
    """Those properties of a publication that the contract knows."""

    content_type: str = ""
    user: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Publication:
    """A PUBLISH packet; `fault` says why its properties could not be read, if they could not."""

    topic: str
    payload: bytes
    packet_id: int
    qos: int
    retain: bool
    properties: Properties
    fault: str = ""


def publication(header: int, packet: bytes | bytearray) -> Publication:
    """Read a PUBLISH packet, given its first byte and all that follows its length.

    Texts are read as UTF-8, with U+FFFD for what is none. Raises MalformedPacket only where not
    even topic, packet identifier and the properties' length are there.
    """
    reader = _Reader(bytes(packet))
    try:
        topic = reader.text()
        qos = (header & _QOS) >> 1
        packet_id = reader.number(2) if qos else 0
        section = reader.take(reader.varint())
    except PropertyError as error:
        raise MalformedPacket(str(error)) from None
    fault = ""
    try:
        properties = _properties(section)
    except PropertyError as error:
        properties = Properties()
        fault = f"properties: {error}"
    return Publication(
        topic=topic,
        payload=reader.rest(),
        packet_id=packet_id,
        qos=qos,
        retain=bool(header & _RETAIN),
        properties=properties,
        fault=fault,
    )


def _properties(section: bytes) -> Properties:
    if len(section) > PROPERTIES_AT_MOST:
        raise PropertyError(f"more than {PROPERTIES_AT_MOST} bytes")
    reader = _Reader(section)
    properties = Properties()
    while reader.left:
        identifier = reader.varint()
        if identifier == _USER_PROPERTY:
            name = reader.text()
            properties.user.append((name, reader.text()))
        elif identifier == _CONTENT_TYPE:
            properties.content_type = reader.text()
        else:
            _skip(reader, identifier)
    return properties


def _skip(reader: "_Reader", identifier: int) -> None:
    if identifier in _FIXED:
        reader.take(_FIXED[identifier])
    elif identifier in _LENGTH_FIRST:
        reader.take(reader.number(2))
    elif identifier == _SUBSCRIPTION_ID:
        reader.varint()
    else:
        raise PropertyError(f"{identifier} is none of a publication")


class _Reader:
    """Takes one thing after the other from bytes; raises PropertyError where they end too soon."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        """How many bytes are left."""
        return len(self._data) - self._at

    def take(self, count: int) -> bytes:
        """So many bytes."""
        if count > self.left:
            raise PropertyError("cut off")
        begin = self._at
        self._at += count
        return self._data[begin : self._at]

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(self.left)

    def number(self, size: int) -> int:
        """A number of so many bytes."""
        return int.from_bytes(self.take(size), "big")

    def text(self) -> str:
        """A text that is led by its length."""
        return self.take(self.number(2)).decode("utf-8", errors="replace")

    def varint(self) -> int:
        """A number in groups of seven bits, the lowest first."""
        value = 0
        for place in range(_VARINT_BYTES):
            byte = self.number(1)
            value |= (byte & 0x7F) << (7 * place)
            if byte < 0x80:
                return value
        raise PropertyError("a length of more than four bytes")
