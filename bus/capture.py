"""A capture: one face as PNG, and the facts about it."""

import hashlib
from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import ConfigDict, Field, PlainSerializer, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
from pydantic.functional_validators import model_validator

from bus.fields import Box, Instant, Seq, Sha256, Share, ShotNumber, Size, VisitName, instant
from bus.message import ContractError, Message
from bus.png import size_of_png
from bus.topics import CAPTURES, CameraId, Name, face_key, parse, topic

MAX_PNG = 8 * 1024 * 1024  # bytes; far above any crop, far below what a broker passes on
SHRUNK_TO_PX = 1600  # the longer side of a picture that is made smaller to fit
CONTENT_TYPE = "image/png"

_TX_DIGITS = 19  # of 2**63


@dataclass(frozen=True, slots=True, kw_only=True, config=ConfigDict(extra="ignore"))
class Capture:
    """One face. Making one checks every field and raises ValidationError.

    `box` is x, y, w, h and `frame` w, h, in pixels of the full frame; `score` and `quality` are
    0 to 1; `captured_at` is UTC, cut to milliseconds; `sha256` is that of `png`; `final` says that
    the visit had ended then. A field that is added has a default, so that what an older outbox
    holds stays a capture.
    """

    edge: Name
    camera: Name
    seq: Seq
    captured_at: Annotated[Instant, PlainSerializer(instant)]
    box: Box
    frame: Size
    score: Share
    quality: Share
    visit: VisitName
    shot: ShotNumber
    png: Annotated[bytes, Field(max_length=MAX_PNG, repr=False)]
    sha256: Sha256
    final: Annotated[bool, PlainSerializer(lambda _: "true")] = False  # what is false is left out

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        x, y, w, h = self.box
        width, height = self.frame
        if w == 0 or h == 0 or x + w > width or y + h > height:
            raise ValueError("box: empty or outside the frame")
        self._check_size(*size_of_png(self.png))
        if hashlib.sha256(self.png).hexdigest() != self.sha256:
            raise ValueError("sha256: is not that of the payload")
        return self

    def _check_size(self, png_width: int, png_height: int) -> None:
        """A face is cut from its frame and shows its box, unless it was made smaller to fit."""
        _, _, w, h = self.box
        width, height = self.frame
        if png_width > width or png_height > height:
            raise ValueError("png: larger than its frame")
        is_shrunk = max(png_width, png_height) >= SHRUNK_TO_PX - 1  # by rounding
        if (png_width < w or png_height < h) and not is_shrunk:
            raise ValueError("png: smaller than its box")

    @property
    def camera_id(self) -> CameraId:
        """Whose it is."""
        return CameraId(self.edge, self.camera)

    @property
    def key(self) -> str:
        """Where the object is stored."""
        return face_key(self.camera_id, self.captured_at, self.seq)

    def facts(self) -> dict[str, str]:
        """Everything but names and picture, in the one form in which it travels and is stored."""
        unsaid = {"edge", "camera", "png"}
        facts = _CAPTURE.dump_python(self, exclude=unsaid, exclude_defaults=True)
        return {name: str(fact) for name, fact in facts.items()}

    @classmethod
    def of(cls, camera_id: CameraId, facts: Mapping[str, str], png: bytes) -> "Capture":
        """The capture with these facts.

        Raises ContractError that names the field, also for an unusual spelling.
        """
        fields = {**facts, "edge": camera_id.edge, "camera": camera_id.camera, "png": png}
        try:
            capture = _CAPTURE.validate_python(fields)
        except ValidationError as error:
            raise ContractError.of(error) from None
        for name, text in capture.facts().items():
            if facts.get(name, text) != text:
                raise ContractError(f"{name}: not in the contract's form")
        return capture

    def to_message(self, tx: int) -> Message:
        """The form in which transmission `tx` of this capture is published."""
        return Message(
            topic(CAPTURES, self.camera_id),
            self.png,
            content_type=CONTENT_TYPE,
            properties=(*self.facts().items(), ("tx", str(tx))),
        )

    @classmethod
    def from_message(cls, message: Message) -> tuple["Capture", int]:
        """The capture and its transmission number; raises ContractError that names the field."""
        camera_id = parse(message.topic, CAPTURES)
        if message.fault:
            raise ContractError(message.fault)
        if message.content_type != CONTENT_TYPE:
            raise ContractError(f"content type: not {CONTENT_TYPE}")
        facts = dict(message.properties)
        if len(facts) != len(message.properties):
            raise ContractError("user properties: one is given twice")
        tx = _transmission_number(facts.get("tx", ""))
        return cls.of(camera_id, facts, message.payload), tx


def _transmission_number(text: str) -> int:
    digits = text.isascii() and text.isdigit() and len(text) <= _TX_DIGITS
    if not digits or int(text) >= 2**63:
        raise ContractError("tx: not a transmission number")
    return int(text)


_CAPTURE = TypeAdapter(Capture)
