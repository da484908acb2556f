"""A receipt: the processor's word that a capture needs no more sending."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
from pydantic_core import from_json

from bus.capture import Instant, Seq, Sha256, Tx
from bus.message import ContractError, Message
from bus.topics import RECEIPTS, Name, parse, topic


@dataclass(frozen=True, slots=True, kw_only=True, config=ConfigDict(extra="ignore"))
class Receipt:
    """What became of the capture that has this `seq` and this `sha256`; `tx` is echoed from the copy that arrived."""

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
        body = _FORM.dump_json(self, exclude={"edge", "camera"}, exclude_defaults=True)
        return Message(topic(RECEIPTS, self.edge, self.camera), body, "application/json")

    @classmethod
    def from_message(cls, message: Message) -> "Receipt":
        """The receipt; raises ContractError that names what is wrong."""
        edge, camera = parse(message.topic, RECEIPTS)
        try:
            return _FORM.validate_python({**from_json(message.payload[:8192]), "edge": edge, "camera": camera})
        except ValidationError as error:
            raise ContractError.of(error) from None
        except (ValueError, TypeError):
            raise ContractError("payload: not a JSON object, or too long") from None


_FORM = TypeAdapter(Receipt)
