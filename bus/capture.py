"""What travels: a capture, which is one face as PNG and the facts about it, and the receipt that answers it."""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, ConfigDict, Field, PlainSerializer, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
from pydantic.functional_validators import AfterValidator, BeforeValidator, model_validator
from pydantic_core import from_json

from bus.message import ContractError, Message
from bus.topics import CAPTURES, RECEIPTS, Name, face_key, parse, topic

MAX_PNG = 8 * 1024 * 1024  # bytes; far above any crop, far below what a broker passes on
_SIGNATURE, _IEND = b"\x89PNG\r\n\x1a\n", b"\0\0\0\0IEND\xaeB`\x82"

Seq = Annotated[int, Field(ge=1, le=999_999_999)]
Tx = Annotated[int, Field(ge=0, lt=2**63)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Sane = Field(
    ge=datetime(1970, 1, 1, tzinfo=UTC), lt=datetime(9999, 1, 1, tzinfo=UTC)
)  # UTC ends near there
Instant = Annotated[
    AwareDatetime, _Sane, AfterValidator(lambda at: datetime.fromisoformat(instant(at)))
]
_Round, _Digits = (
    AfterValidator(lambda share: round(share, 4)),
    PlainSerializer(lambda share: f"{share:.4f}"),
)
Share = Annotated[float, Field(ge=0, le=1), _Round, _Digits]
Pixels = Annotated[int, Field(ge=0, le=65535)]
_Split = BeforeValidator(lambda text: text.split(",") if isinstance(text, str) else text)
_Join = PlainSerializer(lambda numbers: ",".join(map(str, numbers)))


def instant(at: datetime) -> str:
    """RFC 3339 in UTC with milliseconds."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True, slots=True, kw_only=True, config=ConfigDict(extra="ignore"))
class Capture:
    """One face. Making one checks every field and raises ValidationError.

    `box` is x, y, w, h and `frame` w, h, in pixels of the full frame; `score` and `quality` are 0 to 1;
    `captured_at` is UTC, cut to milliseconds; `sha256` is that of `png`; `final` says that the visit had ended then.
    A field that is added has a default, so that what an older outbox holds stays a capture.
    """

    edge: Name
    camera: Name
    seq: Seq
    captured_at: Annotated[Instant, PlainSerializer(instant)]
    box: Annotated[tuple[Pixels, Pixels, Pixels, Pixels], _Split, _Join]
    frame: Annotated[tuple[Pixels, Pixels], _Split, _Join]
    score: Share
    quality: Share
    visit: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,40}$")]
    shot: Annotated[int, Field(ge=1, le=9999)]
    png: Annotated[bytes, Field(max_length=MAX_PNG, repr=False)]
    sha256: Sha256
    final: Annotated[bool, PlainSerializer(lambda _: "true")] = False  # what is false is left out

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        (x, y, w, h), png = self.box, self.png
        if not (w and h and x + w <= self.frame[0] and y + h <= self.frame[1]):
            raise ValueError("box: empty or outside the frame")
        if not (png.startswith(_SIGNATURE) and png[12:16] == b"IHDR" and png.endswith(_IEND)):
            raise ValueError("png: not a PNG, or cut off")
        if not (any(png[16:20]) and any(png[20:24])):
            raise ValueError("png: of zero size")
        if hashlib.sha256(png).hexdigest() != self.sha256:
            raise ValueError("sha256: is not that of the payload")
        return self

    @property
    def key(self) -> str:
        """Where the object is stored."""
        return face_key(self.edge, self.camera, self.captured_at, self.seq)

    def facts(self) -> dict[str, str]:
        """Everything but names and picture, in the one form in which it travels and is stored."""
        facts = _CAPTURE.dump_python(self, exclude={"edge", "camera", "png"}, exclude_defaults=True)
        return {name: str(fact) for name, fact in facts.items()}

    @classmethod
    def of(cls, edge: str, camera: str, facts: Mapping[str, str], png: bytes) -> "Capture":
        """The capture with these facts; raises ContractError that names the field, also for an unusual spelling."""
        try:
            capture = _CAPTURE.validate_python(
                {**facts, "edge": edge, "camera": camera, "png": png}
            )
        except ValidationError as error:
            raise ContractError.of(error) from None
        if unusual := [
            name for name, text in capture.facts().items() if facts.get(name, text) != text
        ]:
            raise ContractError(f"{unusual[0]}: not in the contract's form")
        return capture

    def to_message(self, tx: int) -> Message:
        """The form in which transmission `tx` of this capture is published."""
        facts = (*self.facts().items(), ("tx", str(tx)))
        return Message(topic(CAPTURES, self.edge, self.camera), self.png, "image/png", facts)

    @classmethod
    def from_message(cls, message: Message) -> tuple["Capture", int]:
        """The capture and its transmission number; raises ContractError that names the field."""
        edge, camera = parse(message.topic, CAPTURES)
        if message.content_type != "image/png":
            raise ContractError("content type: not image/png")
        facts = dict(message.properties)
        if len(facts) != len(message.properties):
            raise ContractError("user properties: one is given twice")
        tx = facts.get("tx", "")
        if not (tx.isascii() and tx.isdigit() and len(tx) < 20 and int(tx) < 2**63):
            raise ContractError("tx: not a transmission number")
        return cls.of(edge, camera, facts, message.payload), int(tx)


@dataclass(frozen=True, slots=True, kw_only=True, config=ConfigDict(extra="ignore"))
class Receipt:
    """The processor's word that the capture with this `seq` and `sha256` needs no more sending; `tx` is its copy's."""

    edge: Name
    camera: Name
    seq: Seq
    sha256: Sha256
    tx: Tx
    status: Literal["stored", "quarantined"]
    key: Annotated[str, Field(min_length=1, max_length=1024)]
    stored_at: Instant
    reason: Annotated[str, Field(max_length=200)] = ""

    def to_message(self) -> Message:
        """The form in which it is published."""
        body = _RECEIPT.dump_json(self, exclude={"edge", "camera"}, exclude_defaults=True)
        return Message(topic(RECEIPTS, self.edge, self.camera), body, "application/json")

    @classmethod
    def from_message(cls, message: Message) -> "Receipt":
        """The receipt; raises ContractError that names what is wrong."""
        edge, camera = parse(message.topic, RECEIPTS)
        try:
            return _RECEIPT.validate_python(
                {**from_json(message.payload[:8192]), "edge": edge, "camera": camera}
            )
        except ValidationError as error:
            raise ContractError.of(error) from None
        except (ValueError, TypeError):
            raise ContractError("payload: not a JSON object, or too long") from None


_CAPTURE, _RECEIPT = TypeAdapter(Capture), TypeAdapter(Receipt)
