"""Names, topics and object keys: the only place where a name becomes an address."""

import re
from datetime import UTC, datetime
from typing import Annotated

from pydantic import Field

from bus.message import ContractError

_NAME = "[a-z0-9][a-z0-9-]{0,62}"
Name = Annotated[str, Field(pattern=f"^{_NAME}$")]

CAPTURES, RECEIPTS, STATUS = "face-detector", "stored", "status"
LINK = "$SYS/broker/connection"  # mosquitto's own: 1 or 0 below <connection>/state


def checked(text: str, field: str) -> str:
    """`text`, if it is a name; raises ContractError that begins with `field` if not."""
    if not re.fullmatch(_NAME, text):
        raise ContractError(f"{field}: not a name (a-z, 0-9, '-', at most 63, not led by '-')")
    return text


def topic(root: str, edge: str, camera: str) -> str:
    """Where a camera's captures (root CAPTURES), its receipts (RECEIPTS) or its state (STATUS) are published."""
    return f"{root}/{checked(edge, 'edge')}/{checked(camera, 'camera')}"


def parse(text: str, root: str) -> tuple[str, str]:
    """Edge and camera of a topic below `root`; raises ContractError for any other."""
    parts = text.split("/")
    if len(parts) != 3 or parts[0] != root:
        raise ContractError(f"topic: not {root}/<edge>/<camera>")
    return checked(parts[1], "edge"), checked(parts[2], "camera")


def face_key(edge: str, camera: str, captured_at: datetime, seq: int) -> str:
    """The object key of a capture: it follows from the capture alone."""
    at = captured_at.astimezone(UTC)
    return f"{topic('faces', edge, camera)}/{at:%Y/%m/%d/%H%M%S}{at.microsecond // 1000:03d}Z-{seq:09d}.png"


def quarantine_key(text: str, sha256: str, at: datetime) -> str:
    """The object key of a bad message by its topic; `_`, which is no name, stands for names that are none."""
    edge, camera = (
        part if re.fullmatch(_NAME, part) else "_" for part in [*text.split("/"), "", ""][1:3]
    )
    return f"quarantine/{edge}/{camera}/{at.astimezone(UTC):%Y/%m/%d}/{sha256}.bin"
