"""A bare MQTT 5 client for tests."""

import ssl
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from bus.message import Message
from tests.support.waiting import until


class Peer:
    """Connected until the end of a with statement; everything that arrives is in `got`."""

    def __init__(
        self, port: int, certs: Path | None = None, name: str = "", topics: tuple[str, ...] = ()
    ) -> None:
        self.got: list[Message] = []
        self.codes: list[str] = []
        self._granted = len(topics) == 0
        self._mqtt = paho.Client(CallbackAPIVersion.VERSION2, name, protocol=paho.MQTTv5)
        if certs:
            context = ssl.create_default_context(cafile=certs / "ca.crt")
            context.load_cert_chain(certs / "tls.crt", certs / "tls.key")
            self._mqtt.tls_set_context(context)
        self._mqtt.on_message = self._message
        self._mqtt.on_subscribe = lambda *_: setattr(self, "_granted", True)
        self._mqtt.on_disconnect = lambda *args: self.codes.append(str(args[3]))
        self._mqtt.connect("localhost", port)
        self._topics = topics

    def _message(self, _: Any, __: Any, got: paho.MQTTMessage) -> None:
        kind, facts = (
            getattr(got.properties, "ContentType", ""),
            getattr(got.properties, "UserProperty", []),
        )
        self.got.append(Message(got.topic, bytes(got.payload), kind, tuple(facts)))

    def __enter__(self) -> Self:
        self._mqtt.loop_start()
        until(self._mqtt.is_connected)
        for topic in self._topics:
            self._mqtt.subscribe(topic, 1)
        until(lambda: self._granted)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._mqtt.disconnect()
        self._mqtt.loop_stop()

    def say(self, message: Message) -> None:
        """Publish at QoS 1 and wait until it is acknowledged."""
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        if message.content_type:
            properties.ContentType = message.content_type
        if message.properties:
            properties.UserProperty = list(message.properties)
        self._mqtt.publish(
            message.topic, message.payload, 1, properties=properties
        ).wait_for_publish(20)

    def flood(self, message: Message, count: int) -> None:
        """Publish again and again at QoS 1, as fast as it goes."""
        for _ in range(count):
            self._mqtt.publish(message.topic, message.payload, 1, message.retain)

    def topics(self) -> list[str]:
        """The topics of what has arrived, in order."""
        return [message.topic for message in self.got]
