"""The bucket: puts that can be repeated."""

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
import botocore.session
import tenacity
from botocore.client import Config
from botocore.exceptions import BotoCoreError, ClientError

from bus.capture import CONTENT_TYPE, Capture
from bus.log import log
from bus.message import Message
from bus.topics import quarantine_key
from processor.put import CONNECT_TIMEOUT_S, EXISTS, READ_TIMEOUT_S, Put, StoreObject
from processor.settings import Settings
from processor.trouble import (
    NO,
    HollowError,
    RefusedError,
    StoppedError,
    Trouble,
    UnlikeError,
    code,
    kind,
)

T = TypeVar("T")

FIRST_PAUSE_S = 0.2  # before a second try
LONGEST_PAUSE_S = 10
JITTER_S = 1
OBJECT_TRIES = 3  # with one object that is refused, while the store takes others
PROBE_KEY = "quarantine/probe"
RECONNECT_AFTER_S = 10  # a client is too dear for every try of each thread

# S3 takes 2 KB of metadata.
_REASON_LENGTH = 200
_TOPIC_LENGTH = 400
_FACTS_LENGTH = 900


class Store:
    """A bucket. Every call goes on, with back-off and jitter, until the store answers or `stop`.

    `trouble` is what is wrong with the store now; `checked` says that all was well with it once.
    """

    def __init__(self, settings: Settings, stop: threading.Event) -> None:
        self.trouble = Trouble()
        self.checked = False
        self._settings = settings
        self._bucket = settings.bucket
        self._stop = stop
        self._connect()

    def _connect(self) -> None:
        """Make a client anew: credentials that were mended since are found only so."""
        self._connected_at = time.monotonic()
        session = botocore.session.Session()
        self._s3: Any = boto3.session.Session(botocore_session=session).client(
            "s3",
            self._settings.s3_region,
            endpoint_url=self._settings.s3_endpoint_url,
            config=_config(self._settings),
        )
        self._put_object = Put(
            self._s3, session, bucket=self._bucket, connections=self._settings.upload_threads
        )

    def check(self) -> None:
        """Wait until the bucket is there and ours; make it if CREATE_BUCKET says so.

        A store that does not know conditional puts is told of loudly.
        """
        self._patiently(self._check)
        self._patiently(self._probe)
        self.checked = True
        if self._patiently(self._probe):
            log.error(
                "store ignores If-None-Match",
                extra={
                    "bucket": self._bucket,
                    "reason": "second copies will be second versions: use another store",
                },
            )

    def put(self, capture: Capture) -> bool:
        """Store a capture under its key; False if it was there already.

        Raises UnlikeError, RefusedError, StoppedError.
        """
        face = StoreObject(
            key=capture.key,
            body=capture.png,
            content_type=CONTENT_TYPE,
            metadata={"edge": capture.edge, "camera": capture.camera, **capture.facts()},
            sha256=base64.b64encode(bytes.fromhex(capture.sha256)).decode(),
        )
        return self._patiently(lambda: self._put(face), of=face.key)

    def quarantine(self, message: Message, reason: str) -> str:
        """Store a bad message out of the way and return its key.

        Raises RefusedError, StoppedError.
        """
        facts = urlencode(message.properties)
        sha256 = hashlib.sha256(facts.encode() + b"\0" + message.payload).hexdigest()
        bad = StoreObject(
            key=quarantine_key(message.topic, sha256, datetime.now(UTC)),
            body=message.payload,
            content_type="application/octet-stream",
            metadata={
                "reason": quote(reason[:_REASON_LENGTH], safe=" :,'-"),
                "topic": quote(message.topic)[:_TOPIC_LENGTH],
                "facts": facts[:_FACTS_LENGTH],
            },
            sha256=base64.b64encode(hashlib.sha256(message.payload).digest()).decode(),
        )
        with suppress(UnlikeError):
            self._patiently(lambda: self._put(bad), of=bad.key)
        return bad.key

    def _check(self) -> None:
        try:
            self._s3.head_bucket(Bucket=self._bucket)
        except ClientError as error:
            absent = code(error) in ("404", "NoSuchBucket")
            if not absent or not self._settings.create_bucket:
                raise
            self._s3.create_bucket(Bucket=self._bucket)
            log.info("bucket made", extra={"bucket": self._bucket})

    def _put(self, new: StoreObject) -> bool:
        try:
            echoed = self._put_object(new)
        except ClientError as error:
            if code(error) not in EXISTS:
                raise
            if not self._has(new):
                raise UnlikeError("key: holds other bytes already") from None
            return False
        # Whoever says 200 without the checksum may be no store at all: look what is there.
        if echoed != new.sha256 and not self._holds(new):
            raise HollowError()
        return True

    def _probe(self) -> bool:
        """Put an object under a condition; False if it was there already, as it should be."""
        try:
            self._s3.put_object(Bucket=self._bucket, Key=PROBE_KEY, Body=b"", IfNoneMatch="*")
        except ClientError as error:
            if code(error) not in EXISTS:
                raise
            return False
        return True

    def _takes_others(self) -> bool:
        """Whether the store takes puts now."""
        try:
            self._probe()
        except (ClientError, BotoCoreError):
            return False
        return True

    def _has(self, there: StoreObject) -> bool:
        """Whether the very bytes are there, by the store's own checksum, or by reading them."""
        found = self._s3.head_object(Bucket=self._bucket, Key=there.key, ChecksumMode="ENABLED")
        checksum = found.get("ChecksumSHA256", "")
        if not _is_sha256(checksum):
            return self._holds(there)
        return bool(checksum == there.sha256 and found["ContentLength"] == len(there.body))

    def _holds(self, there: StoreObject) -> bool:
        """Whether the store gives back the very bytes."""
        found = self._s3.get_object(Bucket=self._bucket, Key=there.key)
        return bool(found["Body"].read() == there.body)

    def _patiently(self, call: Callable[[], T], of: str = "") -> T:
        """What the store answers at last; a call `of` one object is given up if it alone fails."""
        trying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type((ClientError, BotoCoreError)),
            wait=tenacity.wait_exponential_jitter(
                initial=FIRST_PAUSE_S, max=LONGEST_PAUSE_S, jitter=JITTER_S
            ),
            stop=tenacity.stop_when_event_set(self._stop),
            sleep=tenacity.sleep_using_event(self._stop),
            before_sleep=lambda state: self._complain(state, of),
            retry_error_cls=StoppedError,  # type: ignore[arg-type]
        )
        try:
            return trying(call)
        finally:
            self.trouble.over()

    def _complain(self, state: tenacity.RetryCallState, of: str) -> None:
        error = state.outcome.exception() if state.outcome else None
        trouble = kind(error)
        tried_enough = state.attempt_number >= OBJECT_TRIES
        if of and trouble == NO and tried_enough and self._takes_others():
            log.error("object refused", extra={"key": of, "reason": str(error)})
            raise RefusedError(str(error)) from None
        self.trouble.note(error)
        facts = {"bucket": self._bucket, "reason": str(error), "try": state.attempt_number}
        if trouble != NO:
            log.warning(trouble, extra=facts)
            return
        log.error(trouble, extra=facts)
        if time.monotonic() > self._connected_at + RECONNECT_AFTER_S:
            with suppress(BotoCoreError, ValueError):
                self._connect()


def _is_sha256(checksum: str) -> bool:
    """Whether this is a whole object's hash; an object of several parts has another kind."""
    try:
        return len(base64.b64decode(checksum, validate=True)) == hashlib.sha256().digest_size
    except ValueError:
        return False


def _config(settings: Settings) -> Config:
    addressing = {"addressing_style": "path"} if settings.s3_endpoint_url else {}
    return Config(
        connect_timeout=CONNECT_TIMEOUT_S,
        read_timeout=READ_TIMEOUT_S,
        max_pool_connections=settings.upload_threads,
        retries={"total_max_attempts": 1},  # it is we who retry, and say so
        s3=addressing,
    )
