"""Metrics and health: what a client knows of itself, on METRICS_PORT."""

import sys
import threading
from collections.abc import Callable
from http.server import ThreadingHTTPServer

from prometheus_client import Counter, Gauge, Histogram, MetricsHandler

from bus.settings import Settings
from bus.topics import CameraId

_CAMERA = ("edge", "camera")
_REASON = (*_CAMERA, "reason")
_SECONDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 3, 5, 10, 30, 60, 300, 1800)

captured = Counter("facebridge_captured", "Captures that the outbox has committed", _CAMERA)
dropped = Counter("facebridge_dropped", "Captures given up by choice, by reason", _REASON)
transmitted = Counter("facebridge_transmitted", "Copies handed to the edge broker", _CAMERA)
resent = Counter("facebridge_resent", "Copies sent again, by reason", _REASON)
stored = Counter("facebridge_stored", "Objects put, or receipts for them seen", _CAMERA)
absorbed = Counter("facebridge_absorbed", "Deliveries of what was already stored", _CAMERA)
quarantined = Counter(
    "facebridge_quarantined", "Messages put into quarantine, or receipts saying so", _CAMERA
)
outcomes = {"stored": stored, "absorbed": absorbed, "quarantined": quarantined}
waiting = Gauge("facebridge_waiting", "Captures without a receipt", _CAMERA)
oldest_waiting = Gauge(
    "facebridge_oldest_waiting_seconds", "Age of the oldest capture without a receipt", _CAMERA
)
frames = Counter("facebridge_frames", "Frames looked at", _CAMERA)
receipt_seconds = Histogram(
    "facebridge_receipt_seconds", "From a copy to its receipt", _CAMERA, buckets=_SECONDS
)
detect_seconds = Histogram(
    "facebridge_detect_seconds", "Finding the faces of one frame", _CAMERA, buckets=_SECONDS
)
camera_up = Gauge("facebridge_camera_up", "1 while the camera gives fresh frames", _CAMERA)
link_up = Gauge("facebridge_link_up", "1 while the bridge is connected", ["connection"])

shed = Counter(
    "facebridge_shed", "Messages dropped because their edge sent too much at once", ["edge"]
)
refused = Counter(
    "facebridge_refused", "Objects that the store refused, while it took others", ["edge"]
)
queued_bytes = Gauge("facebridge_queued_bytes", "What waits to be stored")

CAMERAS_AT_MOST = 32  # of one edge that have series of their own; names are invented for nothing
OTHERS = "_"  # the camera of all further ones, and no name

_cameras: dict[str, set[str]] = {}

Word = Callable[[], str]  # empty, or one line that says what is wrong


def nothing() -> str:
    """The word of who has nothing to say."""
    return ""


def count(counter: Counter, camera_id: CameraId) -> None:
    """Count one of a camera that somebody else has named."""
    cameras = _cameras.setdefault(camera_id.edge, set())
    if len(cameras) < CAMERAS_AT_MOST:
        cameras.add(camera_id.camera)
    camera = camera_id.camera if camera_id.camera in cameras else OTHERS
    counter.labels(camera_id.edge, camera).inc()


def serve(
    settings: Settings,
    missing: Word,
    *,
    hangs: Word = nothing,
    trouble: Word = nothing,
) -> None:
    """Answer /metrics, /healthz and /readyz in the background; METRICS_PORT 0 is off.

    What is `missing` makes /readyz say 503, what `hangs` makes /healthz say so; /readyz tells of
    `trouble` with 200. A taken port ends the process.
    """
    if not settings.metrics_port:
        return
    place = (settings.metrics_host, settings.metrics_port)
    try:
        server = ThreadingHTTPServer(place, _handler(missing, hangs, trouble))
    except OSError as error:
        sys.exit(
            f"METRICS_PORT: cannot listen on {settings.metrics_host}:{settings.metrics_port}: "
            f"{error.strerror}; choose another, or 0 for none"
        )
    threading.Thread(target=server.serve_forever, daemon=True).start()


def _handler(missing: Word, hangs: Word, trouble: Word) -> type[MetricsHandler]:
    class Handler(MetricsHandler):
        def do_GET(self) -> None:  # noqa: N802 - the base class names it
            if self.path == "/healthz":
                self._answer(hangs())
            elif self.path == "/readyz":
                self._answer(missing(), trouble())
            else:
                super().do_GET()

        def _answer(self, wrong: str, aside: str = "") -> None:
            self.send_response(503 if wrong else 200)
            self.end_headers()
            self.wfile.write(f"{wrong or aside or 'ok'}\n".encode())

    return Handler
