"""Run the processor: python -m processor."""

import logging
import sys
import threading
from contextlib import closing, suppress

from botocore.exceptions import BotoCoreError

from bus import metrics
from bus.client import SESSION_EXPIRY_S, Client, stopping
from bus.log import log
from bus.topics import CAPTURES
from processor.intake import Intake
from processor.settings import Settings
from processor.store import Store
from processor.trouble import StoppedError


def run(settings: Settings, store: Store, stop: threading.Event) -> None:
    """Store what comes; the bucket is there before the first message is taken."""
    with closing(_connect(settings)) as client:
        intake = Intake(client, store, threads=settings.upload_threads, stop=stop)

        def missing() -> str:
            # A store that is away later is away for others too: edges are not sent to them then.
            trouble = "" if store.checked else store.ask()
            return trouble or ("" if client.up else "no broker")

        metrics.serve(settings, missing, hangs=intake.hangs, trouble=store.ask)
        log.info("starting", extra=settings.said())
        with suppress(StoppedError):
            store.check()
            log.info("ready", extra={"bucket": settings.bucket})
            intake.run()


def _connect(settings: Settings) -> Client:
    topics = f"{CAPTURES}/#"
    session_expiry_s = SESSION_EXPIRY_S
    if settings.group:
        topics = f"$share/{settings.group}/{topics}"
        # A session left behind would go on getting its share, though others could take it.
        session_expiry_s = 0
    return Client(
        settings,
        client_id=settings.client_id,
        topics=[topics],
        queue_size=8,  # each of up to a packet's size; they are sorted at once
        session_expiry_s=session_expiry_s,
    )


def main() -> None:
    """The processor of one bucket, as its settings say."""
    logging.getLogger("botocore").setLevel(logging.WARNING)
    settings = Settings.load()
    stop = stopping()
    try:
        store = Store(settings, stop)
    except (BotoCoreError, ValueError) as error:
        sys.exit(f"S3_ENDPOINT_URL, S3_REGION or AWS_*: {error}")
    run(settings, store, stop)


if __name__ == "__main__":
    main()
