"""The hot call: a put on condition that the key is free, by botocore's signer and connections.

The client's machinery around the two (models, hooks, endpoint rules, serialisers) costs more than
half of a put. So the first put is the client's own, which shows the way: address and region. What
follows goes the same way, and back to the client with every answer that asks for another one.
"""

import base64
import os
import re
import socket
import threading
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import botocore.session
from botocore.auth import SIGNED_HEADERS_BLACKLIST, S3SigV4Auth
from botocore.awsrequest import AWSPreparedRequest, AWSRequest
from botocore.exceptions import ClientError
from botocore.httpsession import URLLib3Session
from botocore.parsers import RestXMLParser
from botocore.utils import get_environ_proxies

from processor.trouble import code

CONNECT_TIMEOUT_S = 5
READ_TIMEOUT_S = 30
EXISTS = ("PreconditionFailed", "412")

_CHECKSUM = "x-amz-checksum-sha256"
# Small packets leave at once; the kernel would hold back what follows a request's head for 40 ms.
_NO_DELAY = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]
_SCOPE = re.compile(r"AWS4-HMAC-SHA256 Credential=[^/]+/\d{8}/([\w-]+)/s3/aws4_request,")
# By which the client learns of another region, or tells the user that the clock is wrong.
_FOR_THE_CLIENT = {"AuthorizationHeaderMalformed", "RequestTimeTooSkewed"}


@dataclass(frozen=True, slots=True)
class StoreObject:
    """What is put under a key; `sha256` is the body's hash, as S3 writes it (base64)."""

    key: str
    body: bytes
    content_type: str
    metadata: dict[str, str]
    sha256: str


@dataclass(frozen=True, slots=True)
class _Way:
    """Where objects of the bucket are: the URL before a key, and the region to sign for."""

    url: str
    region: str

    @property
    def host(self) -> str:
        """The server's name, with its port if it is not the usual one."""
        return self.url.split("/")[2]


class _Auth(S3SigV4Auth):  # type: ignore[misc]
    """botocore's signer for headers of one value each, and a body whose hash is known."""

    def payload(self, request: AWSRequest) -> str:
        return str(request.context["sha256"])

    def headers_to_sign(self, request: AWSRequest) -> dict[str, str]:
        named = {name.lower(): text for name, text in request.headers.items()}
        return {name: named[name] for name in sorted(named.keys() - SIGNED_HEADERS_BLACKLIST)}

    def canonical_headers(self, headers_to_sign: dict[str, str]) -> str:
        lines = [f"{name}:{' '.join(text.split())}" for name, text in headers_to_sign.items()]
        return "\n".join(lines)

    def signed_headers(self, headers_to_sign: dict[str, str]) -> str:
        return ";".join(headers_to_sign)


class Put:
    """Puts objects into a bucket by `client`, and the short way once it has shown it."""

    def __init__(
        self,
        client: Any,
        session: botocore.session.Session,
        *,
        bucket: str,
        connections: int,
    ) -> None:
        self._client = client
        self._bucket = bucket
        self._credentials = session.get_credentials()
        self._way: _Way | None = None
        self._seen = threading.local()  # the request that this thread's call of the client sent
        client.meta.events.register("before-send.s3.PutObject", self._see)
        verify = session.get_config_variable("ca_bundle")
        self._http = URLLib3Session(
            verify=verify or os.environ.get("REQUESTS_CA_BUNDLE", True),
            proxies=get_environ_proxies(client.meta.endpoint_url),
            timeout=(CONNECT_TIMEOUT_S, READ_TIMEOUT_S),
            max_pool_connections=connections,
            socket_options=_NO_DELAY,
        )
        self._parser = RestXMLParser()

    def __call__(self, new: StoreObject) -> str:
        """Put an object; returns the SHA-256 that the store says it has, or nothing.

        Raises ClientError, with one of EXISTS as its code where the key is taken, and
        BotoCoreError.
        """
        way = self._way
        if not way or not _is_plain(new):
            return self._by_client(new)
        answer = self._http.send(self._request(way, new))
        if answer.status_code < HTTPStatus.MULTIPLE_CHOICES:
            return str(answer.headers.get(_CHECKSUM, ""))
        error = ClientError(self._told(answer), "PutObject")
        is_sent_on = answer.status_code < HTTPStatus.BAD_REQUEST
        if is_sent_on or code(error) in _FOR_THE_CLIENT:
            self._way = None
            return self._by_client(new)
        raise error

    def _by_client(self, new: StoreObject) -> str:
        try:
            answer = self._client.put_object(
                Bucket=self._bucket,
                Key=new.key,
                Body=new.body,
                ContentType=new.content_type,
                Metadata=new.metadata,
                ChecksumSHA256=new.sha256,
                IfNoneMatch="*",
            )
        except ClientError as error:
            if code(error) in EXISTS:
                self._learn(new.key)
            raise
        self._learn(new.key)
        return str(answer.get("ChecksumSHA256", ""))

    def _see(self, request: Any, **_: Any) -> None:
        self._seen.request = request

    def _learn(self, key: str) -> None:
        """Take the way of the request that has just been answered."""
        request = self._seen.request
        self._seen.request = None  # it holds the body
        authorization = request.headers.get("Authorization", b"")
        if isinstance(authorization, bytes):
            authorization = authorization.decode()
        scope = _SCOPE.match(authorization)
        path = _quoted(key)
        if scope and request.url.endswith(path):
            self._way = _Way(request.url.removesuffix(path), scope[1])

    def _request(self, way: _Way, new: StoreObject) -> AWSPreparedRequest:
        headers = {
            "Host": way.host,
            "Content-Length": str(len(new.body)),
            "Content-Type": new.content_type,
            "If-None-Match": "*",
            "User-Agent": self._client.meta.config.user_agent,
            _CHECKSUM: new.sha256,
        }
        for name, value in new.metadata.items():
            headers[f"x-amz-meta-{name}"] = value
        request = AWSRequest("PUT", way.url + _quoted(new.key))
        request.headers = headers  # botocore's own kind takes longer than the signature
        request.context["sha256"] = base64.b64decode(new.sha256).hex()
        # Frozen for one request; a role's are fetched anew here when they are about to end.
        credentials = self._credentials.get_frozen_credentials()
        _Auth(credentials, "s3", way.region).add_auth(request)
        return AWSPreparedRequest("PUT", request.url, headers, new.body, stream_output=False)

    def _told(self, answer: Any) -> dict[str, Any]:
        """What the store says, as the client would give it."""
        told = {
            "status_code": answer.status_code,
            "headers": answer.headers,
            "body": answer.content,
        }
        said: dict[str, Any] = self._parser.parse(told, None)
        return said


def _quoted(key: str) -> str:
    return "/" + quote(key, safe="/~")


def _is_plain(new: StoreObject) -> bool:
    """Whether the metadata are words of HTTP; what the client says of others is for it to say."""
    return all(value.isascii() and value.isprintable() for value in new.metadata.values())
