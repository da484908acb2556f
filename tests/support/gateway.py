"""What stands between processor and store: passes requests on, or spoils them in a named way."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal, Self

Mode = Literal[
    "well", "403", "404", "500", "503", "timeout", "late", "reset", "hollow", "slow"
]  # what each means stands in Gateway

PROCESSOR_PATIENCE_S = 30.0  # for which the processor waits for an answer
TIMEOUT_S = 60.0
SLOW_BYTES_PER_S = 1024

_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}
_ERROR = "<?xml version='1.0'?><Error><Code>{}</Code><Message>by the gateway</Message></Error>"
_REFUSALS = {
    "403": "AccessDenied",
    "404": "NoSuchBucket",
    "500": "InternalError",
    "503": "SlowDown",
}


class Gateway:
    """An HTTP proxy on a free port of the loopback, `port`, to a store at `target`.

    `mode` names what happens to puts and gets of objects: "403", "404", "500", "503" the store says
    so; "timeout" no answer for a minute; "late" no answer, and the store gets the request when the
    client has given up; "reset" the store has the object, but the connection ends before the
    answer; "hollow" 200 with a broken body, and nothing stored; "slow" 1 KB/s. What is read of
    objects with `denied` in their path is refused, if that is not empty. `spoilt` counts what met a
    mode, `taken` by path the puts that the store took.
    """

    def __init__(self, target: int) -> None:
        self.mode: Mode = "well"
        self.denied = ""
        self.spoilt = 0
        self.taken: Counter[str] = Counter()
        self._target = target
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _any(self) -> None:
                gateway._serve(self)

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _any

            def log_message(self, *_: object) -> None:
                pass

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever,
            args=(0.05,),
            daemon=True,
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.mode = "well"
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _serve(self, request: BaseHTTPRequestHandler) -> None:
        mode = self.mode
        if request.path.count("/") <= 2:
            mode = "well"  # the readiness question is about the bucket
        if mode != "well":
            self.spoilt += 1
        body = self._body(request, slowly=mode == "slow")
        if self._is_denied(request):
            _answer(request, 403, {}, body=_ERROR.format("InvalidObjectState").encode())
        elif mode in _REFUSALS:
            _answer(request, int(mode), {}, body=_ERROR.format(_REFUSALS[mode]).encode())
        elif mode == "timeout":
            _wait(TIMEOUT_S, while_=lambda: self.mode == mode)
            request.close_connection = True
        elif mode == "hollow":
            _answer(request, 200, {"Content-Type": "application/xml"}, body=b"<broken")
        else:
            if mode == "late":
                time.sleep(PROCESSOR_PATIENCE_S + 3)
            self._pass_on(request, body, silently=mode in ("reset", "late"))

    def _is_denied(self, request: BaseHTTPRequestHandler) -> bool:
        reads = request.command in ("GET", "HEAD")
        return reads and bool(self.denied) and self.denied in request.path

    def _pass_on(self, request: BaseHTTPRequestHandler, body: bytes, *, silently: bool) -> None:
        """Let the store have a request; `silently` keeps its answer back."""
        connection = HTTPConnection("127.0.0.1", self._target, timeout=TIMEOUT_S)
        try:
            got = _ask(connection, request, body)
            answer = got.read()
        except (OSError, HTTPException):
            request.close_connection = True  # as when there is nothing in between
            return
        finally:
            connection.close()
        if request.command == "PUT" and got.status == 200:
            self.taken[request.path] += 1
        if silently:
            request.close_connection = True
            return
        headers = {name: value for name, value in got.getheaders() if name.lower() not in _HOP}
        length = len(answer)
        if request.command == "HEAD":
            length = int(got.getheader("Content-Length") or 0)
        _answer(request, got.status, headers, body=answer, length=length)

    def _body(self, request: BaseHTTPRequestHandler, *, slowly: bool) -> bytes:
        left = int(request.headers.get("Content-Length", 0))
        if not slowly:
            return request.rfile.read(left)
        body = b""
        while left:
            part = request.rfile.read(min(left, SLOW_BYTES_PER_S))
            if not part:
                break
            body += part
            left -= len(part)
            _wait(1, while_=lambda: self.mode == "slow")
        return body


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, *_: object) -> None:
        pass  # the far end is gone


def _ask(connection: HTTPConnection, request: BaseHTTPRequestHandler, body: bytes) -> HTTPResponse:
    """The same request, to the store."""
    connection.putrequest(request.command, request.path, skip_host=True, skip_accept_encoding=True)
    for name, value in request.headers.items():
        if name.lower() not in ("connection", "expect"):
            connection.putheader(name, value)
    connection.endheaders(body or None)
    return connection.getresponse()


def _answer(
    request: BaseHTTPRequestHandler,
    status: int,
    headers: dict[str, str],
    *,
    body: bytes,
    length: int | None = None,
) -> None:
    request.send_response_only(status)
    for name, value in headers.items():
        request.send_header(name, value)
    request.send_header("Content-Length", str(len(body) if length is None else length))
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(body)


def _wait(seconds: float, while_: Callable[[], bool]) -> None:
    deadline = time.monotonic() + seconds
    while while_() and time.monotonic() < deadline:
        time.sleep(0.05)
