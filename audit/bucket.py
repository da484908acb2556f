"""A bucket as an auditor sees it: names, keys and bytes, page by page, never all at once."""

import hashlib
import re
from collections.abc import Iterator
from typing import Any

import boto3
from botocore.client import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
)
from tenacity import retry, retry_if_exception_type, stop_after_attempt

READERS = 8  # objects that are read at the same time

_CHUNK_BYTES = 1 << 16
_SEQ = re.compile(r"Z-(\d{9})\.png$")
_ABSENT = {"NoSuchKey", "404", "NotFound"}
_NO_VERSIONS = {403, 405, 501}  # the call is not allowed, or not known here
_UNREAL = {
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "InvalidToken",
    "ExpiredToken",
    "InvalidSecurity",
}


def client(endpoint: str | None) -> Any:
    """A client of the store at `endpoint`, or of AWS S3; raises ValueError or BotoCoreError."""
    config = Config(
        connect_timeout=5,
        read_timeout=30,
        max_pool_connections=READERS + 2,
        retries={"mode": "standard", "total_max_attempts": 3},
    )
    return boto3.session.Session().client("s3", endpoint_url=endpoint, config=config)


def seq_of(key: str) -> int:
    """The seq in a face's key; 0, which no capture has, if it is no face's."""
    named = _SEQ.search(key)
    if not named:
        return 0
    return int(named[1])


class Bucket:
    """Reads one bucket; `notes` says so if it may have versions that cannot be listed."""

    def __init__(self, s3: Any, name: str) -> None:
        self._s3 = s3
        self._name = name
        self.notes: list[str] = []
        self._versioned = self._has_versions()

    def keys(self, prefix: str) -> Iterator[str]:
        """The keys of what is there now; one with more versions comes again, at once, for each."""
        if self._versioned:
            return self._keys_of_versions(prefix)
        return self._keys_of_objects(prefix)

    def names(self, prefix: str) -> Iterator[str]:
        """What follows `prefix` up to the next slash, each once."""
        for page in self._pages("list_objects_v2", Prefix=prefix, Delimiter="/"):
            for item in page.get("CommonPrefixes", ()):
                yield item["Prefix"].removeprefix(prefix).removesuffix("/")

    def has(self, key: str) -> bool:
        """Whether an object is there."""
        try:
            self._s3.head_object(Bucket=self._name, Key=key)
        except ClientError as error:
            if error.response["Error"]["Code"] not in _ABSENT:
                raise
            return False
        return True

    @retry(  # type: ignore[untyped-decorator, unused-ignore]
        retry=retry_if_exception_type((ConnectionError, HTTPClientError, IncompleteReadError)),
        stop=stop_after_attempt(3),
        reraise=True,
    )
    def sha256(self, key: str) -> str | None:
        """The hash of an object's bytes; None if it is not there."""
        try:
            body = self._s3.get_object(Bucket=self._name, Key=key)["Body"]
        except ClientError as error:
            if error.response["Error"]["Code"] not in _ABSENT:
                raise
            return None
        digest = hashlib.sha256()
        for chunk in body.iter_chunks(_CHUNK_BYTES):
            digest.update(chunk)
        return digest.hexdigest()

    def _has_versions(self) -> bool:
        """Whether it has, and shows, versions; to list them is a right of its own."""
        try:
            answer = self._s3.get_bucket_versioning(Bucket=self._name)
            if "Status" not in answer:
                return False
            self._s3.list_object_versions(Bucket=self._name, Prefix="faces/", MaxKeys=1)
        except ClientError as error:
            if error.response["ResponseMetadata"].get("HTTPStatusCode") not in _NO_VERSIONS:
                raise
            code = error.response["Error"]["Code"]
            self.notes.append(
                f"versions of objects cannot be listed ({code}): "
                "a key that was written twice would not be seen"
            )
            return False
        return True

    def _keys_of_objects(self, prefix: str) -> Iterator[str]:
        for page in self._pages("list_objects_v2", Prefix=prefix):
            for item in page.get("Contents", ()):
                yield item["Key"]

    def _keys_of_versions(self, prefix: str) -> Iterator[str]:
        """The newest version comes first; below a delete marker nothing is there."""
        current = ""
        for page in self._pages("list_object_versions", Prefix=prefix):
            for item in page.get("Versions", ()):
                if item["IsLatest"]:
                    current = item["Key"]
                if item["Key"] == current:
                    yield current

    def _pages(self, call: str, **options: Any) -> Iterator[dict[str, Any]]:
        return iter(self._s3.get_paginator(call).paginate(Bucket=self._name, **options))


def advice(error: Exception, bucket: str) -> str:
    """One line about what a store, or the way to it, did not do for us, and what to do next."""
    match error:
        case NoCredentialsError() | PartialCredentialsError():
            return (
                "no credentials for the store: "
                "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
            )
        case ParamValidationError():
            return f"'{bucket}' cannot be the name of a bucket: name it with --bucket"
        case ConnectionError() | HTTPClientError():
            return (
                f"the store is not there: see that it runs and that --endpoint is its URL ({error})"
            )
        case ClientError():
            return _refusal(error, bucket)
        case BotoCoreError():
            return f"the store: {error}"
        case _:
            return f"--endpoint or AWS_*: {error}"


def _refusal(error: ClientError, bucket: str) -> str:
    """The same about an answer of the store."""
    code = error.response["Error"]["Code"]
    if code == "NoSuchBucket":
        return f"the store has no bucket '{bucket}': name it with --bucket"
    if code in _UNREAL:
        return (
            f"the store does not know these credentials ({code}): "
            "see AWS_ACCESS_KEY_ID and the like"
        )
    if code in ("AccessDenied", "403"):
        return (
            f"these credentials may not read bucket '{bucket}' ({error}): "
            "they need ListBucket and GetObject"
        )
    return f"the store: {error}"
