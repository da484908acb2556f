"""A network camera (MJPEG over HTTP) that can be put into a bad mood; nothing of ours is imported here."""

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from typing import Literal, Self

import cv2
import numpy as np

Mood = Literal["well", "frozen", "stalled", "gone", "wide"]

FPS = 20
PICTURES = 20  # all different, then the first again
SIZE = (160, 120)
WIDE = (320, 120)


class NetworkCamera:
    """Noise at FPS frames a second on a free port, at `url`; a context manager that ends as `gone`.

    `mood` may be changed at any time: "frozen" shows one picture for ever, "stalled" sends nothing, "gone" ends its
    connections and refuses others, "wide" has pictures of another size.
    """

    def __init__(self) -> None:
        self.mood: Mood = "well"
        random = np.random.default_rng(1)
        width, height = SIZE
        noise = [random.integers(0, 255, (height, width, 3), np.uint8) for _ in range(PICTURES)]
        self._pictures = [_jpeg(picture) for picture in noise]
        self._wide = [_jpeg(cv2.resize(picture, WIDE)) for picture in noise]
        camera = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if camera.mood == "gone":
                    self.send_error(503)
                    return
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                camera._play(self.wfile)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://user:secret@127.0.0.1:{self._server.server_port}/"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.mood = "gone"
        self._server.shutdown()
        self._server.server_close()

    def _play(self, out: BufferedIOBase) -> None:
        number = 0
        while self.mood != "gone":
            time.sleep(1 / FPS)
            if self.mood != "frozen":
                number += 1
            if self.mood == "stalled":
                continue
            pictures = self._wide if self.mood == "wide" else self._pictures
            try:
                out.write(_part(pictures[number % PICTURES]))
            except OSError:
                return


def _jpeg(picture: cv2.typing.MatLike) -> bytes:
    return cv2.imencode(".jpg", picture)[1].tobytes()


def _part(jpeg: bytes) -> bytes:
    head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
    return head.encode() + jpeg + b"\r\n"
