"""Run the detector: python -m detector."""

import logging
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import takewhile

import bus.log
from bus import metrics
from bus.client import Client, stopping
from bus.topics import LINK, RECEIPTS, topic
from detector.camera import SourceError, frames
from detector.courier import carry
from detector.faces import Faces, ModelError, crop, model_path
from detector.outbox import Outbox, OutboxError
from detector.publisher import Publisher
from detector.settings import Settings
from detector.visits import every

log = logging.getLogger("detector")
STALE = 30.0  # s without a frame after which the detector is not ready


def main(settings: Settings) -> None:
    """Look at every frame that is due, keep its faces; at the source's end wait until the outbox is empty."""
    stop, names, seen_at = stopping(), (settings.edge, settings.camera), time.monotonic()
    find = Faces(model_path(settings.model), settings.detect_width, settings.score, settings.min_face).find
    outbox = Outbox(settings.outbox, *names, settings.outbox_max_bytes, settings.outbox_full)
    metrics.waiting.labels(*names).set_function(lambda: outbox.waiting)
    metrics.oldest_waiting.labels(*names).set_function(outbox.age)
    topics = [topic(RECEIPTS, *names), f"{LINK}/+/state"]
    with closing(outbox), closing(Client(settings, f"detector-{settings.camera}", topics)) as client:
        stale = "no fresh frame"
        metrics.serve(
            settings, lambda: stale if time.monotonic() - seen_at > STALE else "" if client.up else "no broker"
        )
        with ThreadPoolExecutor(1) as pool:
            publisher = Publisher(outbox, settings.window)
            sending = pool.submit(carry, client, publisher, int(settings.qos), stop)
            log.info("ready", extra=settings.said())
            try:
                for frame in takewhile(lambda _: not stop.is_set(), frames(settings, stop)):
                    with metrics.detect_seconds.labels(*names).time():
                        faces = find(frame.picture)
                    metrics.frames.labels(*names).inc()
                    seen_at = time.monotonic()
                    for facts in every(frame, faces):
                        if outbox.add(crop(frame.picture, facts["box"], settings.margin), **facts):
                            client.wake()
                log.info(
                    "stopping" if stop.is_set() else "source ended",
                    extra={"camera": settings.camera, "captured": outbox.last_seq},
                )
                while outbox.waiting and not stop.wait(0.1):
                    seen_at = time.monotonic()
            finally:
                stop.set()
        sending.result()


if __name__ == "__main__":
    chosen = Settings.load()
    bus.log.setup(chosen.log_level)
    try:
        main(chosen)
    except (SourceError, ModelError, OutboxError) as error:
        sys.exit(str(error))
