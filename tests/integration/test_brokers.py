"""The shipped configuration files as real brokers: what passes, and what must not.

That something does not arrive is shown by something that was sent after it and does.
"""

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from bus.message import Message
from demo.stack import Stack
from identity.authority import PROCESSOR, Authority
from tests.support.faulty_proxy import Link
from tests.support.peer import Peer
from tests.support.waiting import until

FACE = Message(
    "face-detector/edge-1/door",
    b"\x89PNG\0",
    "image/png",
    (("seq", "7"), ("tx", "1"), ("visit", "a-\u00e4")),
)
LAST = Message("face-detector/edge-1/last", b"last")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = Stack(tmp_path_factory.mktemp("brokers"))
    with Link(stack.ports["cloud"]) as link, stack:
        stack.bridge_port = link.port
        stack.link = link  # type: ignore[attr-defined]
        stack.start("cloud-broker", "edge-broker")
        with device(stack, "$SYS/broker/connection/+/state") as here:
            until(lambda: b"1" in [message.payload for message in here.got])
        yield stack


def device(stack: Stack, *topics: str) -> Peer:
    """A client of the edge broker."""
    return Peer(stack.ports["edge"], topics=topics)


def processor(stack: Stack, *topics: str, name: str = "test") -> Peer:
    return Peer(stack.ports["cloud-processors"], stack.bundle(PROCESSOR), name, topics)


def edge(stack: Stack, name: str, *topics: str, client_id: str = "") -> Peer:
    """Another edge, straight at the cloud broker."""
    return Peer(stack.ports["cloud"], stack.bundle(name), client_id, topics)


def test_a_face_crosses_the_bridge_with_its_facts(stack: Stack) -> None:
    with processor(stack, "face-detector/#") as cloud, device(stack) as here:
        here.say(FACE)
        until(lambda: cloud.got)
        assert cloud.got == [FACE]


def test_a_receipt_comes_home(stack: Stack) -> None:
    receipt = Message("stored/edge-1/door", b"{}", "application/json")
    with device(stack, "stored/#") as here, processor(stack) as cloud:
        cloud.say(receipt)
        until(lambda: here.got)
        assert here.got == [receipt]


def test_an_edge_cannot_speak_as_another(stack: Stack) -> None:
    with (
        processor(stack, "face-detector/#") as cloud,
        device(stack) as here,
        edge(stack, "edge-2") as other,
    ):
        here.say(Message("face-detector/edge-2/door", b"forged over the bridge"))
        other.say(Message("face-detector/edge-1/door", b"forged by certificate"))
        other.say(Message("face-detector/edge-2/door", b"own"))
        here.say(LAST)
        until(
            lambda: LAST.topic in cloud.topics() and "face-detector/edge-2/door" in cloud.topics()
        )
        assert sorted(message.payload for message in cloud.got) == [b"last", b"own"]


def test_an_edge_cannot_read_anothers_receipts(stack: Stack) -> None:
    with (
        edge(stack, "edge-3", "stored/#", "stored/edge-1/#", "#") as other,
        processor(stack) as cloud,
    ):
        cloud.say(Message("stored/edge-1/door", b"not yours"))
        cloud.say(FACE)
        cloud.say(Message("stored/edge-3/door", b"yours"))
        until(lambda: other.got)
        assert {message.payload for message in other.got} == {b"yours"}


def test_an_edge_cannot_utter_a_receipt(stack: Stack) -> None:
    with device(stack, "stored/#") as here:
        here.say(Message("stored/edge-1/door", b"forged on the device"))
        with edge(stack, "edge-1", client_id="x") as forger:
            forger.say(Message("stored/edge-1/door", b"forged by certificate"))
        with processor(
            stack
        ) as cloud:  # the forger had the bridge's session, which must come back first
            until(lambda: cloud.say(Message("stored/edge-1/door", b"true")) or here.got, 40)
        assert {message.payload for message in here.got} == {b"true"}


def refused(port: int, certs: Path, own: bool = True) -> bool:
    """Whether the broker ends a TLS connection with these certificates before a word of MQTT."""
    context = ssl.create_default_context(cafile=certs / "ca.crt")
    if own:
        context.load_cert_chain(certs / "tls.crt", certs / "tls.key")
    plain = socket.create_connection(("localhost", port), 5)
    try:
        with plain, context.wrap_socket(plain, server_hostname="localhost") as secure:
            secure.settimeout(1)
            return secure.recv(1) == b""
    except TimeoutError:
        return False
    except (ssl.SSLError, ConnectionError):
        return True


@pytest.mark.parametrize("listener", ["cloud", "cloud-processors"])
def test_a_certificate_of_our_authority_is_needed(
    stack: Stack, tmp_path: Path, listener: str
) -> None:
    ours = stack.bundle("edge-1")
    stranger = Authority(tmp_path).issue("edge-1")
    (stranger / "ca.crt").write_bytes((ours / "ca.crt").read_bytes())
    assert not refused(stack.ports[listener], ours)
    assert refused(stack.ports[listener], ours, own=False)
    assert refused(stack.ports[listener], stranger)


def test_no_client_id_takes_anothers_session(stack: Stack) -> None:
    with edge(stack, "edge-4", "stored/edge-4/#") as one, edge(stack, "edge-5", client_id="edge-4"):
        with processor(stack) as cloud:
            cloud.say(Message("stored/edge-4/door", b"still here"))
        until(lambda: one.got)
        assert one.codes == []


def test_what_is_said_while_the_link_is_cut_arrives_after_it(stack: Stack) -> None:
    link: Link = stack.link  # type: ignore[attr-defined]
    with processor(stack, "face-detector/#") as cloud, device(stack) as here:
        link.cut()
        faces = [
            Message("face-detector/edge-1/cut", b"%d" % number, "image/png", FACE.properties)
            for number in range(50)
        ]
        for face in faces:
            here.say(face)
        assert cloud.got == []
        link.heal()
        until(lambda: len(cloud.got) >= 50, 40)
        assert cloud.got[:50] == faces
