"""The connection against a broker of a few lines: how it begins again after what it cannot read."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from bus.client import Client
from bus.settings import Settings
from tests.support.waiting import until

CONNACK = bytes([0x20, 3, 0, 0, 0])
CUT_OFF = bytes([0x32, 3, 0, 9, 0x74])  # a PUBLISH whose topic is longer than the packet
CLEAN_START = 0b10


class Broker:
    """Accepts, answers CONNECT, sends what it is told to, and ends the connection.

    `flags` are those of each CONNECT.
    """

    def __init__(self, *sent: bytes) -> None:
        self.flags: list[int] = []
        self._sent = sent
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.close()

    def _serve(self) -> None:
        for packet in self._sent:
            peer, _ = self._server.accept()
            with peer:
                connect = peer.recv(4096)
                self.flags.append(connect[9])  # after type, length, "MQTT" and its version
                peer.sendall(CONNACK + packet)
                if packet:
                    self._wait_for_end(peer)

    def _wait_for_end(self, peer: socket.socket) -> None:
        """Until the client has seen it and gone."""
        peer.settimeout(10)
        while peer.recv(4096):
            pass


@pytest.fixture
def broker() -> Iterator[Broker]:
    with closing(Broker(CUT_OFF, b"", b"")) as broker:
        yield broker


def test_what_cannot_be_read_ends_the_session_which_would_bring_it_again(broker: Broker) -> None:
    settings = Settings(broker_host="127.0.0.1", broker_port=broker.port)
    with closing(Client(settings, client_id="it", topics=["stored/#"])):
        until(lambda: len(broker.flags) == 3, 30)
    kept, anew, kept_again = (bool(flags & CLEAN_START) for flags in broker.flags)
    assert not kept
    assert anew
    assert not kept_again
