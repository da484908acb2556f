"""A receipt: the processor's word that a capture needs no more sending."""

import json
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError
from pydantic.dataclasses import dataclass
from pydantic_core import from_json

from bus.capture import Instant, Seq, Sha256, Tx, instant
from bus.message import ContractError, Message
from bus.topics import RECEIPTS, Name, parse, receipt_topic


@dataclass(frozen=True, slots=True, kw_only=True)
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
        fields = {"seq": self.seq, "sha256": self.sha256, "tx": self.tx, "status": self.status, "key": self.key}
        fields["stored_at"] = instant(self.stored_at)
        if self.status == "quarantined":
            fields["reason"] = self.reason
        return Message(receipt_topic(self.edge, self.camera), json.dumps(fields).encode(), "application/json")

    @classmethod
    def from_message(cls, message: Message) -> Self:
        """The receipt; raises ContractError that names what is wrong."""
        edge, camera = parse(message.topic, RECEIPTS)
        try:
            fields = from_json(message.payload[:8192])
        except ValueError:
            raise ContractError("payload: not JSON, or too long") from None
        if not isinstance(fields, dict):
            raise ContractError("payload: not a JSON object")
        known = {name: fields[name] for name in _FIELDS if name in fields}
        try:
            return cls(edge=edge, camera=camera, **known)
        except ValidationError as error:
            raise ContractError.of(error) from None


_FIELDS = ("seq", "sha256", "tx", "status", "key", "stored_at", "reason")
