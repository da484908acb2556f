"""Where frames come from: a camera, a stream, a video file, a folder of pictures."""

import itertools
import logging
import os
import queue
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")  # OpenCV would write lines of its own between ours
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", "rtsp_transport;tcp")

import cv2
from cv2.typing import MatLike

from bus.settings import masked
from detector.settings import Settings

log = logging.getLogger(__name__)

PICTURES = {".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
Slot = queue.SimpleQueue["Frame | None"]
STALL = 5.0  # s without a new frame before a camera is opened again


class SourceError(Exception):
    """The source gives no frames; the text names it and says what to do."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A BGR picture (h x w x 3, uint8) and when it was taken (UTC)."""

    picture: MatLike
    at: datetime


def frames(settings: Settings, stop: threading.Event) -> Iterator[Frame]:
    """The frames of SOURCE that are due for detection, until its end or `stop`; raises SourceError."""
    path = Path(settings.source)
    if "://" in settings.source or settings.source.startswith("/dev/"):
        yield from _live(settings, stop)
    elif not path.exists():
        raise SourceError(f"SOURCE: {path} is not there: give a device, a URL, a video file or a folder of pictures")
    else:
        for _ in itertools.count() if settings.loop else range(1):
            yield from _pictures(path) if path.is_dir() else _video(path, settings.detect_fps, stop)


def _pictures(folder: Path) -> Iterator[Frame]:
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in PICTURES)
    if not files:
        raise SourceError(f"SOURCE: {folder} holds no picture ({', '.join(sorted(PICTURES))})")
    for file in files:
        picture = cv2.imread(str(file), cv2.IMREAD_COLOR)
        if picture is None:
            log.warning("picture unreadable", extra={"file": file.name})
            continue
        yield Frame(picture, datetime.now(UTC))


def _video(file: Path, detect_fps: float, stop: threading.Event) -> Iterator[Frame]:
    """Every frame that is due, at the video's own pace; none is skipped because we are slow."""
    capture = cv2.VideoCapture(str(file))
    fps = capture.get(cv2.CAP_PROP_FPS)
    if not capture.isOpened() or not fps > 0:
        raise SourceError(f"SOURCE: {file} is no video that OpenCV can read")
    begin, index, due = time.monotonic(), 0, 0.0
    while capture.grab():
        if index / fps >= due:
            due += 1 / detect_fps
            stop.wait(max(begin + index / fps - time.monotonic(), 0))
            ok, picture = capture.retrieve()
            if ok:
                yield Frame(picture, datetime.now(UTC))
        index += 1
    capture.release()
    if not index:
        raise SourceError(f"SOURCE: {file} holds no frame that OpenCV can read")


def _live(settings: Settings, stop: threading.Event) -> Iterator[Frame]:
    """The newest frame whenever one is due; a source that goes away is opened again, with back-off, for a while."""
    seen_at, pause = float("-inf"), 1.0  # a camera that was never there is given up at once
    while not stop.is_set():
        wanted, newest = threading.Event(), Slot()
        threading.Thread(target=_drain, args=(_open(settings), wanted, newest, stop), daemon=True).start()
        wanted.set()
        with suppress(queue.Empty):
            while (frame := newest.get(timeout=STALL)) and not stop.is_set():
                seen_at, pause = time.monotonic(), 1.0
                yield frame
                stop.wait(seen_at + 1 / settings.detect_fps - time.monotonic())
                wanted.set()
        if time.monotonic() - seen_at > settings.camera_give_up:
            name = masked(settings.source)
            raise SourceError(f"SOURCE: {name} gives no frames: is it plugged in, allowed, not in use?")
        log.warning("camera down", extra={"camera": settings.camera, "next_try_s": pause})
        stop.wait(pause)
        pause = min(pause * 2, 30)


def _drain(capture: cv2.VideoCapture, wanted: threading.Event, newest: Slot, stop: threading.Event) -> None:
    """Keep a live source drained, and decode a frame only when one is wanted."""
    while not stop.is_set() and capture.grab():
        if wanted.is_set():
            wanted.clear()
            ok, picture = capture.retrieve()
            newest.put(Frame(picture, datetime.now(UTC)) if ok else None)
    newest.put(None)
    capture.release()


def _open(settings: Settings) -> cv2.VideoCapture:
    if "://" in settings.source:
        limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, 10_000, cv2.CAP_PROP_READ_TIMEOUT_MSEC, 5_000]
        return cv2.VideoCapture(settings.source, cv2.CAP_FFMPEG, limits)
    capture = cv2.VideoCapture(settings.source, cv2.CAP_V4L2)
    # The order matters: the format first, or the driver picks a slow one for the size.
    order = ("FOURCC", "FRAME_WIDTH", "FRAME_HEIGHT", "FPS", "BUFFERSIZE")
    asked = (cv2.VideoWriter.fourcc(*"MJPG"), settings.width, settings.height, settings.fps, 1)
    properties = [int(getattr(cv2, f"CAP_PROP_{name}")) for name in order]
    for number, value in zip(properties, asked, strict=True):
        capture.set(number, value)
    real = [round(capture.get(number)) for number in properties]  # a camera does not always do as it is told
    log.info("camera opened", extra={"camera": settings.camera, "format_width_height_fps": real})
    return capture
