"""A bare MQTT 5 client for tests."""

import socket
import ssl
from pathlib import Path
from typing import Any, Self

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from bus.message import Message
from tests.support.waiting import until


class Peer:
    """Connected until the end of a with statement; everything that arrives is in `got`.

    `name` is its client id, `ends` says how each of its connections ended. One that `sends_at_once`
    does without Nagle's algorithm.
    """

    def __init__(
        self,
        port: int,
        certs: Path | None = None,
        *,
        name: str = "",
        topics: tuple[str, ...] = (),
        sends_at_once: bool = False,
    ) -> None:
        self.got: list[Message] = []
        self.ends: list[str] = []
        self._topics = topics
        self._granted = 0
        self._mqtt = paho.Client(CallbackAPIVersion.VERSION2, name, protocol=paho.MQTTv5)
        if certs:
            context = ssl.create_default_context(cafile=certs / "ca.crt")
            context.load_cert_chain(certs / "tls.crt", certs / "tls.key")
            self._mqtt.tls_set_context(context)
        if sends_at_once:
            self._mqtt.on_socket_open = _send_at_once
        self._mqtt.on_connect = self._connected
        self._mqtt.on_message = self._message
        self._mqtt.on_subscribe = self._subscribed
        self._mqtt.on_disconnect = self._disconnected
        self._mqtt.connect("localhost", port)

    def __enter__(self) -> Self:
        self._mqtt.loop_start()
        until(self._mqtt.is_connected)
        until(lambda: self._granted >= len(self._topics))
        return self

    def __exit__(self, *_: object) -> None:
        self._mqtt.disconnect()
        self._mqtt.loop_stop()

    def say(self, message: Message) -> None:
        """Publish at QoS 1 and wait until it is acknowledged."""
        self.publish(message).wait_for_publish(20)

    def publish(self, message: Message) -> paho.MQTTMessageInfo:
        """Publish at QoS 1 and wait for nothing."""
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        if message.content_type:
            properties.ContentType = message.content_type
        if message.properties:
            properties.UserProperty = list(message.properties)
        return self._mqtt.publish(message.topic, message.payload, 1, properties=properties)

    def flood(self, message: Message, count: int) -> None:
        """Publish again and again at QoS 1, as fast as it goes."""
        for _ in range(count):
            self._mqtt.publish(message.topic, message.payload, 1, message.retain)

    def topics(self) -> list[str]:
        """The topics of what has arrived, in order."""
        return [message.topic for message in self.got]

    def payloads(self) -> list[bytes]:
        """The payloads of what has arrived, in order."""
        return [message.payload for message in self.got]

    def _connected(self, *_: Any) -> None:
        for topic in self._topics:
            self._mqtt.subscribe(topic, 1)

    def _message(self, _: Any, __: Any, got: paho.MQTTMessage) -> None:
        content_type = getattr(got.properties, "ContentType", "")
        properties = getattr(got.properties, "UserProperty", [])
        self.got.append(Message(got.topic, bytes(got.payload), content_type, tuple(properties)))

    def _subscribed(self, *_: Any) -> None:
        self._granted += 1

    def _disconnected(self, _: Any, __: Any, ___: Any, reason: Any, ____: Any) -> None:
        self.ends.append(str(reason))


def _send_at_once(_mqtt: Any, _userdata: Any, plain: Any) -> None:
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
