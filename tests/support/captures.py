"""Sound shots, captures, receipts and pictures, to be spoilt by the tests that want them so."""

import hashlib
import struct
import zlib
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from bus.capture import Capture
from bus.message import Message
from bus.receipt import Receipt
from detector.shot import Shot

CAPTURED_AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def png(width: int = 2, height: int = 2, filler: bytes = b"") -> bytes:
    """A PNG that needs no image library; `filler` makes it larger, and another one."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = (b"\0" + b"\x7f" * width) * height
    chunks = [_chunk(b"IHDR", header)]
    if filler:
        chunks.append(_chunk(b"tEXt", b"filler\0" + filler))
    chunks.append(_chunk(b"IDAT", zlib.compress(rows)))
    chunks.append(_chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


def shot(**changes: Any) -> Shot:
    """A shot of a small picture, with some of its fields changed."""
    sound = Shot(
        png=png(),
        captured_at=CAPTURED_AT,
        box=(0, 0, 2, 2),
        frame=(2, 2),
        score=1,
        quality=1,
        visit="v",
        number=1,
    )
    return replace(sound, **changes)


def capture(seq: int = 1, *, edge: str = "edge-1", camera: str = "door", **changes: Any) -> Capture:
    """The capture of such a shot."""
    this = shot(**changes)
    return Capture(
        edge=edge,
        camera=camera,
        seq=seq,
        captured_at=this.captured_at,
        box=this.box,
        frame=this.frame,
        score=this.score,
        quality=this.quality,
        visit=this.visit,
        shot=this.number,
        png=this.png,
        sha256=hashlib.sha256(this.png).hexdigest(),
        final=this.final,
    )


def message(**changes: str | None) -> Message:
    """A sound capture's message with some facts replaced, or left out by None."""
    picture = png(width=30, height=40)
    facts: dict[str, str | None] = {
        "seq": "7",
        "captured_at": "2026-01-02T03:04:05.678Z",
        "sha256": hashlib.sha256(picture).hexdigest(),
        "box": "1,2,30,40",
        "frame": "640,480",
        "score": "0.9000",
        "quality": "0.5000",
        "visit": "v-1",
        "shot": "1",
        "tx": "12",
    }
    facts |= changes
    properties = tuple((name, text) for name, text in facts.items() if text is not None)
    return Message("face-detector/edge-1/door", picture, "image/png", properties)


def receipt(of: Capture, **changes: Any) -> Receipt:
    """The receipt of a capture, with some of its fields changed."""
    sound = Receipt(
        edge=of.edge,
        camera=of.camera,
        seq=of.seq,
        sha256=of.sha256,
        tx=1,
        status="stored",
        key=of.key,
        stored_at=CAPTURED_AT,
    )
    if changes.get("status") == "quarantined":
        changes = {"key": f"quarantine/{of.camera_id}/x.bin", **changes}
    return replace(sound, **changes)
