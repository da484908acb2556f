"""The bucket: puts that can be repeated, and the difference between not now and no."""

import base64
import hashlib
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import boto3
import tenacity
from botocore.client import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    HTTPClientError,
    IncompleteReadError,
)

from bus.capture import Capture
from bus.log import log
from bus.message import Message
from bus.topics import quarantine_key
from processor.settings import Settings

T = TypeVar("T")

NO, AWAY = "store says no", "store not there"

_PASSING = {
    "BadDigest",
    "ConditionalRequestConflict",
    "RequestTimeout",
}  # refusals that a second try may not meet


class StoppedError(Exception):
    """The process is ending before the store has answered; the message is not acknowledged."""


class HollowError(BotoCoreError):  # type: ignore[misc]
    """The store says that it has the object, and has not."""

    fmt = "the store took the object, but what it gives back is something else"


class UnlikeError(Exception):
    """The key holds other bytes than those that were to be put."""


def _kind(error: BaseException | None) -> str:
    """Whether the store refuses us (credentials, bucket, rights), or fails or is away."""
    if isinstance(error, ClientError):
        status = error.response["ResponseMetadata"].get("HTTPStatusCode", 500)
        return (
            AWAY
            if status >= 500 or status in (408, 429) or error.response["Error"]["Code"] in _PASSING
            else NO
        )
    return (
        AWAY if isinstance(error, (ConnectionError, HTTPClientError, IncompleteReadError)) else NO
    )


class Store:
    """A bucket. Every call goes on, with back-off and jitter, until the store answers or `stop` is set.

    `trouble` is empty, or one line that says what is wrong with the store now.
    """

    def __init__(self, settings: Settings, stop: threading.Event) -> None:
        self._settings, self._stop = settings, stop
        self._bucket, self.trouble = settings.bucket, ""
        self._connect()

    def _connect(self) -> None:
        """Make a client anew: credentials that were mended since are found only so."""
        endpoint, region = self._settings.s3_endpoint_url, self._settings.s3_region
        limits = Config(
            connect_timeout=5, read_timeout=30, max_pool_connections=self._settings.upload_threads
        )
        # It is we who retry, and say so.
        once = Config(
            retries={"total_max_attempts": 1}, s3={"addressing_style": "path"} if endpoint else {}
        )
        self._connected_at = time.monotonic()
        self._s3: Any = boto3.session.Session().client(
            "s3", region, endpoint_url=endpoint, config=limits.merge(once)
        )

    def check(self) -> None:
        """Wait until the bucket is there and ours; make it if CREATE_BUCKET says so."""
        self._patiently(self._check)

    def ask(self) -> str:
        """One line about what is wrong with the store at this moment, or nothing."""
        try:
            self._s3.head_bucket(Bucket=self._bucket)
        except (ClientError, BotoCoreError) as error:
            return f"{_kind(error)}: {error}"
        return self.trouble

    def _check(self) -> None:
        try:
            self._s3.head_bucket(Bucket=self._bucket)
        except ClientError as error:
            if (
                error.response["Error"]["Code"] not in ("404", "NoSuchBucket")
                or not self._settings.create_bucket
            ):
                raise
            self._s3.create_bucket(Bucket=self._bucket)
            log.info("bucket made", extra={"bucket": self._bucket})

    def put(self, capture: Capture) -> bool:
        """Store a capture under its key; False if it was there already. Raises UnlikeError, StoppedError."""
        metadata = {"edge": capture.edge, "camera": capture.camera, **capture.facts()}
        return self._patiently(lambda: self._put(capture.key, capture.png, "image/png", metadata))

    def quarantine(self, message: Message, reason: str) -> str:
        """Store a bad message out of the way and return its key. Raises StoppedError."""
        key = quarantine_key(
            message.topic, hashlib.sha256(message.payload).hexdigest(), datetime.now(UTC)
        )
        metadata = {
            "reason": quote(reason[:200], safe=" :,'-"),
            "topic": quote(message.topic)[:400],
        }
        metadata["facts"] = urlencode(message.properties)[:900]  # S3 takes 2 KB of metadata
        with suppress(UnlikeError):
            self._patiently(
                lambda: self._put(key, message.payload, "application/octet-stream", metadata)
            )
        return key

    def _put(self, key: str, body: bytes, kind: str, metadata: dict[str, str]) -> bool:
        checksum, new = base64.b64encode(hashlib.sha256(body).digest()).decode(), True
        content = {
            "Body": body,
            "ContentType": kind,
            "Metadata": metadata,
            "ChecksumSHA256": checksum,
        }
        place = {"Bucket": self._bucket, "Key": key}
        try:
            if (
                self._s3.put_object(**place, **content, IfNoneMatch="*").get("ChecksumSHA256")
                == checksum
            ):
                return True
        except ClientError as error:
            if error.response["Error"]["Code"] not in ("PreconditionFailed", "412"):
                raise
            new = False
        # Whoever says 200 without the checksum may be no store at all: what counts is what is there.
        if self._s3.get_object(**place)["Body"].read() == body:
            return new
        raise HollowError() if new else UnlikeError("key: holds other bytes already")

    def _patiently(self, call: Callable[[], T]) -> T:
        stop, sleep = (
            tenacity.stop_when_event_set(self._stop),
            tenacity.sleep_using_event(self._stop),
        )
        wait = tenacity.wait_exponential_jitter(initial=0.2, max=10, jitter=1)
        retry = tenacity.retry_if_exception_type((ClientError, BotoCoreError))
        trying = tenacity.Retrying(
            sleep,
            stop,
            wait,
            retry,
            before_sleep=self._complain,
            retry_error_cls=StoppedError,  # type: ignore[arg-type]
        )
        result = trying(call)
        self.trouble = ""
        return result

    def _complain(self, state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        kind = _kind(error)
        self.trouble = f"{kind}: {error}"
        facts = {"bucket": self._bucket, "reason": str(error), "try": state.attempt_number}
        (log.error if kind == NO else log.warning)(kind, extra=facts)
        # A client is too dear for every try of each thread.
        if kind == NO and time.monotonic() > self._connected_at + 10:
            with suppress(BotoCoreError, ValueError):
                self._connect()
