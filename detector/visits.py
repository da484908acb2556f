"""Which of the faces that are seen become captures."""

from collections.abc import Iterator
from typing import Any

from detector.camera import Frame
from detector.faces import Face


def every(frame: Frame, faces: list[Face]) -> Iterator[dict[str, Any]]:
    """The facts of a capture for each face: each sight is a visit of its own."""
    height, width = frame.picture.shape[:2]
    for number, face in enumerate(faces, 1):
        visit = f"{frame.at:%Y%m%dT%H%M%S}{frame.at.microsecond // 1000:03d}-{number}"
        facts = {"box": face.box, "frame": (width, height), "score": face.score, "quality": face.score}
        yield {**facts, "captured_at": frame.at, "visit": visit, "shot": 1}
