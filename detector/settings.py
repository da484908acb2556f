"""The detector's settings, each an environment variable of the same name in capitals."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, FilePath, Json

import bus.settings
from bus.capture import Share
from bus.topics import Name
from detector.outbox import Policy


class Settings(bus.settings.Settings):
    """Times are in seconds, sizes in pixels or bytes as named."""

    edge: Name
    camera: Name = "camera"
    source: str = "/dev/video0"  # device, rtsp:// or http:// URL, video file or folder of pictures
    loop: bool = False  # a file or folder: again from the start
    width: int = Field(1280, ge=16, le=16384)
    height: int = Field(720, ge=16, le=16384)
    fps: float = Field(15, gt=0, le=240)
    camera_give_up: float = Field(120, gt=0)
    frozen_s: float = Field(
        10, gt=0
    )  # of one and the same picture, before a camera is opened again
    detect_fps: float = Field(5, gt=0, le=240)
    detect_width: int = Field(320, ge=64, le=4096)
    score: float = Field(0.7, gt=0, lt=1)
    min_face: int = Field(40, ge=8)
    margin: float = Field(0.35, ge=0, le=2)
    model: FilePath | None = None
    mode: Literal["best", "every"] = (
        "best"  # the best shots of a visit, or every sight; of a folder always every
    )
    repeat_s: float = Field(
        300, ge=10
    )  # after this a face that stays is captured as if it were new
    save_frame: bool = False  # the whole frame instead of the face with its margin
    # Polygons that are blackened, x and y as shares of the frame: [[[0, 0], [0.2, 0], [0.2, 1], [0, 1]]]
    mask: Json[list[Annotated[list[tuple[Share, Share]], Field(min_length=3)]]] = Field("[]")  # type: ignore[arg-type]
    outbox: Path = Path("outbox.db")
    outbox_max_bytes: int = Field(2 * 10**9, ge=10**5)
    outbox_full: Policy = "drop-oldest"
    outbox_strict: float = Field(0.5, gt=0, le=1)  # share of it from which on a visit gets one shot
    window: int = Field(64, ge=1, le=128)
    qos: Literal["0", "1", "2"] = "1"
