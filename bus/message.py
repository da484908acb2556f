"""A message as the contract sees it, free of any MQTT library."""

from dataclasses import dataclass

from pydantic import ValidationError


class ContractError(ValueError):
    """A name or message that is not of the contract; the text begins with the field at fault."""

    @classmethod
    def of(cls, error: ValidationError) -> "ContractError":
        """The first thing that pydantic found wrong, as one line without the value itself."""
        first = error.errors(include_url=False, include_input=False)[0]
        field = [str(part) for part in first["loc"][:1]]
        fault = first["msg"].removeprefix("Value error, ")
        return cls(": ".join([*field, fault]))


@dataclass(frozen=True, slots=True)
class Delivered:
    """Which packet of which connection brought a message: what an acknowledgement must name."""

    connection: int
    packet_id: int
    qos: int


@dataclass(frozen=True, slots=True)
class Message:
    """An MQTT 5 publication; `properties` are its user properties in order.

    `fault` says why they could not be read, if they could not.
    """

    topic: str
    payload: bytes
    content_type: str = ""
    properties: tuple[tuple[str, str], ...] = ()
    delivered: Delivered | None = None
    retain: bool = False
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Up:
    """The broker has accepted us; without a session, what it held for us is gone."""

    session_present: bool


@dataclass(frozen=True, slots=True)
class Down:
    """The connection has ended; it is being made again."""


Event = Up | Down | Message
