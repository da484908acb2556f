"""A shot: a picture of a face that is to become a capture, and what is known of it."""

from dataclasses import dataclass
from datetime import datetime

Box = tuple[int, int, int, int]  # x, y, w, h in pixels of the frame
Size = tuple[int, int]  # w, h in pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """The `number`th shot of a visit, as PNG.

    `captured_at` is in UTC, `score` and `quality` are 0 to 1; `final` says that the visit is over.
    """

    png: bytes
    captured_at: datetime
    box: Box
    frame: Size
    score: float
    quality: float
    visit: str
    number: int
    final: bool = False
