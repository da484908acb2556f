"""One MQTT 5 connection that comes back by itself; what happens on it is read like a queue."""

import queue
import random
import signal
import socket
import ssl
import sys
import threading
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from bus.log import log
from bus.message import Down, Event, Message, Up
from bus.settings import Settings


def stopping() -> threading.Event:
    """An event that SIGTERM and SIGINT set; also as process 1 of a container, which has no default handlers."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


class Client:
    """A connection to the broker of `settings`, to be closed.

    It connects for ever, with back-off and jitter. Every message must be acknowledged with `ack`. When enough events
    wait to be read, nothing more is taken from the network, so a slow reader holds the broker back. One that is `slow`
    for longer than a keepalive lasts reads them one by one and leaves it to TCP whether the broker lives.
    While we are away the broker says our `will` and holds for an hour what comes, but not what we share with others:
    a member of a group leaves nothing behind, for its share would wait for it, though others could take it.
    Certificates that either side refuses end the process.
    """

    def __init__(
        self,
        settings: Settings,
        name: str,
        topics: list[str],
        slow: bool = False,
        will: Message | None = None,
    ) -> None:
        self._subscriptions = [(topic, SubscribeOptions(qos=1)) for topic in topics]
        self._events: queue.Queue[Event | None] = queue.Queue(1 if slow else 999)
        self._connections, self._stopped, self.up = 0, False, False
        self._mqtt = mqtt = paho.Client(
            CallbackAPIVersion.VERSION2, name, protocol=paho.MQTTv5, manual_ack=True
        )
        if settings.certs:
            mqtt.tls_set_context(_tls(settings.certs, settings.broker_host, settings.broker_port))
        mqtt.on_connect, mqtt.on_disconnect, mqtt.on_message = (
            self._on_connect,
            self._on_disconnect,
            self._on_message,
        )
        mqtt.on_connect_fail = lambda *_: log.warning(
            "broker unreachable", extra={"broker": settings.broker_host}
        )
        mqtt.on_socket_open = _watch
        if will:
            mqtt.will_set(will.topic, will.payload, retain=will.retain)
        # What paho holds while the broker is away is bounded; what it refuses then is sent again in its time.
        mqtt.max_queued_messages_set(256)
        mqtt.reconnect_delay_set(1, random.randint(10, 20))  # noqa: S311 - jitter
        expiry, keepalive = Properties(PacketTypes.CONNECT), 0 if slow else 15  # type: ignore[no-untyped-call]
        expiry.SessionExpiryInterval = 0 if topics[0].startswith("$share/") else 3600
        mqtt.connect_async(
            settings.broker_host,
            settings.broker_port,
            keepalive,
            clean_start=False,
            properties=expiry,
        )
        mqtt.loop_start()

    def close(self) -> None:
        """End the connection; what is not acknowledged comes again."""
        self._stopped = True
        self._mqtt.disconnect(ReasonCode(PacketTypes.DISCONNECT, "Disconnect with will message"))
        self._mqtt.loop_stop()

    def next(self, timeout: float) -> Event | None:
        """The next event, or None after `timeout` seconds or a `wake`."""
        try:
            return self._events.get(timeout=timeout)
        except queue.Empty:
            return None

    def wake(self) -> None:
        """Make `next` return; from any thread."""
        if self._events.empty():
            self._events.put(None)

    def publish(self, message: Message, qos: int = 1) -> None:
        """Hand a message to the connection; it goes out when the broker takes it. From any thread."""
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.ContentType, properties.UserProperty = (
            message.content_type,
            list(message.properties),
        )
        self._mqtt.publish(message.topic, message.payload, qos, message.retain, properties)

    def ack(self, message: Message) -> None:
        """Tell the broker that `message` is done with; nothing if it came by an earlier connection."""
        if message.delivery and message.delivery[0] == self._connections:
            self._mqtt.ack(*message.delivery[1:])

    def _put(self, event: Event) -> None:
        while not self._stopped:
            try:
                return self._events.put(event, timeout=0.2)
            except queue.Full:
                continue

    def _on_connect(
        self, mqtt: paho.Client, _: Any, flags: paho.ConnectFlags, code: ReasonCode, __: Any
    ) -> None:
        if code.is_failure:
            return log.error("broker refuses us", extra={"reason": str(code)})
        self._connections, self.up = self._connections + 1, True
        mqtt.subscribe(self._subscriptions)
        self._put(Up(flags.session_present))

    def _on_disconnect(
        self, _: paho.Client, __: Any, ___: Any, code: ReasonCode, ____: Any
    ) -> None:
        self.up = False
        if not self._stopped:
            log.warning("broker connection lost", extra={"reason": str(code)})
        self._put(Down())

    def _on_message(self, _: paho.Client, __: Any, got: paho.MQTTMessage) -> None:
        delivery = (self._connections, got.mid, got.qos)
        kind, facts = (
            getattr(got.properties, "ContentType", ""),
            getattr(got.properties, "UserProperty", []),
        )
        self._put(Message(got.topic, bytes(got.payload), kind, tuple(facts), delivery))


def _watch(_: paho.Client, __: Any, plain: Any) -> None:
    """Notice a vanished peer without MQTT's help: 15 s of silence, then 3 probes; or 30 s without an answer to data."""
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in {
        "TCP_KEEPIDLE": 15,
        "TCP_KEEPINTVL": 5,
        "TCP_KEEPCNT": 3,
        "TCP_USER_TIMEOUT": 30_000,
    }.items():
        if hasattr(socket, option):  # Linux has them all
            plain.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def _tls(certs: Path, host: str, port: int) -> ssl.SSLContext:
    """The certificates, loaded and tried once: paho would retry in silence what either side refuses."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(certs / "ca.crt")
        context.load_cert_chain(certs / "tls.crt", certs / "tls.key")
        with (
            socket.create_connection((host, port), 3) as raw,
            context.wrap_socket(raw, server_hostname=host) as tls,
        ):
            tls.settimeout(0.5)
            tls.recv(1)  # with TLS 1.3 a client is told only now that its certificate is refused
    except (ssl.SSLEOFError, TimeoutError, ConnectionError, socket.gaierror):
        log.debug("broker away, certificates not tried")
    except OSError as error:
        sys.exit(
            f"CERTS: {certs} and the broker {host} do not fit ({error}): enrol again, or name another folder"
        )
    return context
