"""Names, topics and object keys: the only place where a name becomes an address."""

import re
from datetime import UTC, datetime
from typing import Annotated, NamedTuple

from pydantic import Field

from bus.fields import milliseconds
from bus.message import ContractError

_NAME = "[a-z0-9][a-z0-9-]{0,62}"
Name = Annotated[str, Field(pattern=f"^{_NAME}$")]

CAPTURES = "face-detector"
RECEIPTS = "stored"
STATUS = "status"
CONNECTION = "cloud"  # what edge.conf calls the bridge
LINK = "$SYS/broker/connection"  # mosquitto's own: 1 or 0 below <connection>/state

_NAMELESS = "_"  # stands in a quarantine key for what is no name, and is none itself


class CameraId(NamedTuple):
    """One camera of one edge."""

    edge: str
    camera: str

    def __str__(self) -> str:
        return f"{self.edge}/{self.camera}"


def is_name(text: str) -> bool:
    """Whether `text` may be the name of an edge or a camera."""
    return re.fullmatch(_NAME, text) is not None


def checked(text: str, field: str) -> str:
    """`text`, if it is a name; raises ContractError that begins with `field` if not."""
    if not is_name(text):
        rule = "a-z, 0-9, '-', at most 63, not led by '-'"
        raise ContractError(f"{field}: not a name ({rule})")
    return text


def topic(root: str, camera_id: CameraId) -> str:
    """Where a camera's CAPTURES, its RECEIPTS or its STATUS are published; raises ContractError."""
    edge = checked(camera_id.edge, "edge")
    camera = checked(camera_id.camera, "camera")
    return f"{root}/{edge}/{camera}"


def parse(text: str, root: str) -> CameraId:
    """Whose a topic below `root` is; raises ContractError for any other topic."""
    parts = text.split("/")
    if len(parts) != 3 or parts[0] != root:
        raise ContractError(f"topic: not {root}/<edge>/<camera>")
    return CameraId(checked(parts[1], "edge"), checked(parts[2], "camera"))


def face_key(camera_id: CameraId, captured_at: datetime, seq: int) -> str:
    """The object key of a capture: it follows from the capture alone."""
    at = captured_at.astimezone(UTC)
    folder = topic("faces", camera_id)
    return f"{folder}/{at:%Y/%m/%d/%H%M%S}{milliseconds(at)}Z-{seq:09d}.png"


def quarantine_key(text: str, sha256: str, at: datetime) -> str:
    """The object key of a bad message by its topic; `_` stands for names that are none."""
    parts = [*text.split("/"), "", ""]
    edge, camera = (part if is_name(part) else _NAMELESS for part in parts[1:3])
    return f"quarantine/{edge}/{camera}/{at.astimezone(UTC):%Y/%m/%d}/{sha256}.bin"
