"""Where frames come from: a camera, a stream, a video file, a folder of pictures."""

import os
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from math import inf
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
FIRST_PAUSE_S = 1.0  # before a camera is opened again
LONGEST_PAUSE_S = 4.0
OPEN_TIMEOUT_MS = 10_000
READ_TIMEOUT_MS = 5_000

_THUMBNAIL = (64, 36)  # w, h in pixels


class SourceError(SystemExit):
    """The source gives no frames; the text names it and says what to do. It ends the process."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A BGR picture (h x w x 3, uint8).

    It was taken `at` (UTC), and at `t` seconds of a clock that never jumps.
    """

    picture: MatLike
    at: datetime
    t: float


@dataclass(frozen=True, slots=True)
class Away:
    """The camera gives no fresh frame; it is opened again."""


@dataclass(frozen=True, slots=True)
class Ended:
    """Nothing more comes."""


Look = Frame | Away | Ended


def looks(settings: Settings, stop: threading.Event) -> Iterator[Look]:
    """What SOURCE shows: the frames that are due for detection, and Away each time it is found so.

    Ended is the last, also after `stop`. What MASK covers is black. Raises SourceError.
    """
    for look in _source(settings, stop):
        if stop.is_set():
            break
        if isinstance(look, Frame):
            _blacken(look.picture, settings.mask)
        yield look
    yield Ended()


def _source(settings: Settings, stop: threading.Event) -> Iterator[Frame | Away]:
    if "://" in settings.source or settings.source.startswith("/dev/"):
        return _live(settings, stop)
    path = Path(settings.source)
    if not path.exists():
        raise SourceError(
            f"SOURCE: {path} is not there: "
            "give a device, a URL, a video file or a folder of pictures"
        )
    return _recorded(path, settings, stop)


def _blacken(picture: MatLike, mask: list[list[tuple[float, float]]]) -> None:
    height, width = picture.shape[:2]
    for polygon in mask:  # one by one: where two overlap, OpenCV would leave a hole
        corners = np.rint(np.multiply(polygon, (width, height))).astype(np.int32)
        cv2.fillPoly(picture, [corners], (0,))


def _recorded(path: Path, settings: Settings, stop: threading.Event) -> Iterator[Frame]:
    """What is in files, once or again and again."""
    again = True
    while again:
        if path.is_dir():
            yield from _pictures(path)
        else:
            yield from _video(path, settings, stop)
        again = settings.loop


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


class _Pace:
    """Says which frames are due, so that there are at most `fps` in a second."""

    def __init__(self, fps: float) -> None:
        self._step_s = 1 / fps
        self._due_at = 0.0

    def is_due(self, t: float) -> bool:
        """Whether the frame at `t` seconds is; one that is not is never asked for again."""
        late_s = t - self._due_at
        if late_s < 0:
            return False
        begin = self._due_at if late_s < self._step_s else t
        self._due_at = begin + self._step_s
        return True


def _video(file: Path, settings: Settings, stop: threading.Event) -> Iterator[Frame]:
    """Every frame that is due, at the video's own pace; none is skipped because we are slow."""
    capture = cv2.VideoCapture(str(file))
    fps = capture.get(cv2.CAP_PROP_FPS)
    if not capture.isOpened() or not fps > 0:
        raise SourceError(f"SOURCE: {file} is no video that OpenCV can read")
    pace = _Pace(settings.detect_fps)
    begun_at = time.monotonic()
    count = 0
    while capture.grab():
        position_s = count / fps
        count += 1
        if not pace.is_due(position_s):
            continue
        t = begun_at + position_s
        stop.wait(max(t - time.monotonic(), 0))
        ok, picture = capture.retrieve()
        if ok:
            yield Frame(picture, datetime.now(UTC), t)
    capture.release()
    if count == 0:
        raise SourceError(f"SOURCE: {file} holds no frame that OpenCV can read")


class _Watchdog:
    """Knows when a camera last gave a fresh picture, and how long to wait for another try.

    A sensor's noise makes every frame another one: a source that gives the same picture again and
    again has frozen, and stays so after it was opened again, until the picture changes.
    """

    def __init__(self, frozen_s: float) -> None:
        self._frozen_s = frozen_s
        self._thumbnail = b""
        self._opened_at = -inf
        self._fresh_at = -inf
        self._pause_s = FIRST_PAUSE_S

    def opened(self, now: float) -> None:
        """The camera was opened."""
        self._opened_at = now

    def note(self, picture: MatLike, now: float) -> None:
        """Take in a picture."""
        thumbnail = cv2.resize(picture, _THUMBNAIL, interpolation=cv2.INTER_AREA).tobytes()
        if thumbnail == self._thumbnail:
            return
        self._thumbnail = thumbnail
        self._fresh_at = now
        if now - self._opened_at >= LONGEST_PAUSE_S:
            self._pause_s = FIRST_PAUSE_S

    @property
    def is_fresh(self) -> bool:
        """Whether there was a fresh picture since the camera was opened."""
        return self._fresh_at > self._opened_at

    def is_frozen(self, now: float) -> bool:
        """Whether the picture has been the same for too long."""
        return now - max(self._fresh_at, self._opened_at) > self._frozen_s

    def stale_s(self, now: float) -> float:
        """How long there was no fresh picture; infinite if there never was one."""
        return now - self._fresh_at

    def next_pause(self) -> float:
        """How long to wait now, in seconds; twice as long the next time, up to LONGEST_PAUSE_S."""
        pause_s = self._pause_s
        self._pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        return pause_s


def _live(settings: Settings, stop: threading.Event) -> Iterator[Frame | Away]:
    """The frames of a camera or stream, which is opened again, with back-off, for a while."""
    watchdog = _Watchdog(settings.frozen_s)
    while not stop.is_set():
        capture = _open(settings)
        try:
            yield from _newest(capture, settings.detect_fps, watchdog, stop)
        finally:
            capture.release()
        if stop.is_set():
            return
        yield Away()
        if watchdog.stale_s(time.monotonic()) > settings.camera_give_up:
            source = masked(settings.source)
            raise SourceError(
                f"SOURCE: {source} gives no fresh frames: is it there, allowed, free?"
            )
        pause_s = watchdog.next_pause()
        log.warning("camera down", extra={"camera": settings.camera, "next_try_s": pause_s})
        stop.wait(pause_s)


def _newest(
    capture: cv2.VideoCapture,
    fps: float,
    watchdog: _Watchdog,
    stop: threading.Event,
) -> Iterator[Frame]:
    """The newest frame whenever one is due, until the camera stops or freezes.

    What is not due is grabbed, so that nothing old piles up, and not decoded.
    """
    watchdog.opened(time.monotonic())
    pace = _Pace(fps)
    while not stop.is_set() and capture.grab():
        now = time.monotonic()
        if not pace.is_due(now):
            continue
        ok, picture = capture.retrieve()
        if not ok:
            return
        watchdog.note(picture, now)
        if watchdog.is_frozen(now):
            return
        if watchdog.is_fresh:  # not what was there before
            yield Frame(picture, datetime.now(UTC), now)


def _open(settings: Settings) -> cv2.VideoCapture:
    if "://" in settings.source:
        return cv2.VideoCapture(settings.source, cv2.CAP_FFMPEG, _stream_limits())
    capture = cv2.VideoCapture(settings.source, cv2.CAP_V4L2)
    # The order matters: the format first, or the driver picks a slow one for the size.
    asked = {
        cv2.CAP_PROP_FOURCC: cv2.VideoWriter.fourcc(*"MJPG"),
        cv2.CAP_PROP_FRAME_WIDTH: settings.width,
        cv2.CAP_PROP_FRAME_HEIGHT: settings.height,
        cv2.CAP_PROP_FPS: settings.fps,
    }
    for setting, value in asked.items():
        capture.set(setting, value)
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    given = _given(capture, asked)
    log.info("camera opened", extra={"camera": settings.camera, "format_width_height_fps": given})
    return capture


def _stream_limits() -> list[int]:
    return [
        cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
        OPEN_TIMEOUT_MS,
        cv2.CAP_PROP_READ_TIMEOUT_MSEC,
        READ_TIMEOUT_MS,
    ]


def _given(capture: cv2.VideoCapture, asked: Iterable[int]) -> list[int]:
    """What a camera really does, which is not always what it was asked for."""
    return [round(capture.get(setting)) for setting in asked]
