"""The short way of a put is the client's: same object, same errors, same place."""

import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import botocore.session
import pytest
from botocore.client import Config
from botocore.credentials import RefreshableCredentials
from botocore.exceptions import BotoCoreError, ClientError

from demo.stack import BUCKET, Stack
from processor.put import Put, StoreObject
from processor.settings import Settings
from processor.store import Store

HASH = "LCa0a2j/xo/5m0U8HTBBNBNCLXBkg7+g+YpeiGJm564="  # of b"foo"


def thing(key: str, *, body: bytes = b"foo", metadata: dict[str, str] | None = None) -> StoreObject:
    return StoreObject(key, body, "image/png", metadata or {}, HASH)


class Answers:
    """What a server of HTTP says next, and what it was asked: (host, path, headers, body)."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []
        self.next: list[tuple[int, dict[str, str], bytes]] = []
        answers = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_PUT(self) -> None:
                answers.answer(self)

            do_GET = do_HEAD = do_PUT

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.asked.append((headers["host"], request.path, headers, body))
        status, more, text = self.next.pop(0) if self.next else (200, {}, b"")
        request.send_response(status)
        if request.command == "PUT" and status == 200:
            request.send_header("x-amz-checksum-sha256", headers.get("x-amz-checksum-sha256", ""))
        for name, value in more.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(text)))
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(text)

    def fail(self, status: int, code: str, **headers: str) -> None:
        text = f"<Error><Code>{code}</Code><Message>so</Message></Error>"
        self.next.append((status, headers, text.encode()))


@pytest.fixture
def answers() -> Iterator[Answers]:
    answers = Answers()
    threading.Thread(target=answers.server.serve_forever, daemon=True).start()
    yield answers
    answers.server.shutdown()
    answers.server.server_close()


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")


def put_to(url: str | None, *, region: str = "eu-central-1", style: str = "path") -> Put:
    session = botocore.session.Session()
    client = boto3.session.Session(botocore_session=session).client(
        "s3",
        region,
        endpoint_url=url,
        config=Config(s3={"addressing_style": style}, retries={"total_max_attempts": 1}),
    )
    return Put(client, session, bucket="faces", connections=2)


def scope(asked: tuple[str, str, dict[str, str], bytes]) -> str:
    """For which region a request was signed."""
    return asked[2]["authorization"].split("/")[2]


def is_clients(asked: tuple[str, str, dict[str, str], bytes]) -> bool:
    """Whether the client itself sent it; it numbers its calls."""
    return "amz-sdk-invocation-id" in asked[2]


def test_the_short_way_puts_the_same_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metadata = {"edge": "edge-1", "box": "1,2,3,4", "reason": "a%20b  c~'", "visit": "*"}
    with Stack(tmp_path) as stack:
        stack.start("store")
        s3 = stack.s3()
        s3.create_bucket(Bucket=BUCKET)
        for name, value in stack.keys.items():
            monkeypatch.setenv(name, value)
        put = put_to(stack.s3_url, region="us-east-1")
        keys = ["first/1.png", "second/2 +%~.png"]
        assert [put(thing(key, metadata=metadata)) for key in keys] == [HASH, HASH]
        first, second = [
            s3.get_object(Bucket=BUCKET, Key=key, ChecksumMode="ENABLED") for key in keys
        ]
        for found in (first, second):
            assert found["Body"].read() == b"foo"
            assert found["ContentType"] == "image/png"
            assert found["ChecksumSHA256"] == HASH
        assert first["Metadata"] == second["Metadata"]
        with pytest.raises(ClientError) as raised:
            put(thing(keys[1]))
        assert raised.value.response["Error"]["Code"] == "PreconditionFailed"
        with pytest.raises(ClientError) as raised:
            put(thing("third", body=b"bar"))
        assert raised.value.response["Error"]["Code"] == "BadDigest"


@pytest.mark.parametrize("style", ["path", "virtual"])
def test_objects_are_addressed_as_the_client_does(
    answers: Answers, style: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", answers.url)  # so that any name leads there
    put = put_to("http://s3.example.com", style=style)
    for key in ("a/1", "a/2"):
        put(thing(key))
    clients, ours = answers.asked
    assert is_clients(clients)
    assert not is_clients(ours)
    assert ours[:2] == (clients[0], clients[1].removesuffix("1") + "2")
    host = "faces.s3.example.com" if style == "virtual" else "s3.example.com"
    assert ours[0] == host
    for name in ("content-type", "if-none-match", "x-amz-checksum-sha256", "user-agent"):
        assert ours[2][name].split(" md/")[0] == clients[2][name].split(" md/")[0]


def test_session_tokens_are_sent_and_signed(
    answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    put = put_to(answers.url)
    for key in ("1", "2"):
        put(thing(key))
    assert [asked[2]["x-amz-security-token"] for asked in answers.asked] == ["token", "token"]
    assert "x-amz-security-token" in answers.asked[1][2]["authorization"]


def test_keys_of_a_role_are_fetched_anew_before_they_end(answers: Answers) -> None:
    def keys(name: str, end: str) -> dict[str, str]:
        return {"access_key": name, "secret_key": "b", "token": "t", "expiry_time": end}

    put = put_to(answers.url)
    put(thing("1"))
    put._credentials = RefreshableCredentials.create_from_metadata(
        keys("old", "2020-01-01T00:00:00Z"),
        refresh_using=lambda: keys("new", "2100-01-01T00:00:00Z"),
        method="test",
    )
    put(thing("2"))
    assert "Credential=new/" in answers.asked[1][2]["authorization"]


def test_another_region_is_learnt_from_the_client(answers: Answers) -> None:
    put = put_to(answers.url)
    for key in ("1", "2"):
        put(thing(key))
    headers = {"x-amz-bucket-region": "ap-south-1"}
    answers.fail(301, "PermanentRedirect", **headers)  # to us
    answers.fail(301, "PermanentRedirect", **headers)  # to the client, which tries again by itself
    assert put(thing("3")) == HASH
    assert put(thing("4")) == HASH
    assert [scope(asked) for asked in answers.asked[-2:]] == ["ap-south-1", "ap-south-1"]
    assert not is_clients(answers.asked[-1])


@pytest.mark.parametrize(
    ("status", "code"),
    [(503, "SlowDown"), (500, "InternalError"), (403, "AccessDenied"), (409, "OperationAborted")],
)
def test_an_error_is_the_clients_own(answers: Answers, status: int, code: str) -> None:
    put = put_to(answers.url)
    put(thing("1"))
    errors = []
    for call in (put, put._by_client):
        answers.fail(status, code)
        with pytest.raises(ClientError) as raised:
            call(thing("2"))
        errors.append(raised.value)
    ours, clients = errors
    assert str(ours) == str(clients).replace(" (reached max retries: 0)", "")
    assert ours.response["Error"] == clients.response["Error"]
    statuses = [error.response["ResponseMetadata"]["HTTPStatusCode"] for error in errors]
    assert statuses == [status, status]


@pytest.mark.parametrize("status", [202, 204])
def test_a_yes_of_another_kind_is_a_yes_without_a_checksum(answers: Answers, status: int) -> None:
    put = put_to(answers.url)
    put(thing("1"))
    answers.next.append((status, {}, b""))
    assert put(thing("2")) == ""


@pytest.mark.parametrize("status", [300, 304, 400, 418, 599])
def test_an_answer_without_a_word_is_an_error_of_the_client(answers: Answers, status: int) -> None:
    put = put_to(answers.url)
    put(thing("1"))
    answers.next += [(status, {}, b"")] * 2
    with suppress(ClientError, BotoCoreError):
        put(thing("2"))


def test_a_clock_that_is_wrong_is_for_the_client_to_say(answers: Answers) -> None:
    put = put_to(answers.url)
    put(thing("1"))
    for _ in range(2):
        answers.fail(403, "RequestTimeTooSkewed")
    with pytest.raises(ClientError, match="RequestTimeTooSkewed"):
        put(thing("2"))
    assert is_clients(answers.asked[-1])


@pytest.mark.parametrize("value", ["\u00e4", "a\nb: c", "\x7f"])
def test_what_is_no_word_of_http_is_left_to_the_client(answers: Answers, value: str) -> None:
    put = put_to(answers.url)
    put(thing("1"))
    with suppress(BotoCoreError):
        put(thing("2", metadata={"reason": value}))
    assert all(is_clients(asked) for asked in answers.asked)


class Composite(Answers):
    """A store that has the object, and calls its checksum one of several parts."""

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        if request.command == "PUT":
            self.fail(412, "PreconditionFailed")
        else:
            headers = {"x-amz-checksum-sha256": "abc-3"} if request.command == "HEAD" else {}
            self.next.append((200, headers, b"foo"))
        super().answer(request)


def test_a_checksum_of_another_kind_is_not_another_object() -> None:
    answers = Composite()
    threading.Thread(target=answers.server.serve_forever, daemon=True).start()
    settings: Any = Settings(bucket="faces", s3_endpoint_url=answers.url, broker_host="-")
    store = Store(settings, threading.Event())
    assert store._put(thing("1")) is False
    answers.server.shutdown()
    answers.server.server_close()
