"""Run the processor: python -m processor."""

import gc
import logging
import os
import sys
import threading
from contextlib import closing, suppress

from botocore.exceptions import BotoCoreError

from bus import metrics
from bus.client import Client, stopping
from bus.log import log
from bus.topics import CAPTURES
from processor.intake import Intake
from processor.settings import Settings
from processor.store import Store
from processor.trouble import StoppedError

# Settings of older versions, which shared a broker's captures among several processors.
GONE = ("GROUP", "CLIENT_ID")
ONE_EACH = "a broker has one processor: run more cells, or unset it"
PROCESSOR = "processor"  # its client id


def run(settings: Settings, store: Store, stop: threading.Event) -> None:
    """Store what comes; the bucket is there before the first message is taken."""
    client = Client(
        settings,
        client_id=PROCESSOR,
        topics=[f"{CAPTURES}/#"],
        queue_size=8,  # each of up to a packet's size; they are sorted at once
    )
    with closing(client):
        intake = Intake(client, store, threads=settings.upload_threads, stop=stop)

        def missing() -> str:
            if not store.checked:
                return store.trouble.text or "the store has not answered yet"
            return store.trouble.wedged() or intake.hangs() or ("" if client.up else "no broker")

        metrics.serve(settings, missing, hangs=intake.hangs, trouble=lambda: store.trouble.text)
        log.info("starting", extra=settings.said())
        with suppress(StoppedError):
            store.check()
            gc.freeze()  # what is there now stays: to look at it again and again costs a fifth
            log.info("ready", extra={"bucket": settings.bucket})
            intake.run()


def main() -> None:
    """The processor of one bucket, as its settings say."""
    logging.getLogger("botocore").setLevel(logging.WARNING)
    settings = Settings.load()
    for name in GONE:
        if os.environ.get(name):
            log.warning("setting ignored", extra={"setting": name, "reason": ONE_EACH})
    stop = stopping()
    try:
        store = Store(settings, stop)
    except (BotoCoreError, ValueError) as error:
        sys.exit(f"S3_ENDPOINT_URL, S3_REGION or AWS_*: {error}")
    run(settings, store, stop)


if __name__ == "__main__":
    main()
