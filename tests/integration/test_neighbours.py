"""One edge does its worst to the processor; its neighbour must not notice."""

import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from bus.capture import Capture
from bus.message import Message
from bus.receipt import Receipt
from demo.stack import BUCKET, Stack
from tests.support.captures import capture, png
from tests.support.gateway import Gateway
from tests.support.peer import Peer
from tests.support.waiting import until

BOM = "\ufeff"  # the broker passes it on, and paho calls it malformed
SOUND = capture(50, edge="edge-1").to_message(5)


def edge(stack: Stack, name: str) -> Peer:
    return Peer(stack.ports["cloud"], stack.bundle(name), topics=(f"stored/{name}/#",))


def face(seq: int, name: str = "edge-2") -> Capture:
    picture = png(filler=f"{name} {seq}".encode())
    return capture(seq, edge=name, captured_at=datetime.now(UTC), png=picture)


def receipt_time(neighbour: Peer, seq: int, patience_s: float) -> float:
    """How long a capture of the neighbour waits for its receipt, in seconds."""
    begun_at = time.monotonic()
    neighbour.say(face(seq).to_message(seq))
    until(lambda: seq in seqs(neighbour), patience_s)
    return time.monotonic() - begun_at


def seqs(peer: Peer) -> list[int]:
    return [Receipt.from_message(message).seq for message in peer.got]


def objects_of(stack: Stack, name: str) -> int:
    """How many objects came of an edge, in quarantine or not."""
    folders = (f"quarantine/{name}/", f"faces/{name}/")
    listings = [stack.s3().list_objects_v2(Bucket=BUCKET, Prefix=folder) for folder in folders]
    return sum(listing["KeyCount"] for listing in listings)


@contextmanager
def saying(peer: Peer, message: Message, each_s: float) -> Iterator[None]:
    """Says a message again and again meanwhile."""
    over = threading.Event()

    def say() -> None:
        while not over.wait(each_s):
            peer.say(message)

    thread = threading.Thread(target=say)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize(
    "poison",
    [
        replace(SOUND, properties=(("visit", BOM), *SOUND.properties)),
        replace(SOUND, properties=((BOM, "1"), *SOUND.properties)),
        replace(SOUND, content_type=BOM),
    ],
    ids=["value", "name", "content type"],
)
def test_what_the_library_calls_malformed_stops_nobody(stack: Stack, poison: Message) -> None:
    stack.start("store", "cloud-broker", "processor")
    with edge(stack, "edge-1") as hostile, edge(stack, "edge-2") as neighbour:
        hostile.say(poison)
        for seq in range(1, 6):
            assert receipt_time(neighbour, seq, 20) < 2
        until(lambda: objects_of(stack, "edge-1"))
        assert objects_of(stack, "edge-1") == 1  # a fact that nobody knows is ignored


def test_ten_thousand_properties_cost_nobody_time(stack: Stack) -> None:
    stack.start("store", "cloud-broker", "processor")
    many = replace(SOUND, properties=(("", ""),) * 50_000)
    with edge(stack, "edge-1") as hostile, edge(stack, "edge-2") as neighbour:
        with saying(hostile, many, each_s=0.5):
            time.sleep(2)
            took = [receipt_time(neighbour, seq, 30) for seq in range(1, 6)]
        assert max(took) < 2


def test_objects_that_the_bucket_does_not_give_back_hold_no_thread(stack: Stack) -> None:
    stack.start("store", "cloud-broker")
    with Gateway(stack.ports["s3"]) as gateway:
        stack.set("processor", "S3_ENDPOINT_URL", f"http://127.0.0.1:{gateway.port}")
        stack.start("processor")
        archived = [face(seq, "edge-1") for seq in range(1, 21)]
        for one in archived:
            stack.s3().put_object(Bucket=BUCKET, Key=one.key, Body=one.png)
        gateway.denied = "/faces/edge-1/"
        with edge(stack, "edge-1") as hostile, edge(stack, "edge-2") as neighbour:
            for one in archived:
                hostile.say(one.to_message(one.seq))
            took = [receipt_time(neighbour, seq, 45) for seq in range(1, 11)]
            assert max(took) < 5
            assert hostile.got == []
            gateway.denied = ""
            for one in archived:
                hostile.say(one.to_message(one.seq + 100))
            until(lambda: set(seqs(hostile)) == set(range(1, 21)), 30)


def test_who_joins_a_group_takes_nothing_from_anybody(stack: Stack) -> None:
    stack.start("store", "cloud-broker", "processor")
    share = "$share/processors/face-detector/#"
    joiner = Peer(stack.ports["cloud"], stack.bundle("edge-1"), topics=(share,))
    with joiner, edge(stack, "edge-2") as neighbour:
        for seq in range(1, 31):
            neighbour.say(face(seq).to_message(seq))
        until(lambda: set(seqs(neighbour)) == set(range(1, 31)), 10)
        assert joiner.got == []


def test_a_flood_of_garbage_delays_no_neighbour(stack: Stack) -> None:
    stack.start("store", "cloud-broker", "processor")
    garbage = Message("face-detector/edge-1/door", b"x")
    with edge(stack, "edge-1") as hostile, edge(stack, "edge-2") as neighbour:
        assert receipt_time(neighbour, 1, 20) < 2
        hostile.flood(garbage, 4000)
        took = [receipt_time(neighbour, seq, 40) for seq in range(2, 8)]
        assert max(took) < 3
        put_away = stack.s3().list_objects_v2(Bucket=BUCKET, Prefix="quarantine/edge-1/")[
            "KeyCount"
        ]
        assert put_away <= 100


def test_cameras_that_are_invented_are_no_metrics_for_ever(stack: Stack) -> None:
    stack.start("store", "cloud-broker", "processor")
    with edge(stack, "edge-1") as hostile:
        for number in range(300):
            hostile.say(Message(f"face-detector/edge-1/c{number}", b"x"))
        until(lambda: stack.metric("processor", "facebridge_quarantined_total") >= 100)
    assert series(stack, "facebridge_quarantined_total") < 50


def series(stack: Stack, name: str) -> int:
    """How many series a metric of the processor has."""
    url = f"http://127.0.0.1:{stack.ports['processor-metrics']}/metrics"
    with urllib.request.urlopen(url, timeout=5) as page:
        lines = page.read().decode().splitlines()
    return sum(line.startswith(f"{name}{{") for line in lines)
