"""A receipt: the processor's answer to a capture."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
from pydantic_core import from_json

from bus.fields import Instant, Seq, Sha256, Tx
from bus.message import ContractError, Message
from bus.topics import RECEIPTS, CameraId, Name, parse, topic

MAX_PAYLOAD = 8192  # bytes; what is longer is cut off and so no JSON


@dataclass(frozen=True, slots=True, kw_only=True, config=ConfigDict(extra="ignore"))
class Receipt:
    """The word that the capture with this `seq` and `sha256` needs no more sending.

    `tx` is the number of the copy that it answers, `key` the object's, `stored_at` in UTC.
    """

    edge: Name
    camera: Name
    seq: Seq
    sha256: Sha256
    tx: Tx
    status: Literal["stored", "quarantined"]
    key: Annotated[str, Field(min_length=1, max_length=1024)]
    stored_at: Instant
    reason: Annotated[str, Field(max_length=200)] = ""

    @property
    def camera_id(self) -> CameraId:
        """Whose capture it is about."""
        return CameraId(self.edge, self.camera)

    def to_message(self) -> Message:
        """The form in which it is published."""
        body = _RECEIPT.dump_json(self, exclude={"edge", "camera"}, exclude_defaults=True)
        return Message(topic(RECEIPTS, self.camera_id), body, content_type="application/json")

    @classmethod
    def from_message(cls, message: Message) -> "Receipt":
        """The receipt; raises ContractError that names what is wrong."""
        edge, camera = parse(message.topic, RECEIPTS)
        try:
            fields = from_json(message.payload[:MAX_PAYLOAD])
            return _RECEIPT.validate_python({**fields, "edge": edge, "camera": camera})
        except ValidationError as error:
            raise ContractError.of(error) from None
        except (ValueError, TypeError):
            raise ContractError("payload: not a JSON object, or too long") from None


_RECEIPT = TypeAdapter(Receipt)
