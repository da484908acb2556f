"""The detector's settings, each an environment variable of the same name in capitals."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, FilePath, Json

import bus.settings
from bus.fields import Share
from bus.topics import Name

OutboxFull = Literal["drop-oldest", "drop-newest"]


class Settings(bus.settings.Settings):
    """Times are in seconds, sizes in pixels or bytes as named."""

    edge: Name = Field(description="Name of this device, as in its certificate.")
    camera: Name = Field("camera", description="Name of the camera, unique on its edge.")
    source: str = Field(
        "/dev/video0",
        description="What to look at: a device, a URL (`rtsp://` or `http://`), a video file or a"
        " folder of pictures.",
    )
    loop: bool = Field(
        default=False,
        description="Whether a file or folder begins again at its end.",
    )
    width: int = Field(
        1280,
        ge=16,
        le=16384,
        description="Width asked of a camera device, in pixels.",
    )
    height: int = Field(
        720,
        ge=16,
        le=16384,
        description="Height asked of a camera device, in pixels.",
    )
    fps: float = Field(
        15,
        gt=0,
        le=240,
        description="Rate asked of a camera device, in frames per second.",
    )
    camera_give_up: float = Field(
        120,
        gt=0,
        description="After so many seconds without a fresh frame the detector ends, for its"
        " supervisor to start it with fresh device nodes.",
    )
    frozen_s: float = Field(
        10,
        gt=0,
        description="After so many seconds of one and the same picture the camera is opened again.",
    )
    detect_fps: float = Field(
        5,
        gt=0,
        le=240,
        description="Frames looked at, per second.",
    )
    detect_width: int = Field(
        320,
        ge=64,
        le=4096,
        description="Width to which a frame is reduced before faces are looked for, in pixels."
        " 320 serves faces wider than 6 % of the frame.",
    )
    score: float = Field(
        0.7,
        gt=0,
        lt=1,
        description="How sure the model must be that something is a face, from 0 to 1.",
    )
    min_face: int = Field(
        40,
        ge=8,
        description="Width below which a face counts as none, in pixels of the frame.",
    )
    margin: float = Field(
        0.35,
        ge=0,
        le=2,
        description="Room around a face, on each side, as a share of the face's size.",
    )
    model: FilePath | None = Field(
        None,
        description="File of another YuNet model than the one that is installed.",
    )
    mode: Literal["best", "every"] = Field(
        "best",
        description="The best shots of a visit, or every sight; of a folder always every picture.",
    )
    repeat_s: float = Field(
        300,
        ge=10,
        description="After so many seconds a face that stays is captured as if it were new.",
    )
    save_frame: bool = Field(
        default=False,
        description="Whether the whole frame is kept instead of the face with its margin.",
    )
    mask: Json[list[Annotated[list[tuple[Share, Share]], Field(min_length=3)]]] = Field(
        "[]",  # type: ignore[arg-type]
        description="Polygons that are blackened before anything looks, in JSON; x and y are"
        " shares of the frame, from 0 to 1: `[[[0,0],[0.2,0],[0.2,1],[0,1]]]`.",
    )
    outbox: Path = Field(
        Path("outbox.db"),
        description="The outbox's file, on a disk that keeps what it has written.",
    )
    outbox_max_bytes: int = Field(
        2 * 10**9,
        ge=10**5,
        description="Room for waiting pictures, in bytes.",
    )
    outbox_full: OutboxFull = Field(
        "drop-oldest",
        description="What goes when that room is used up.",
    )
    outbox_strict: float = Field(
        0.5,
        gt=0,
        le=1,
        description="Share of that room from which on a visit gets one shot only.",
    )
    window: int = Field(
        64,
        ge=1,
        le=128,
        description="Captures on their way without a receipt, at most.",
    )
    qos: Literal["0", "1", "2"] = Field(
        "1",
        description="MQTT's quality of service for captures, on the hop to the edge broker.",
    )
