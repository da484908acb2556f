"""One MQTT 5 connection that comes back by itself; what happens on it is read like a queue."""

import queue
import random
import signal
import socket
import ssl
import sys
import threading
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from bus import wire
from bus.log import log
from bus.message import Delivered, Down, Event, Message, Up
from bus.settings import Settings

KEEPALIVE_S = 15
SESSION_EXPIRY_S = 3600
QUEUE_SIZE = 999  # events that may wait to be read
HELD_BY_PAHO = 256  # messages that may wait for a broker; what is refused then is sent again
RECONNECT_AFTER_S = 1
RECONNECT_AT_MOST_S = (10, 20)  # one of these, by chance

# Reasons for which a connection ends because of what it carried: the session would bring it again.
_POISONED = {"Protocol error", "Malformed packet"}

# How a vanished peer is noticed without MQTT's help: 15 s of silence, then 3 probes; or 30 s
# without an answer to data.
_TCP_OPTIONS = {
    "TCP_KEEPIDLE": 15,
    "TCP_KEEPINTVL": 5,
    "TCP_KEEPCNT": 3,
    "TCP_USER_TIMEOUT": 30_000,
}


def stopping() -> threading.Event:
    """An event that SIGTERM and SIGINT set.

    Also as process 1 of a container, which has no default handlers.
    """
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


class _Mqtt(paho.Client):
    """paho's client, but for how it reads a publication: in bus/wire.py, not in its own way."""

    def __init__(self, client_id: str, take: Callable[[wire.Publication], None]) -> None:
        super().__init__(
            CallbackAPIVersion.VERSION2,
            client_id,
            protocol=paho.MQTTv5,
            manual_ack=True,
        )
        self._take = take

    def _handle_publish(self) -> MQTTErrorCode:
        packet = self._in_packet
        self._take(wire.publication(packet["command"], packet["packet"]))
        return MQTTErrorCode.MQTT_ERR_SUCCESS


class Client:
    """A connection to the broker of `settings`, to be closed.

    It connects for ever, with back-off and jitter. Every message must be acknowledged with `ack`.
    When `queue_size` events wait to be read, nothing more is taken from the network, so a slow
    reader holds the broker back; one that is slow for longer than a keepalive lasts sets
    `keepalive_s` to 0, which leaves it to TCP whether the broker lives. While we are away the
    broker says our `will` and holds for `session_expiry_s` what comes. Certificates that either
    side refuses end the process.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        client_id: str,
        topics: list[str],
        queue_size: int = QUEUE_SIZE,
        keepalive_s: int = KEEPALIVE_S,
        session_expiry_s: int = SESSION_EXPIRY_S,
        will: Message | None = None,
    ) -> None:
        self.up = False
        self._broker = settings.broker_host
        self._subscriptions = [(topic, SubscribeOptions(qos=1)) for topic in topics]
        self._events: queue.Queue[Event | None] = queue.Queue(queue_size)
        self._connections = 0
        self._stopped = False
        self._settings = settings
        self._keepalive_s = keepalive_s
        self._session_expiry_s = session_expiry_s
        self._mqtt = _Mqtt(client_id, self._on_publication)
        if settings.certs:
            self._mqtt.tls_set_context(_tls_context(settings, settings.certs))
        if will:
            self._mqtt.will_set(will.topic, will.payload, retain=will.retain)
        self._mqtt.on_connect = self._on_connect
        self._mqtt.on_connect_fail = self._on_connect_fail
        self._mqtt.on_disconnect = self._on_disconnect
        self._mqtt.on_socket_open = _watch
        self._mqtt.max_queued_messages_set(HELD_BY_PAHO)
        at_most_s = random.randint(*RECONNECT_AT_MOST_S)  # noqa: S311 - jitter
        self._mqtt.reconnect_delay_set(RECONNECT_AFTER_S, at_most_s)
        self._aim(clean_start=False)
        self._mqtt.loop_start()

    def _aim(self, *, clean_start: bool) -> None:
        """Say how the next connection is to be made; a clean start gives the session up."""
        self._mqtt.connect_async(
            self._settings.broker_host,
            self._settings.broker_port,
            keepalive=self._keepalive_s,
            clean_start=clean_start,
            properties=_connect_properties(self._session_expiry_s),
        )

    def close(self) -> None:
        """End the connection; what is not acknowledged comes again."""
        self._stopped = True
        self._mqtt.disconnect(ReasonCode(PacketTypes.DISCONNECT, "Disconnect with will message"))
        self._mqtt.loop_stop()

    def next(self, timeout_s: float) -> Event | None:
        """The next event, or None after `timeout_s` or a `wake`."""
        try:
            return self._events.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def wake(self) -> None:
        """Make `next` return; from any thread."""
        if self._events.empty():
            self._events.put(None)

    def publish(self, message: Message, qos: int = 1) -> None:
        """Hand a message to the connection; it goes out when the broker takes it. Any thread."""
        self._mqtt.publish(
            message.topic,
            message.payload,
            qos=qos,
            retain=message.retain,
            properties=_publish_properties(message),
        )

    def ack(self, message: Message) -> None:
        """Tell the broker that `message` is done with.

        Nothing, if an earlier connection brought it.
        """
        delivered = message.delivered
        if delivered and delivered.connection == self._connections:
            self._mqtt.ack(delivered.packet_id, delivered.qos)

    def _put(self, event: Event) -> None:
        while not self._stopped:
            try:
                self._events.put(event, timeout=0.2)
            except queue.Full:
                continue
            return

    def _on_connect(
        self,
        mqtt: paho.Client,
        _userdata: Any,
        flags: paho.ConnectFlags,
        code: ReasonCode,
        _properties: Any,
    ) -> None:
        if code.is_failure:
            log.error("broker refuses us", extra={"reason": str(code)})
            return
        self._connections += 1
        self.up = True
        mqtt.subscribe(self._subscriptions)
        self._put(Up(flags.session_present))

    def _on_connect_fail(self, _mqtt: paho.Client, _userdata: Any) -> None:
        log.warning("broker unreachable", extra={"broker": self._broker})

    def _on_disconnect(
        self,
        _mqtt: paho.Client,
        _userdata: Any,
        _flags: Any,
        code: ReasonCode,
        _properties: Any,
    ) -> None:
        self.up = False
        if not self._stopped:
            log.warning("broker connection lost", extra={"reason": str(code)})
            self._aim(clean_start=str(code) in _POISONED)
        self._put(Down())

    def _on_publication(self, got: wire.Publication) -> None:
        message = Message(
            got.topic,
            got.payload,
            content_type=got.properties.content_type,
            properties=tuple(got.properties.user),
            delivered=Delivered(self._connections, got.packet_id, got.qos),
            retain=got.retain,
            fault=got.fault,
        )
        self._put(message)


def _connect_properties(session_expiry_s: int) -> Properties:
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = session_expiry_s
    return properties


def _publish_properties(message: Message) -> Properties:
    if not message.properties:
        return _content_type_only(message.content_type)
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    properties.ContentType = message.content_type
    properties.UserProperty = list(message.properties)
    return properties


@lru_cache(maxsize=8)  # to make them takes longer than to publish a receipt
def _content_type_only(content_type: str) -> Properties:
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    properties.ContentType = content_type
    return properties


def _watch(_mqtt: paho.Client, _userdata: Any, plain: Any) -> None:
    # Otherwise the kernel holds a small packet for 40 ms, until the one before it is confirmed.
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _TCP_OPTIONS.items():
        if hasattr(socket, option):  # Linux has them all
            plain.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def _tls_context(settings: Settings, certs: Path) -> ssl.SSLContext:
    """The certificates, loaded and tried once: paho would retry in silence what a side refuses."""
    host = settings.broker_host
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(certs / "ca.crt")
        context.load_cert_chain(certs / "tls.crt", certs / "tls.key")
        with socket.create_connection((host, settings.broker_port), timeout=3) as plain:
            _shake_hands(context, plain, host)
    except (ssl.SSLEOFError, TimeoutError, ConnectionError, socket.gaierror):
        log.debug("broker away, certificates not tried")
    except OSError as error:
        sys.exit(
            f"CERTS: {certs} and the broker {host} do not fit ({error}): "
            "enrol again, or name another folder"
        )
    return context


def _shake_hands(context: ssl.SSLContext, plain: socket.socket, host: str) -> None:
    with context.wrap_socket(plain, server_hostname=host) as tls:
        tls.settimeout(0.5)
        tls.recv(1)  # with TLS 1.3 a client is told only now that its certificate is refused
