"""What the brokers' memory grows to when somebody does not read, or says too much."""

import time
from pathlib import Path

from bus.message import Message
from bus.topics import CameraId
from demo.stack import Stack
from detector.outbox import Outbox
from tests.support.captures import capture, png, shot
from tests.support.peer import Peer
from tests.support.waiting import until

LARGE = 8_000_000  # bytes; the contract's largest is 8 MiB


def megabytes(stack: Stack, part: str) -> float:
    """The resident memory of a part."""
    for line in Path(f"/proc/{stack.pid(part)}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise AssertionError(f"{part} has no memory")


def edge(stack: Stack, name: str = "edge-1") -> Peer:
    return Peer(stack.ports["cloud"], stack.bundle(name))


def test_a_processor_that_hangs_costs_the_broker_no_more_than_its_bounds(stack: Stack) -> None:
    stack.start("store", "cloud-broker", "processor")
    stack.hang("processor")
    with edge(stack) as hostile:
        for number in range(40):
            hostile.say(Message("face-detector/edge-1/door", bytes(LARGE + number)))
        assert megabytes(stack, "cloud-broker") < 256
    stack.wake("processor")


def test_messages_above_the_contract_end_their_senders_connection(stack: Stack) -> None:
    stack.start("store", "cloud-broker")
    with edge(stack) as hostile:
        before = megabytes(stack, "cloud-broker")
        hostile.flood(Message("status/edge-1/door", bytes(24_000_000), retain=True), 1)
        until(lambda: hostile.ends)
        assert megabytes(stack, "cloud-broker") < before + 30


def test_restarts_while_the_link_is_down_cost_the_edge_broker_nothing(
    stack: Stack, tmp_path: Path
) -> None:
    with_faces(stack, 64, size=150_000)
    stack.programs["detector"] = "tests.chaos.source"  # a camera that is there, and shows nobody
    stack.set("detector", "RATE", "0.01")
    stack.set("detector", "SIZES", "100-200")
    stack.set("detector", "MODE", "best")
    stack.set("detector", "QUIET", str(tmp_path / "quiet"))
    stack.set("detector", "COMMITS", str(tmp_path / "commits"))
    stack.start("edge-broker")
    sizes = []
    for _ in range(20):
        stack.launch("detector")
        until(lambda: stack.metric("detector", "facebridge_waiting") == 64, 20)
        time.sleep(1.5)
        sizes.append(megabytes(stack, "edge-broker"))
        stack.kill("detector")
    assert sizes[-1] < sizes[0] + 5


def with_faces(stack: Stack, count: int, size: int) -> None:
    """An outbox in which so many captures wait."""
    stack.outbox.parent.mkdir(parents=True)
    outbox = Outbox(stack.outbox, CameraId(stack.edge, "camera"))
    for number in range(count):
        outbox.add(shot(png=png(filler=bytes(size) + str(number).encode())))
    outbox.close()


def test_nothing_is_retained_in_the_cloud_so_nobody_can_fill_it(stack: Stack) -> None:
    stack.start("store", "cloud-broker", "processor")
    certs = stack.bundle("edge-2")
    with Peer(stack.ports["cloud"], certs, topics=("stored/edge-2/#",)) as neighbour:
        with edge(stack) as hostile:
            for number in range(40):
                status = Message(f"status/edge-1/c{number}", bytes(LARGE), retain=True)
                hostile.flood(status, 1)
                time.sleep(0.05)
            until(lambda: hostile.ends)
        neighbour.say(capture(1, edge="edge-2").to_message(1))
        until(lambda: neighbour.got)
        assert neighbour.ends == []
        assert megabytes(stack, "cloud-broker") < 100
