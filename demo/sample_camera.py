"""A network camera for where there is none: plays the sample clip as MJPEG over HTTP, then shows the empty room."""

import logging
import os
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2

import bus.log
from bus.client import stopping
from demo import sample

log = logging.getLogger("camera")
_BOUNDARY = "frame"


class Camera:
    """The frames of a clip as JPEG, in time from the first look; `loop` says whether the people come again."""

    def __init__(self, video: Path, loop: bool) -> None:
        capture = cv2.VideoCapture(str(video))
        self.fps = capture.get(cv2.CAP_PROP_FPS)
        self._frames: list[bytes] = []
        while (got := capture.read())[0]:
            self._frames.append(
                cv2.imencode(".jpg", got[1], [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()
            )
        self._loop, self._began = loop, 0.0

    def frame(self, now: float) -> bytes:
        """What is to be seen at a time in seconds; after the clip its last third of a second, in which nobody is."""
        self._began = self._began or now
        number, count = int((now - self._began) * self.fps), len(self._frames)
        room = max(int(self.fps / 3), 1)
        return self._frames[
            number % count if self._loop or number < count else count - 1 - number % room
        ]


def main() -> None:
    """Serve the camera on HOST (127.0.0.1) and PORT (8080) until SIGTERM; any path gives the stream."""
    stop = stopping()
    bus.log.setup("INFO")
    clip = sample.make(Path(os.environ.get("CLIP", ".run/sample")))
    camera = Camera(clip.video, os.environ.get("LOOP", "0") == "1")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", f"multipart/x-mixed-replace; boundary={_BOUNDARY}")
            self.end_headers()
            while not stop.wait(1 / camera.fps):
                picture = camera.frame(time.monotonic())
                head = f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
                try:
                    self.wfile.write(head.encode() + picture + b"\r\n")
                except OSError:
                    return

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing of each request."""

    server = ThreadingHTTPServer(
        (os.environ.get("HOST", "127.0.0.1"), int(os.environ.get("PORT", "8080"))), Handler
    )
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    log.info("ready", extra={"fps": camera.fps, "clip": clip.video.name})
    stop.wait()


if __name__ == "__main__":
    main()
