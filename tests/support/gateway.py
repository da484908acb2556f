"""What stands between the processor and the store: passes requests on, or spoils them in a named way."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}
_ERROR = "<?xml version='1.0'?><Error><Code>{}</Code><Message>by the gateway</Message></Error>"
REFUSALS = {
    "403": (403, "AccessDenied"),
    "404": (404, "NoSuchBucket"),
    "500": (500, "InternalError"),
    "503": (503, "SlowDown"),
}


PATIENCE = 30  # s for which the processor waits for an answer


class Gateway:
    """An HTTP proxy on a free port of the loopback, `port`, to a store at `target` there; a context manager.

    `mode` names what happens to puts and gets of objects: "" all is well; "403", "404", "500", "503" the store says so;
    "timeout" no answer for a minute; "late" no answer, and the store gets the request when the client has given up;
    "reset" the store has the object, but the connection ends before the answer; "hollow" 200 with a broken body, and
    nothing stored; "slow" 1 KB/s. `spoilt` counts what met a mode, `taken` by path the puts that the store took.
    """

    def __init__(self, target: int) -> None:
        self.mode, self.spoilt, self.taken = "", 0, Counter[str]()
        self.denied = ""  # what is read of keys with this in their path is refused
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _any(self) -> None:
                gateway.pass_on(self, target)

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _any

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, *_: object) -> None:
                pass  # the far end is gone

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.mode = ""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def pass_on(self, request: BaseHTTPRequestHandler, target: int) -> None:
        """Serve one request."""
        mode = (
            self.mode if request.path.count("/") > 2 else ""
        )  # the readiness question is about the bucket
        self.spoilt += mode != ""
        body = self._read(request, 1024 if mode == "slow" else 0)
        if self.denied and self.denied in request.path and request.command in ("GET", "HEAD"):
            return _answer(request, 403, {}, _ERROR.format("InvalidObjectState").encode())
        if mode in REFUSALS:
            status, code = REFUSALS[mode]
            return _answer(request, status, {}, _ERROR.format(code).encode())
        if mode == "timeout":
            self._while(lambda: self.mode == mode, 60)
            request.close_connection = True
            return None
        if mode == "late":
            self._while(lambda: True, PATIENCE + 3)
        if mode == "hollow":
            return _answer(request, 200, {"Content-Type": "application/xml"}, b"<broken")
        connection = HTTPConnection("127.0.0.1", target, timeout=60)
        try:
            connection.putrequest(
                request.command, request.path, skip_host=True, skip_accept_encoding=True
            )
            for name, value in request.headers.items():
                if name.lower() not in ("connection", "expect"):
                    connection.putheader(name, value)
            connection.endheaders(body or None)
            got = connection.getresponse()
            answer = b"" if request.command == "HEAD" else got.read()
            if request.command == "PUT" and got.status == 200:
                self.taken[request.path] += 1
        except (OSError, HTTPException):
            request.close_connection = True  # as when there is nothing in between
            return None
        finally:
            connection.close()
        if mode in ("reset", "late"):
            request.close_connection = True
            return None
        headers = {name: value for name, value in got.getheaders() if name.lower() not in _HOP}
        size = got.getheader("Content-Length") if request.command == "HEAD" else None
        return _answer(request, got.status, headers, answer, size)

    def _read(self, request: BaseHTTPRequestHandler, rate: int) -> bytes:
        left, body = int(request.headers.get("Content-Length", 0)), b""
        while left and (part := request.rfile.read(min(left, rate or left))):
            body, left = body + part, left - len(part)
            if rate:
                self._while(lambda: self.mode == "slow", 1)
        return body

    def _while(self, condition: Callable[[], bool], seconds: float) -> None:
        end = time.monotonic() + seconds
        while condition() and time.monotonic() < end:
            time.sleep(0.05)


def _answer(
    request: BaseHTTPRequestHandler,
    status: int,
    headers: dict[str, str],
    body: bytes,
    size: str | None = None,
) -> None:
    request.send_response_only(status)
    for name, value in headers.items():
        request.send_header(name, value)
    request.send_header("Content-Length", size or str(len(body)))
    request.end_headers()
    request.wfile.write(body)
