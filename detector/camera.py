"""Where frames come from: a camera, a stream, a video file, a folder of pictures."""

import itertools
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")  # OpenCV would write lines of its own between ours
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "5")  # s without a frame, as of a stream
os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", "rtsp_transport;tcp")

import cv2
import numpy as np
from cv2.typing import MatLike

from bus.log import log
from bus.settings import masked
from detector.settings import Settings

PICTURES = {".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
PAUSE = 4.0  # s: the longest between two tries


class SourceError(SystemExit):
    """The source gives no frames, which ends the process; the text names it and says what to do."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A BGR picture (h x w x 3, uint8), when it was taken (UTC), and when by a clock that never jumps (s)."""

    picture: MatLike
    at: datetime
    t: float


def frames(settings: Settings, stop: threading.Event) -> Iterator[Frame | None]:
    """The frames of SOURCE that are due for detection, until its end or `stop`; None each time a camera is found away.

    What MASK covers is black. Raises SourceError.
    """
    path, rounds = Path(settings.source), itertools.count() if settings.loop else range(1)
    if "://" in settings.source or settings.source.startswith("/dev/"):
        source = _live(settings, stop)
    elif not path.exists():
        raise SourceError(
            f"SOURCE: {path} is not there: give a device, a URL, a video file or a folder of pictures"
        )
    else:
        source = (
            f
            for _ in rounds
            for f in (_pictures(path) if path.is_dir() else _video(path, settings, stop))
        )
    for frame in source:
        if frame:
            for (
                polygon
            ) in settings.mask:  # one by one: where two overlap, OpenCV would leave a hole
                corners = np.rint(np.multiply(polygon, frame.picture.shape[1::-1])).astype(np.int32)
                cv2.fillPoly(frame.picture, [corners], (0,))
        yield frame


def _pictures(folder: Path) -> Iterator[Frame]:
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in PICTURES)
    if not files:
        raise SourceError(f"SOURCE: {folder} holds no picture ({', '.join(sorted(PICTURES))})")
    for file in files:
        picture = cv2.imread(str(file), cv2.IMREAD_COLOR)
        if picture is None:
            log.warning("picture unreadable", extra={"file": file.name})
            continue
        yield Frame(picture, datetime.now(UTC), time.monotonic())


def _video(file: Path, settings: Settings, stop: threading.Event) -> Iterator[Frame]:
    """Every frame that is due, at the video's own pace; none is skipped because we are slow."""
    capture = cv2.VideoCapture(str(file))
    fps = capture.get(cv2.CAP_PROP_FPS)
    if not capture.isOpened() or not fps > 0:
        raise SourceError(f"SOURCE: {file} is no video that OpenCV can read")
    begin, index, due = time.monotonic(), 0, 0.0
    while capture.grab():
        if index / fps >= due:
            due += 1 / settings.detect_fps
            stop.wait(max(begin + index / fps - time.monotonic(), 0))
            ok, picture = capture.retrieve()
            if ok:
                yield Frame(picture, datetime.now(UTC), begin + index / fps)
        index += 1
    capture.release()
    if not index:
        raise SourceError(f"SOURCE: {file} holds no frame that OpenCV can read")


def _live(settings: Settings, stop: threading.Event) -> Iterator[Frame | None]:
    """The newest frame whenever one is due; a source that stops or freezes is opened again, with back-off, for a while.

    What is not due is grabbed, so that nothing old piles up, and not decoded. A sensor's noise makes every frame
    another one: a source that gives the same picture again and again has frozen.
    """
    seen, seen_at, pause = (
        b"",
        float("-inf"),
        1.0,
    )  # a camera that was never there is given up at once
    while not stop.is_set():
        capture, opened, due, step = _open(settings), time.monotonic(), 0.0, 1 / settings.detect_fps
        while not stop.is_set() and capture.grab():
            if (now := time.monotonic()) < due:
                continue
            due = (due if now - due < step else now) + step
            ok, picture = capture.retrieve()
            look = (
                cv2.resize(picture, (64, 36), interpolation=cv2.INTER_AREA).tobytes()
                if ok
                else seen
            )
            if look != seen:
                seen, seen_at, pause = look, now, pause if now - opened < PAUSE else 1.0
            elif not ok or now - max(seen_at, opened) > settings.frozen_s:
                break
            if seen_at > opened:  # not what was there before
                yield Frame(picture, datetime.now(UTC), now)
        capture.release()
        if stop.is_set():
            return
        yield None
        if time.monotonic() - seen_at > settings.camera_give_up:
            raise SourceError(
                f"SOURCE: {masked(settings.source)} gives no fresh frames: is it there, allowed, free?"
            )
        log.warning("camera down", extra={"camera": settings.camera, "next_try_s": pause})
        stop.wait(pause)
        pause = min(pause * 2, PAUSE)


def _open(settings: Settings) -> cv2.VideoCapture:
    if "://" in settings.source:
        limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, 10_000, cv2.CAP_PROP_READ_TIMEOUT_MSEC, 5_000]
        return cv2.VideoCapture(settings.source, cv2.CAP_FFMPEG, limits)
    capture = cv2.VideoCapture(settings.source, cv2.CAP_V4L2)
    # The order matters: the format first, or the driver picks a slow one for the size.
    size = {cv2.CAP_PROP_FRAME_WIDTH: settings.width, cv2.CAP_PROP_FRAME_HEIGHT: settings.height}
    asked = {
        cv2.CAP_PROP_FOURCC: cv2.VideoWriter.fourcc(*"MJPG"),
        **size,
        cv2.CAP_PROP_FPS: settings.fps,
    }
    for setting, value in {**asked, cv2.CAP_PROP_BUFFERSIZE: 1}.items():
        capture.set(setting, value)
    real = [
        round(capture.get(setting)) for setting in asked
    ]  # a camera does not always do as it is told
    log.info("camera opened", extra={"camera": settings.camera, "format_width_height_fps": real})
    return capture
