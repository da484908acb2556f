"""The shipped configuration files as real brokers: what passes, and what must not.

That something does not arrive is shown by something that was sent after it and does.
"""

import shutil
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bus.message import Message
from demo.stack import Stack
from identity.authority import BROKER, PROCESSOR, Authority
from tests.support.faulty_proxy import FaultyProxy
from tests.support.peer import Peer
from tests.support.waiting import until

FACE = Message(
    "face-detector/edge-1/door",
    b"\x89PNG\0",
    "image/png",
    (("seq", "7"), ("tx", "1"), ("visit", "a-\u00e4")),
)
SILENT_WITHIN_S = 2.0
LAST = Message("face-detector/edge-1/last", b"last")


@dataclass(frozen=True)
class Brokers:
    """Edge and cloud broker, joined by a link that can be cut."""

    stack: Stack
    link: FaultyProxy

    def device(self, *topics: str) -> Peer:
        """A client of the edge broker."""
        return Peer(self.stack.ports["edge"], topics=topics)

    def processor(self, *topics: str) -> Peer:
        certs = self.stack.bundle(PROCESSOR)
        return Peer(self.stack.ports["cloud-processors"], certs, name="test", topics=topics)

    def edge(self, name: str, *topics: str, client_id: str = "") -> Peer:
        """Another edge, straight at the cloud broker."""
        certs = self.stack.bundle(name)
        return Peer(self.stack.ports["cloud"], certs, name=client_id, topics=topics)


@pytest.fixture(scope="module")
def brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Brokers]:
    stack = Stack(tmp_path_factory.mktemp("brokers"))
    with FaultyProxy(stack.ports["cloud"]) as link, stack:
        stack.bridge_port = link.port
        stack.start("cloud-broker", "edge-broker")
        brokers = Brokers(stack, link)
        with brokers.device("$SYS/broker/connection/+/state") as here:
            until(lambda: b"1" in here.payloads())
        yield brokers


def test_a_face_crosses_the_bridge_with_its_facts(brokers: Brokers) -> None:
    with brokers.processor("face-detector/#") as cloud, brokers.device() as here:
        here.say(FACE)
        until(lambda: cloud.got)
        assert cloud.got == [FACE]


def test_a_receipt_comes_home(brokers: Brokers) -> None:
    receipt = Message("stored/edge-1/door", b"{}", "application/json")
    with brokers.device("stored/#") as here, brokers.processor() as cloud:
        cloud.say(receipt)
        until(lambda: here.got)
        assert here.got == [receipt]


def test_an_edge_cannot_speak_as_another(brokers: Brokers) -> None:
    listener = brokers.processor("face-detector/#")
    with listener as cloud, brokers.device() as here, brokers.edge("edge-2") as other:
        here.say(Message("face-detector/edge-2/door", b"forged over the bridge"))
        other.say(Message("face-detector/edge-1/door", b"forged by certificate"))
        other.say(Message("face-detector/edge-2/door", b"own"))
        here.say(LAST)
        until(lambda: {LAST.topic, "face-detector/edge-2/door"} <= set(cloud.topics()))
        assert sorted(cloud.payloads()) == [b"last", b"own"]


def test_an_edge_cannot_read_anothers_receipts(brokers: Brokers) -> None:
    reader = brokers.edge("edge-3", "stored/#", "stored/edge-1/#", "#")
    with reader as other, brokers.processor() as cloud:
        cloud.say(Message("stored/edge-1/door", b"not yours"))
        cloud.say(FACE)
        cloud.say(Message("stored/edge-3/door", b"yours"))
        until(lambda: other.got)
        assert set(other.payloads()) == {b"yours"}


def test_an_edge_cannot_utter_a_receipt(brokers: Brokers) -> None:
    with brokers.device("stored/#") as here:
        here.say(Message("stored/edge-1/door", b"forged on the device"))
        with brokers.edge("edge-1", client_id="x") as forger:
            forger.say(Message("stored/edge-1/door", b"forged by certificate"))
        with brokers.processor() as cloud:

            def heard() -> bool:
                cloud.say(Message("stored/edge-1/door", b"true"))
                return len(here.got) > 0

            until(heard, 40)  # the forger had the bridge's session, which must come back first
        assert set(here.payloads()) == {b"true"}


def refused(port: int, certs: Path, *, own: bool = True) -> bool:
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


@pytest.mark.parametrize(
    ("listener", "name"), [("cloud", "edge-1"), ("cloud-processors", PROCESSOR)]
)
def test_a_certificate_of_our_authority_is_needed(
    brokers: Brokers, tmp_path: Path, listener: str, name: str
) -> None:
    port = brokers.stack.ports[listener]
    ours = brokers.stack.bundle(name)
    stranger = Authority(tmp_path).issue(name)
    (stranger / "ca.crt").write_bytes((ours / "ca.crt").read_bytes())
    assert not refused(port, ours)
    assert refused(port, ours, own=False)
    assert refused(port, stranger)


@pytest.mark.parametrize(
    ("listener", "name"),
    [("cloud-processors", "edge-1"), ("cloud-processors", BROKER), ("cloud", PROCESSOR)],
)
def test_a_certificate_opens_no_listener_but_its_own(
    brokers: Brokers, listener: str, name: str
) -> None:
    assert refused(brokers.stack.ports[listener], brokers.stack.bundle(name))


def test_who_is_shut_out_is_silent_and_nobody_else_notices(brokers: Brokers) -> None:
    stolen = shutil.copytree(brokers.stack.bundle("stolen"), brokers.stack.folder / "thief")
    thief = Peer(brokers.stack.ports["cloud"], stolen, topics=("stored/stolen/#",))
    said = Message("face-detector/stolen/door", b"face")
    with (
        brokers.processor("face-detector/#") as cloud,
        brokers.edge("edge-6") as other,
        thief,
    ):
        thief.say(said)
        until(lambda: said in cloud.got)
        brokers.stack.revoke("stolen")
        time.sleep(SILENT_WITHIN_S)
        cloud.got.clear()
        thief.say(said)
        cloud.say(Message("stored/stolen/door", b"receipt"))
        other.say(Message("face-detector/edge-6/door", b"own"))
        until(lambda: cloud.got)
        assert cloud.payloads() == [b"own"]
        assert thief.got == []
        assert (cloud.ends, other.ends) == ([], [])
    port = brokers.stack.ports["cloud"]
    assert refused(port, stolen)

    brokers.stack.reenrol("stolen")
    assert refused(port, stolen)
    with brokers.processor("face-detector/#") as cloud, brokers.edge("stolen") as owner:
        owner.say(said)
        until(lambda: said in cloud.got)


def test_no_client_id_takes_anothers_session(brokers: Brokers) -> None:
    victim = brokers.edge("edge-4", "stored/edge-4/#")
    with victim as one, brokers.edge("edge-5", client_id="edge-4"):
        with brokers.processor() as cloud:
            cloud.say(Message("stored/edge-4/door", b"still here"))
        until(lambda: one.got)
        assert one.ends == []


def test_what_is_said_while_the_link_is_cut_arrives_after_it(brokers: Brokers) -> None:
    faces = [
        Message("face-detector/edge-1/cut", b"%d" % number, "image/png", FACE.properties)
        for number in range(50)
    ]
    with brokers.processor("face-detector/#") as cloud, brokers.device() as here:
        brokers.link.cut()
        for face in faces:
            here.say(face)
        assert cloud.got == []
        brokers.link.heal()
        until(lambda: len(cloud.got) >= len(faces), 40)
        assert cloud.got[: len(faces)] == faces
