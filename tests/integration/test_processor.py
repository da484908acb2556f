"""The processor as a process, between a real cloud broker and a real store."""

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl

import pytest

from bus.capture import MAX_PNG, Capture
from bus.message import Message
from bus.receipt import Receipt
from demo.stack import BUCKET, Stack, StackError
from tests.support import store
from tests.support.captures import capture, png
from tests.support.faulty_proxy import FaultyProxy
from tests.support.peer import Peer
from tests.support.waiting import until


def face_of(seq: int, size: int = 0) -> Capture:
    """A capture of which no other has the picture, of at least `size` bytes."""
    return capture(seq, png=png(filler=bytes(size) + str(seq).encode()))


class Cloud(Stack):
    """Cloud broker, store and processor, with this test in the place of edge-1."""

    def peer(self) -> Peer:
        return Peer(self.ports["cloud"], self.bundle("edge-1"), topics=("stored/edge-1/#",))

    def keys_below(self, prefix: str) -> list[str]:
        return store.keys(self.s3(), BUCKET, below=prefix)

    def quarantined(self, payload: bytes) -> dict[str, str]:
        """The metadata of a payload in quarantine, or nothing."""
        for key in self.keys_below("quarantine/edge-1/") + self.keys_below("quarantine/_/"):
            found = self.s3().get_object(Bucket=BUCKET, Key=key)
            metadata: dict[str, str] = found["Metadata"]
            if found["Body"].read() == payload:
                return metadata
        return {}

    def ready(self) -> str:
        """What /readyz says."""
        url = f"http://127.0.0.1:{self.ports['processor-metrics']}/readyz"
        try:
            with urllib.request.urlopen(url) as page:
                return str(page.read().decode())
        except urllib.error.HTTPError as error:
            return error.read().decode()

    def log(self) -> str:
        return (self.folder / "processor" / "log").read_text()

    def start_behind(self, port: int) -> None:
        """Start the processor with a store at another port."""
        self.set("processor", "S3_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        self.start("processor")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with Cloud(tmp_path_factory.mktemp("cloud")) as cloud:
        cloud.start("store", "cloud-broker", "processor")
        yield cloud


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Cloud]:
    """A cloud for a test that breaks it; nothing is started yet."""
    with Cloud(tmp_path) as cloud:
        yield cloud


def receipts(edge: Peer) -> list[Receipt]:
    return [Receipt.from_message(message) for message in edge.got]


def test_a_capture_is_stored_with_its_facts_and_answered(shared: Cloud) -> None:
    face = face_of(1)
    with shared.peer() as edge:
        edge.say(face.to_message(77))
        until(lambda: edge.got)
    got = shared.s3().get_object(Bucket=BUCKET, Key=face.key)
    assert got["Body"].read() == face.png
    assert got["ContentType"] == "image/png"
    assert got["Metadata"] == {"edge": "edge-1", "camera": "door", **face.facts()}
    (receipt,) = receipts(edge)
    assert (receipt.seq, receipt.sha256, receipt.tx) == (1, face.sha256, 77)
    assert (receipt.status, receipt.key) == ("stored", face.key)


def test_it_says_nothing_of_a_link_that_it_does_not_see(shared: Cloud) -> None:
    url = f"http://127.0.0.1:{shared.ports['processor-metrics']}/metrics"
    with urllib.request.urlopen(url) as page:
        lines = page.read().decode().splitlines()
    assert not [line for line in lines if line.startswith("facebridge_link_up")]


def test_a_second_copy_is_absorbed_and_answered(shared: Cloud) -> None:
    face = face_of(2)
    before = shared.metric("processor", "facebridge_absorbed_total")
    with shared.peer() as edge:
        for tx in (1, 2, 3):
            edge.say(face.to_message(tx))
        until(lambda: len(edge.got) == 3)
    assert {(receipt.status, receipt.tx) for receipt in receipts(edge)} == {
        ("stored", tx) for tx in (1, 2, 3)
    }
    assert shared.metric("processor", "facebridge_absorbed_total") == before + 2
    versions = [key for key in shared.keys_below("faces/") if key.endswith("-000000002.png")]
    assert versions == [face.key]


def test_a_key_that_holds_other_bytes_is_not_overwritten(shared: Cloud) -> None:
    face = face_of(3)
    shared.s3().put_object(Bucket=BUCKET, Key=face.key, Body=b"somebody else's")
    with shared.peer() as edge:
        edge.say(face.to_message(1))
        until(lambda: edge.got)
    assert receipts(edge)[0].status == "quarantined"
    assert shared.s3().get_object(Bucket=BUCKET, Key=face.key)["Body"].read() == b"somebody else's"
    assert shared.quarantined(face.png)["reason"].startswith("key")


SOUND = face_of(50).to_message(5)
LARGE = png(filler=bytes(MAX_PNG + 10_000))  # that the broker still passes on
BAD = {
    "not a PNG": (replace(SOUND, payload=b"GIF89a"), "png"),
    "a truncated PNG": (replace(SOUND, payload=SOUND.payload[:-5]), "png"),
    "nothing": (replace(SOUND, payload=b""), "png"),
    "a wrong hash": (replace(SOUND, payload=png(filler=b"other")), "sha256"),
    "no facts": (replace(SOUND, payload=png(filler=b"no facts"), properties=()), "tx"),
    "no content type": (
        replace(SOUND, payload=png(filler=b"no type"), content_type=""),
        "content type",
    ),
    "a seq that is no number": (
        Message(
            SOUND.topic, png(filler=b"seq"), "image/png", (("seq", "x"), *SOUND.properties[1:])
        ),
        "seq",
    ),
    "more than the contract takes": (replace(SOUND, payload=LARGE), "png"),
    "a camera above": (Message("face-detector/edge-1/../x", b"up"), "topic"),
    "a camera with spaces": (Message("face-detector/edge-1/a b\u00e4", b"spaces"), "camera"),
    "a camera of 2,000 letters": (Message("face-detector/edge-1/" + "x" * 2000, b"long"), "camera"),
    "no camera": (Message("face-detector/edge-1", b"none"), "topic"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_message_is_put_away_and_holds_up_nobody(shared: Cloud, what: str) -> None:
    bad, field = BAD[what]
    neighbour = face_of(100 + list(BAD).index(what))
    with shared.peer() as edge:
        edge.say(bad)
        edge.say(neighbour.to_message(1))
        until(lambda: neighbour.seq in [receipt.seq for receipt in receipts(edge)])
        metadata = until(lambda: shared.quarantined(bad.payload))
    assert metadata["reason"].startswith(field)
    assert neighbour.key in shared.keys_below("faces/")
    assert shared.ended("processor") is None


def test_a_quarantined_capture_gets_a_receipt_that_says_so(shared: Cloud) -> None:
    bad = replace(face_of(200).to_message(9), payload=b"no png")
    with shared.peer() as edge:
        edge.say(bad)
        until(lambda: edge.got)
    (receipt,) = receipts(edge)
    assert (receipt.seq, receipt.tx, receipt.status) == (200, 9, "quarantined")
    assert receipt.key.startswith("quarantine/edge-1/door/")
    assert receipt.reason.startswith("png")
    kept = dict(parse_qsl(shared.quarantined(bad.payload)["facts"]))
    assert kept == dict(bad.properties)  # what is known of it is not lost with the topic


def test_a_store_that_was_away_is_waited_for(own: Cloud) -> None:
    own.start("store", "cloud-broker", "processor")
    own.kill("store")
    faces = [face_of(seq, 5000) for seq in range(1, 41)]
    with own.peer() as edge:
        for face in faces:
            edge.say(face.to_message(face.seq))
        until(lambda: "store not there" in own.ready())
        assert edge.got == []
        own.start("store")
        until(lambda: len({receipt.seq for receipt in receipts(edge)}) == 40, 40)
        until(lambda: own.ready() == "ok\n")
    assert sorted(own.keys_below("faces/")) == sorted(face.key for face in faces)


def test_a_store_that_says_no_is_said_loudly_and_heals(own: Cloud) -> None:
    own.start("store", "cloud-broker", "processor")
    own.stop("store")
    right = own.keys["AWS_SECRET_ACCESS_KEY"]
    own.keys["AWS_SECRET_ACCESS_KEY"] = "another"
    own.start("store")
    with own.peer() as edge:
        edge.say(face_of(1).to_message(1))
        until(lambda: "store says no" in own.ready())
        assert edge.got == []
        own.stop("store")
        own.keys["AWS_SECRET_ACCESS_KEY"] = right
        own.start("store")
        until(lambda: edge.got, 40)
    lines = [json.loads(line) for line in own.log().splitlines()]
    refusals = [line for line in lines if line["event"] == "store says no"]
    assert refusals[0]["level"] == "ERROR"
    assert right not in own.log()


def test_a_missing_bucket_is_waited_for(own: Cloud) -> None:
    own.start("store", "cloud-broker", "processor")
    own.s3().delete_bucket(Bucket=BUCKET)
    with own.peer() as edge:
        edge.say(face_of(1).to_message(1))
        until(lambda: "store says no" in own.ready())
        assert edge.got == []
        own.s3().create_bucket(Bucket=BUCKET)
        until(lambda: edge.got, 40)


class Portal(BaseHTTPRequestHandler):
    """Says 200 and a page to everything, as a captive portal does."""

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        page = b"<html>please sign in" if self.command == "GET" else b""
        self.send_header("Content-Length", str(len(page)))
        self.send_header("ETag", '"1"')
        self.end_headers()
        self.wfile.write(page)

    do_PUT = do_HEAD = do_GET

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_a_server_that_says_yes_to_everything_is_no_store(own: Cloud) -> None:
    own.start("store", "cloud-broker")
    own.s3().create_bucket(Bucket=BUCKET)
    face = face_of(1)
    portal = ThreadingHTTPServer(("127.0.0.1", 0), Portal)
    with portal, FaultyProxy(portal.server_port) as link:
        threading.Thread(target=portal.serve_forever, daemon=True).start()
        own.start_behind(link.port)
        with own.peer() as edge:
            edge.say(face.to_message(1))
            until(lambda: "something else" in own.ready())
            assert edge.got == []
            link.target = own.ports["s3"]
            link.cut()
            link.heal()
            until(lambda: edge.got, 40)
        portal.shutdown()
    assert own.keys_below("faces/") == [face.key]


@pytest.mark.parametrize(
    "env",
    [
        {"S3_ENDPOINT_URL": "http://a b"},
        {"S3_ENDPOINT_URL": "http://"},
        {"S3_REGION": "bad_region!"},
        {"BUCKET": "x"},
    ],
)
def test_a_store_that_cannot_be_is_said_in_one_line(own: Cloud, env: dict[str, str]) -> None:
    own.start("cloud-broker")
    for name, value in env.items():
        own.set("processor", name, value)
    with pytest.raises(StackError):
        own.start("processor")
    plain = [line for line in own.log().splitlines() if not line.startswith("{")]
    assert len(plain) == 1
    assert next(iter(env)) in plain[0]


def test_killed_between_put_and_receipt_stores_once(own: Cloud) -> None:
    own.start("store", "cloud-broker")
    face = face_of(1)
    with FaultyProxy(own.ports["s3"]) as link:
        own.start_behind(link.port)
        with own.peer() as edge:
            link.delay_s = 2  # the put arrives, its answer is on the way
            edge.say(face.to_message(1))
            until(lambda: own.keys_below("faces/"))
            own.kill("processor")
            assert edge.got == []
            link.delay_s = 0
            own.start("processor")
            until(lambda: edge.got)
    assert own.keys_below("faces/") == [face.key]
    assert own.metric("processor", "facebridge_absorbed_total") == 1
