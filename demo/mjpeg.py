"""A network camera: pictures as MJPEG over HTTP, as browsers and OpenCV read it."""

import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from types import TracebackType
from typing import Self

_BOUNDARY = "frame"
_TYPE = f"multipart/x-mixed-replace; boundary={_BOUNDARY}"


class MjpegServer(ThreadingHTTPServer):
    """Shows everybody who looks, at any path, what `picture` gives `fps` times a second.

    `picture` gives a JPEG, or None while there is none: nothing is sent then, and the stream
    stays open. While the camera `is_away` streams end, and who looks anew gets 503. Without a
    `port` it takes a free one; `server_port` tells which. To be used as a context manager.
    """

    daemon_threads = True

    def __init__(
        self,
        picture: Callable[[], bytes | None],
        *,
        fps: float,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        super().__init__((host, port), _Look)
        self.is_away = False
        self._picture = picture
        self._pause_s = 1 / fps
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing.set()
        self.shutdown()
        self._thread.join()
        self.server_close()

    def play(self, out: BufferedIOBase) -> None:
        """Write pictures until we close, the camera is away or nobody looks any more."""
        while not self._closing.wait(self._pause_s) and not self.is_away:
            picture = self._picture()
            if picture is None:
                continue
            try:
                out.write(_part(picture))
            except OSError:
                return


class _Look(BaseHTTPRequestHandler):
    """One who looks."""

    server: MjpegServer

    def do_GET(self) -> None:
        if self.server.is_away:
            self.send_error(HTTPStatus.SERVICE_UNAVAILABLE)
            return
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", _TYPE)
        self.end_headers()
        self.server.play(self.wfile)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing of each request."""


def _part(picture: bytes) -> bytes:
    lines = (
        f"--{_BOUNDARY}",
        "Content-Type: image/jpeg",
        f"Content-Length: {len(picture)}",
        "",
        "",
    )
    return "\r\n".join(lines).encode() + picture + b"\r\n"
