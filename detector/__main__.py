"""Run the detector: python -m detector. Looks, keeps, sends."""

import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from bus import metrics
from bus.client import Client, stopping
from bus.log import log
from bus.message import Message
from bus.topics import LINK, RECEIPTS, CameraId, topic
from detector.delivery import Delivery
from detector.eye.camera import Away, Ended, Frame, Look, SourceError, looks
from detector.eye.faces import Faces, Find, model_path
from detector.eye.visits import Visits
from detector.outbox import Outbox
from detector.settings import Settings
from detector.shot import Shot
from detector.status import Status

STALE_S = 30.0  # without a frame, after which the detector is not ready
STALLED_S = 30.0  # without a receipt, after which one whose camera is gone ends


class Detector:
    """Looks at what a camera shows, keeps the best shots of each visit, sends them.

    `find` says which faces are in a picture (BGR, h x w x 3, uint8).
    """

    def __init__(
        self,
        settings: Settings,
        *,
        find: Find,
        visits: Visits,
        outbox: Outbox,
        stop: threading.Event,
    ) -> None:
        self._settings = settings
        self._find = find
        self._visits = visits
        self._outbox = outbox
        self._stop = stop
        self._camera_id = outbox.camera_id
        self._status = Status(self._camera_id, settings.mode)
        self._seen_at = time.monotonic()
        self._client = Client(
            settings,
            client_id=f"detector-{settings.camera}",
            topics=[topic(RECEIPTS, self._camera_id), f"{LINK}/+/state"],
            will=self._status.will(),
        )
        metrics.waiting.labels(*self._camera_id).set_function(lambda: outbox.waiting)
        metrics.oldest_waiting.labels(*self._camera_id).set_function(outbox.age)

    def run(self, what_is_seen: Iterable[Look]) -> None:
        """Look until the source ends, then wait until the outbox is empty; or end with `stop`."""
        with closing(self._client), ThreadPoolExecutor(1) as pool:
            metrics.serve(self._settings, self._missing)
            sending = pool.submit(self._send)
            log.info("ready", extra=self._settings.said())
            try:
                for look in what_is_seen:
                    shots = self._look(look)
                    self._keep(shots)
                self._drain()
            except SourceError as error:
                self._deliver_what_goes(str(error))
                raise
            finally:
                self._stop.set()
            sending.result()

    def _look(self, look: Look) -> list[Shot]:
        match look:
            case Frame():
                self._say(up=True)
                return self._look_at(look)
            case Away() | Ended():
                self._say(up=False)
                return self._visits.end()

    def _look_at(self, frame: Frame) -> list[Shot]:
        with metrics.detect_seconds.labels(*self._camera_id).time():
            faces = self._find(frame.picture)
        metrics.frames.labels(*self._camera_id).inc()
        self._seen_at = time.monotonic()
        strict_bytes = self._settings.outbox_strict * self._settings.outbox_max_bytes
        self._visits.limit(to_one=self._outbox.waiting_bytes > strict_bytes)
        return self._visits.see(frame, faces)

    def _keep(self, shots: list[Shot]) -> None:
        for shot in shots:
            if self._outbox.add(shot):
                self._client.wake()

    def _send(self) -> None:
        """Move captures on until `stop`; set it if that fails."""
        delivery = Delivery(self._outbox, self._settings.window)
        qos = int(self._settings.qos)
        try:
            while not self._stop.is_set():
                event = self._client.next(0.2)
                for message in delivery.step(event, time.monotonic()):
                    self._client.publish(message, qos)
                if isinstance(event, Message):
                    self._client.ack(event)
                if event is None:
                    self._outbox.scrub()
        finally:
            self._stop.set()

    def _drain(self) -> None:
        event = "stopping" if self._stop.is_set() else "source ended"
        facts = {"camera": self._camera_id.camera, "captured": self._outbox.last_seq}
        log.info(event, extra=facts)
        while self._outbox.waiting and not self._stop.wait(0.1):
            self._seen_at = time.monotonic()

    def _deliver_what_goes(self, reason: str) -> None:
        """The camera is gone, what waits is not: go on for as long as receipts come."""
        waiting = self._outbox.waiting
        facts = {"camera": self._camera_id.camera, "reason": reason, "waiting": waiting}
        log.error("camera gone", extra=facts)
        moved_at = time.monotonic()
        while self._outbox.waiting and time.monotonic() < moved_at + STALLED_S:
            if self._outbox.waiting != waiting:
                waiting = self._outbox.waiting
                moved_at = time.monotonic()
            if self._stop.wait(0.1):
                return

    def _say(self, *, up: bool) -> None:
        news = self._status.note(up=up)
        if news:
            self._client.publish(news, qos=0)

    def _missing(self) -> str:
        if time.monotonic() - self._seen_at > STALE_S:
            return "no fresh frame"
        return "" if self._client.up else "no broker"


def main() -> None:
    """The detector of one camera, as its settings say."""
    settings = Settings.load()
    stop = stopping()
    faces = Faces(
        model_path(settings.model),
        width=settings.detect_width,
        score=settings.score,
        min_face=settings.min_face,
    )
    outbox = Outbox(
        settings.outbox,
        CameraId(settings.edge, settings.camera),
        budget=settings.outbox_max_bytes,
        full=settings.outbox_full,
    )
    with closing(outbox):
        detector = Detector(
            settings,
            find=faces.find,
            visits=Visits(settings),
            outbox=outbox,
            stop=stop,
        )
        detector.run(looks(settings, stop))


if __name__ == "__main__":
    main()
