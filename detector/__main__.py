"""Run the detector: python -m detector."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import chain, takewhile

from bus import metrics
from bus.client import Client, stopping
from bus.log import log
from bus.topics import LINK, RECEIPTS, topic
from detector.camera import frames
from detector.courier import carry
from detector.faces import Faces, model_path, png
from detector.outbox import Outbox
from detector.publisher import Publisher
from detector.settings import Settings
from detector.status import Status
from detector.visits import Visits

STALE = 30.0  # s without a frame after which the detector is not ready


def main(settings: Settings) -> None:
    """Look at every frame that is due, keep the best shots; at the source's end wait until the outbox is empty."""
    stop, names, seen_at = stopping(), (settings.edge, settings.camera), time.monotonic()
    find = Faces(
        model_path(settings.model), settings.detect_width, settings.score, settings.min_face
    ).find
    visits, status = Visits(settings), Status(settings)
    outbox = Outbox(settings.outbox, *names, settings.outbox_max_bytes, settings.outbox_full)
    metrics.waiting.labels(*names).set_function(lambda: outbox.waiting)
    metrics.oldest_waiting.labels(*names).set_function(outbox.age)
    topics = [topic(RECEIPTS, *names), f"{LINK}/+/state"]

    def missing() -> str:
        return (
            "no fresh frame"
            if time.monotonic() - seen_at > STALE
            else ""
            if client.up
            else "no broker"
        )

    client = Client(settings, f"detector-{settings.camera}", topics, will=status.message())
    with closing(outbox), closing(client):
        metrics.serve(settings, missing)
        with ThreadPoolExecutor(1) as pool:
            sending = pool.submit(
                carry, client, Publisher(outbox, settings.window), int(settings.qos), stop
            )
            log.info("ready", extra=settings.said())
            try:
                for frame in chain(
                    takewhile(lambda _: not stop.is_set(), frames(settings, stop)), [None]
                ):
                    if news := status.note(frame is not None):
                        client.publish(news, 0)
                    if frame:
                        with metrics.detect_seconds.labels(*names).time():
                            faces = find(frame.picture)
                        metrics.frames.labels(*names).inc()
                        seen_at = time.monotonic()
                        visits.strict(
                            outbox.waiting_bytes
                            > settings.outbox_strict * settings.outbox_max_bytes
                        )
                    for shot in visits.see(frame, faces) if frame else visits.end():
                        if outbox.add(png(shot.picture), **shot.facts):
                            client.wake()
                facts = {"camera": settings.camera, "captured": outbox.last_seq}
                log.info("stopping" if stop.is_set() else "source ended", extra=facts)
                while outbox.waiting and not stop.wait(0.1):
                    seen_at = time.monotonic()
            finally:
                stop.set()
        sending.result()


if __name__ == "__main__":
    main(Settings.load())
