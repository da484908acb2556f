"""Run the processor: python -m processor."""

import logging
import sys
from contextlib import closing, suppress

from botocore.exceptions import BotoCoreError

from bus import metrics
from bus.client import Client, stopping
from bus.log import log
from bus.topics import CAPTURES
from processor.intake import Intake
from processor.settings import Settings
from processor.store import StoppedError, Store


def main(settings: Settings) -> None:
    """Store what comes; the bucket is there before the first message is taken."""
    stop = stopping()
    try:
        store = Store(settings, stop)
    except (BotoCoreError, ValueError) as error:
        sys.exit(f"S3_ENDPOINT_URL, S3_REGION or AWS_*: {error}")
    topic = f"$share/{settings.group}/{CAPTURES}/#" if settings.group else f"{CAPTURES}/#"
    # The store may be away for hours; the broker holds what we do not read.
    with closing(Client(settings, settings.client_id, [topic], slow=True)) as client:
        metrics.serve(settings, lambda: store.ask() or ("" if client.up else "no broker"))
        log.info("starting", extra=settings.said())
        with suppress(StoppedError):
            store.check()
            log.info("ready", extra={"bucket": settings.bucket})
            Intake(client, store, settings.upload_threads, stop).run()


if __name__ == "__main__":
    logging.getLogger("botocore").setLevel(logging.WARNING)
    main(Settings.load())
