"""One MQTT connection driven from asyncio, with acknowledgements by hand (paho-mqtt, MQTT 5 or 3.1.1).

In:  where the broker is, and a function that takes each message.
Out: messages, PUBACKs when asked for, publications with their outcome; `lost` tells why the connection ended.
A `Link` lives for one TCP connection: packet ids mean nothing on the next one, so an acknowledgement of an old
connection cannot reach a new one. Everything runs in the event loop, except connecting, which blocks.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import paho.mqtt.client as paho
from paho.mqtt.enums import MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from packbook.adapters.paho_buffered import BufferedClient
from packbook.ports.trouble import BrokerError
from packwire.tls import ClientContext, client_context

CONNECT_WAIT_MAX_S: Final = 5.0
ANSWER_WAIT_MAX_S: Final = 10.0  # CONNACK and SUBACK; a broker under load answers within a second
KEEP_ALIVE_S: Final = 30
HOUSEKEEPING_EVERY_S: Final = 1.0  # paho checks its keep-alive then
PACKET_BYTES_MAX: Final = 262_144  # twice the largest message of the contract; the broker withholds larger ones
TAKEN_OVER: Final = 0x8E  # MQTT 5: another client came with our name


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files, read again at every connection so that renewed certificates are picked up."""

    ca: Path | None = None  # absent: what the system trusts
    cert: Path | None = None
    key: Path | None = None

    def context(self) -> ClientContext:
        """Raises BrokerError naming the files."""
        try:
            return client_context(self.ca, self.cert, self.key)
        except OSError as problem:
            files = f"broker_ca_file {self.ca}, broker_cert_file {self.cert}, broker_key_file {self.key}"
            raise BrokerError(f"cannot use {files}: {problem}") from problem


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    host: str
    port: int
    client_id: str
    protocol: Literal["5", "3.1.1"] = "5"
    username: str | None = None
    password: str | None = None
    tls: TlsFiles | None = None
    receive_max: int = 4000  # messages sent ahead of our PUBACKs (MQTT 5; older brokers have their own limit)
    session_expiry_s: int = 604_800  # how long the broker keeps what arrives while we are away; 0: a clean session

    @property
    def name(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Message:
    """One PUBLISH. Acknowledge it on the link it came from."""

    link: Link
    topic: str
    payload: bytes
    mid: int
    qos: int

    def pause(self) -> None:
        self.link.pause()

    def acknowledge(self) -> None:
        """PUBACK. On a connection that ended meanwhile it does nothing: the broker sends the message again."""
        self.link.puback(self)


class Link:
    def __init__(
        self, address: BrokerAddress, take: Callable[[Message], None], will: tuple[str, bytes] | None = None
    ) -> None:
        """`will`: topic and payload that the broker keeps for others when it loses us."""
        self._address = address
        self._will = will
        self._take = take
        self._loop = asyncio.get_running_loop()
        self.lost: asyncio.Future[str] = self._loop.create_future()
        self._welcomed: asyncio.Future[None] = self._loop.create_future()
        self._subscribed: dict[int, asyncio.Future[Sequence[ReasonCode]]] = {}
        self._socket: paho.SocketLike | None = None
        self._housekeeping: asyncio.Task[None] | None = None
        self._context: ClientContext | None = None
        self._client = self._make_client()

    def _make_client(self) -> BufferedClient:
        address = self._address
        five = address.protocol == "5"
        client = BufferedClient(
            address.client_id,
            MQTTProtocolVersion.MQTTv5 if five else MQTTProtocolVersion.MQTTv311,
            clean_session=None if five else address.session_expiry_s == 0,
            on_arrival=self._on_arrival,
        )
        client.connect_timeout = CONNECT_WAIT_MAX_S
        if address.username is not None:
            client.username_pw_set(address.username, address.password)
        if self._will is not None:
            client.will_set(*self._will, qos=1, retain=True)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        return client

    # --- opening and closing ------------------------------------------------------------------------------------

    async def open(self, subscriptions: Sequence[str]) -> None:
        """Connect, be welcomed, subscribe with QoS 1. Raises BrokerError with the reason."""
        try:
            await uninterrupted(self._loop.run_in_executor(None, self._connect))
        except (OSError, ValueError) as problem:
            raise BrokerError(f"broker {self._address.name}: {self._in_words(str(problem))}") from problem
        self._watch()
        try:
            async with asyncio.timeout(ANSWER_WAIT_MAX_S):
                await self._or_lost(self._welcomed)
                if subscriptions:
                    await self._subscribe(subscriptions)
        except TimeoutError as problem:
            raise BrokerError(f"broker {self._address.name}: no answer within {ANSWER_WAIT_MAX_S:.0f} s") from problem

    def _connect(self) -> None:
        """Blocks: certificates, name lookup, TCP, TLS. Runs in a worker thread, before any callback is at work."""
        address = self._address
        if address.tls is not None:
            self._context = address.tls.context()
            self._client.tls_set_context(self._context)
        if address.protocol == "5":
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho left it untyped
            properties.SessionExpiryInterval = address.session_expiry_s
            properties.ReceiveMaximum = address.receive_max
            properties.MaximumPacketSize = PACKET_BYTES_MAX
            clean = address.session_expiry_s == 0
            self._client.connect(address.host, address.port, KEEP_ALIVE_S, clean_start=clean, properties=properties)
        else:
            self._client.connect(address.host, address.port, KEEP_ALIVE_S)

    def _watch(self) -> None:
        client = self._client
        self._socket = client.socket()
        if self._socket is None:  # lost before we looked
            self._end("connection closed")
            return
        client.on_socket_close = self._on_socket_close
        client.on_socket_register_write = self._on_write_wanted
        client.on_socket_unregister_write = self._on_written
        self._loop.add_reader(self._socket, self._read)
        if client.want_write():
            self._loop.add_writer(self._socket, client.loop_write)
        self._housekeeping = self._loop.create_task(self._keep_alive(), name="mqtt keep-alive")

    async def _keep_alive(self) -> None:
        while True:
            await asyncio.sleep(HOUSEKEEPING_EVERY_S)
            self._client.loop_misc()

    async def _subscribe(self, subscriptions: Sequence[str]) -> None:
        code, mid = self._client.subscribe([(text, 1) for text in subscriptions])
        if mid is None:
            raise BrokerError(f"broker {self._address.name}: cannot subscribe: {paho.error_string(code)}")
        answer: asyncio.Future[Sequence[ReasonCode]] = self._loop.create_future()
        self._subscribed[mid] = answer
        await self._or_lost(answer)
        for text, reason in zip(subscriptions, answer.result(), strict=True):
            if reason.is_failure:
                raise BrokerError(f"broker {self._address.name}: may not subscribe to {text}: {reason}")

    async def _or_lost(self, answer: asyncio.Future[Any]) -> None:
        await asyncio.wait((answer, self.lost), return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise BrokerError(f"broker {self._address.name}: {self.lost.result()}")

    def unsubscribe(self, subscriptions: Sequence[str]) -> None:
        """What the broker has for us already still comes."""
        if self.up:
            self._client.unsubscribe(list(subscriptions))

    async def close(self, *, forget: bool = False) -> None:
        """Leave politely if still connected. The broker keeps the session, unless it shall `forget` us (MQTT 5)."""
        if self._housekeeping is not None:
            self._housekeeping.cancel()
        if self._client.socket() is not None:
            properties = None
            if forget and self._address.protocol == "5":
                properties = Properties(PacketTypes.DISCONNECT)  # type: ignore[no-untyped-call]  # as above
                properties.SessionExpiryInterval = 0
            self._client.disconnect(properties=properties)
            self._client.loop_write()
        sock = self._client.socket()
        if sock is not None:  # its buffer was full: the farewell did not go out
            self._on_socket_close(None, None, sock)
            sock.close()
        self._end("closed")

    # --- traffic ------------------------------------------------------------------------------------------------

    @property
    def up(self) -> bool:
        return not self.lost.done()

    def puback(self, message: Message) -> None:
        if self.up and message.qos:
            self._client.acknowledge(message.mid)

    def publish(self, topic: str, payload: bytes, done: Callable[[], None], *, expiry_s: int | None = None) -> None:
        """QoS 1, retained; forgotten after `expiry_s` (MQTT 5). `done`: when the broker has taken it, never if not."""
        if self.up:
            self._client.publish_retained(topic, payload, done, expiry_s)

    def pause(self) -> None:
        """Stop reading: TCP holds the broker back."""
        if self._socket is not None and self.up and not self._client.paused:
            self._loop.remove_reader(self._socket)
            self._client.paused = True

    def resume(self) -> None:
        if self._socket is not None and self.up and self._client.paused:
            self._loop.add_reader(self._socket, self._read)
            self._client.paused = False
            if self._more():
                self._loop.call_soon(self._read)

    def _read(self) -> None:
        client = self._client
        client.loop_read()
        while self._more() and not client.paused:
            client.loop_read()

    def _more(self) -> bool:
        """Read from the socket or decrypted already: no event will tell."""
        sock = self._client.socket()
        return self._client.buffered or (isinstance(sock, ssl.SSLSocket) and sock.pending() > 0)

    def _in_words(self, said: str) -> str:
        trouble = self._context.trouble if self._context is not None else None
        return said if trouble is None else f"{trouble.text} ({said}); {trouble.do}"

    def _end(self, reason: str) -> None:
        if not self.lost.done():
            self.lost.set_result(reason)

    # --- what paho calls ----------------------------------------------------------------------------------------

    def _on_connect(self, _c: object, _u: object, _f: object, reason: ReasonCode, told: Properties | None) -> None:
        self._client.may_publish(getattr(told, "ReceiveMaximum", None))
        if reason.is_failure:
            self._end(f"refused us: {reason}")
        elif not self._welcomed.done():
            self._welcomed.set_result(None)

    def _on_disconnect(self, _c: object, _u: object, _f: object, reason: ReasonCode, _p: object) -> None:
        if reason.value == TAKEN_OVER:
            self._end(f"another client took the name {self._address.client_id!r}; names of collectors must differ")
        else:
            self._end(self._in_words(f"connection lost: {reason}"))

    def _on_arrival(self, topic: bytes, payload: bytes, number: int, qos: int) -> None:
        try:
            name = topic.decode()
        except UnicodeDecodeError:
            name = "(not UTF-8)"
        self._take(Message(self, name, payload, number, qos))

    def _on_subscribe(self, _c: object, _u: object, mid: int, reasons: Sequence[ReasonCode], _p: object) -> None:
        answer = self._subscribed.pop(mid, None)
        if answer is not None and not answer.done():
            answer.set_result(reasons)

    def _on_write_wanted(self, _c: object, _u: object, sock: paho.SocketLike) -> None:
        self._loop.add_writer(sock, self._client.loop_write)

    def _on_written(self, _c: object, _u: object, sock: paho.SocketLike) -> None:
        self._loop.remove_writer(sock)

    def _on_socket_close(self, _c: object, _u: object, sock: paho.SocketLike) -> None:
        self._loop.remove_reader(sock)
        self._loop.remove_writer(sock)


ResultT = TypeVar("ResultT")


async def uninterrupted(work: Awaitable[ResultT]) -> ResultT:
    """Let work that must not be cut in half come to its end, also when we are cancelled meanwhile."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
