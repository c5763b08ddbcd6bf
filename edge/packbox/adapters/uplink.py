"""The way to the broker over MQTT 5 or 3.1.1: one connection as an async context manager.

In:  sealed records, heartbeats.
Out: application acks, the retained one first; `online`, where its store stands, and `offline <reason>` on the box's
status topic.
Every wait is bounded; every trouble is a LinkDownError that names host, port and reason. The broker's answer to a
publish is not proof that the book holds the record: `core.delivery` waits for the application ack.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self, cast

import aiomqtt
import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from packbox.core.delivery import WINDOW
from packbox.core.record import BoxId, StoreId
from packbox.ports import LinkDownError, RefusedError
from packwire import ids, presence
from packwire.tls import ClientContext, client_context
from packwire.topics import MANNERS, Leaf, topic

CONNECT_WAIT_MAX_S: Final = 30.0  # name lookup, TCP, TLS and CONNACK over a slow mobile link
ANSWER_WAIT_MAX_S: Final = 30.0  # SUBACK or PUBACK: five times the worst round trip of a 2G link
LEAVE_WAIT_MAX_S: Final = 5.0  # saying goodbye must not hold up a shutdown
TCP_INFO_BYTES: Final = struct.Struct("=120xQQ")  # linux/tcp.h: tcpi_bytes_acked, tcpi_bytes_received, since 4.1
MAX_QUEUED_ACKS: Final = 1000  # acks are cumulative and handled at once; a flood is cut off here

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files, read again at every connection so that renewed certificates are picked up."""

    ca: Path | None = None  # absent: what the system trusts
    cert: Path | None = None
    key: Path | None = None


@dataclass(frozen=True, slots=True)
class UplinkSettings:
    host: str
    port: int
    protocol: Literal["5", "3.1.1"] = "5"
    tls: TlsFiles | None = None  # absent: unencrypted
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    keepalive_s: int = 900  # a dead link also shows by an unanswered record; a ping costs 204 B


class _Client(aiomqtt.Client):
    """What aiomqtt 2.5 keeps to itself: the answer to a publish, and the socket of a link that never came up."""

    refusals = 0
    last_refusal = ""

    def _on_publish(
        self, client: mqtt.Client, userdata: object, mid: int, reason_code: ReasonCode, properties: Properties
    ) -> None:
        if reason_code.is_failure:
            self.refusals += 1
            self.last_refusal = f"{reason_code} ({reason_code.value:#04x})"
        super()._on_publish(client, userdata, mid, reason_code, properties)

    def _on_disconnect(
        self,
        client: mqtt.Client,
        userdata: object,
        flags: mqtt.DisconnectFlags,
        reason_code: ReasonCode,
        properties: Properties | None = None,
    ) -> None:
        if not self._connected.done():  # the socket went before CONNACK: say so now, not after the whole wait
            self._connected.set_exception(aiomqtt.MqttError(f"closed before the broker answered: {reason_code}"))
        elif not self._connected.cancelled():  # else we gave up waiting, nobody is left to tell
            super()._on_disconnect(client, userdata, flags, reason_code, properties)

    def wire_bytes(self) -> int:
        """Bytes that the kernel sent and got on this connection, below TLS; 0 when it is closed."""
        sock = cast("socket.socket | None", self._client.socket())  # plain or TLS: no other is ever asked for
        if sock is None or sock.fileno() < 0:
            return 0
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_BYTES.size)
        return sum(TCP_INFO_BYTES.unpack(info)) if len(info) == TCP_INFO_BYTES.size else 0

    def drop(self) -> None:
        """Close the socket if it is still open. Without this each failed connection would leave one behind."""
        self._client.disconnect()
        if self._disconnected.done() and not self._disconnected.cancelled():
            self._disconnected.exception()  # seen: asyncio need not report it


class MqttUplink:
    """`ports.Uplink` for one box. Use it once: `async with MqttUplink(settings, box) as uplink`."""

    def __init__(self, settings: UplinkSettings, box: BoxId, down: Callable[[str, bytes], None] | None = None) -> None:
        """`down`: gets what the operator sends, with its leaf (`c` or `x`); absent: we do not ask the broker for it."""
        self.strays = 0  # messages on topics that we did not ask for; some brokers echo
        self._settings = settings
        self._box = ids.BoxId(box)
        self._down = down
        self._connection: _Client | None = None
        self._context: ClientContext | None = None
        self._wire_bytes = 0

    async def __aenter__(self) -> Self:
        self._connection = await self._make_client()
        try:
            async with self._answered(CONNECT_WAIT_MAX_S):
                await self._client.__aenter__()
            await self._say(presence.ONLINE)
            await self._subscribe()
        except BaseException:
            self._client.drop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._leave()

    @property
    def wire_bytes(self) -> int:
        self._note_wire_bytes()
        return self._wire_bytes

    async def publish(self, sealed: bytes) -> None:
        await self._send(Leaf.RECORD, sealed)

    async def beat(self, heartbeat: bytes) -> None:
        await self._send(Leaf.HEARTBEAT, heartbeat, self._expiry(presence.HEARTBEAT_EXPIRY_S))

    async def present(self, store: StoreId, held: int) -> None:
        await self._say(presence.Status(online=True, standing=presence.Standing(ids.StoreId(store), held)))

    async def acks(self) -> AsyncIterator[bytes]:
        ours = topic(self._box, Leaf.ACK)
        with self._trouble_named():
            async for message in self._client.messages:
                leaf = self._from_operator.get(message.topic.value)
                if message.topic.value == ours and isinstance(message.payload, bytes):
                    yield message.payload
                elif self._down is not None and leaf is not None and isinstance(message.payload, bytes):
                    self._down(leaf, message.payload)
                else:
                    self.strays += 1

    async def _make_client(self) -> _Client:
        settings = self._settings
        if settings.tls is not None:  # certificates lie on a disk: reading them must not hold up the loop
            self._context = await asyncio.to_thread(self._tls_context, settings.tls)
        client = _Client(  # begins a clean session: what the broker kept does not matter, the ack is retained
            settings.host,
            settings.port,
            identifier=self._box,
            protocol=aiomqtt.ProtocolVersion.V5 if self._v5 else aiomqtt.ProtocolVersion.V311,
            username=settings.user,
            password=settings.password,
            tls_context=self._context,
            keepalive=settings.keepalive_s,
            timeout=ANSWER_WAIT_MAX_S,
            max_inflight_messages=WINDOW,
            max_queued_incoming_messages=MAX_QUEUED_ACKS,
            will=aiomqtt.Will(topic(self._box, Leaf.STATUS), presence.encode_status(presence.LOST), qos=1, retain=True),
        )
        client.pending_calls_threshold = WINDOW + 1  # a window and a heartbeat at once are normal: no warning
        return client

    def _tls_context(self, files: TlsFiles) -> ClientContext:
        try:
            return client_context(files.ca, files.cert, files.key)
        except OSError as problem:  # ssl.SSLError is one too
            raise LinkDownError(
                f"{self._where}: cannot use certificates ca {files.ca}, cert {files.cert}, key {files.key}: {problem}"
            ) from problem

    async def _subscribe(self) -> None:
        async with self._answered():
            answers = await self._client.subscribe(topic(self._box, Leaf.ACK), qos=1)
        refusals = [answer for answer in answers if isinstance(answer, ReasonCode) and answer.is_failure]
        if refusals:
            raise LinkDownError(f"{self._where}: the broker refused our acks: {refusals[0]}")
        if self._down is not None:
            async with self._answered():
                await self._client.subscribe([(text, 1) for text in self._from_operator])

    @property
    def _from_operator(self) -> dict[str, str]:
        """Topics from which the operator speaks. A broker that denies them only takes us out of his reach."""
        return {topic(self._box, leaf): leaf.value for leaf in (Leaf.CONFIG, Leaf.COMMAND)}

    async def _say(self, status: presence.Status) -> None:
        await self._send(Leaf.STATUS, presence.encode_status(status))

    async def _send(self, leaf: Leaf, payload: bytes, properties: Properties | None = None) -> None:
        client, where, manner = self._client, topic(self._box, leaf), MANNERS[leaf]
        async with self._answered():
            await client.publish(where, payload, qos=manner.qos, retain=manner.retain, properties=properties)
        self._note_wire_bytes()
        if client.refusals:  # of several publishes at once any may be the refused one: all of them wait on anyway
            client.refusals -= 1
            raise RefusedError(f"{self._where}: the broker refused a message on {where}: {client.last_refusal}")

    def _note_wire_bytes(self) -> None:
        if self._connection is not None:  # a socket that went away says 0: what was known stands
            self._wire_bytes = max(self._wire_bytes, self._connection.wire_bytes())

    def _expiry(self, seconds: int) -> Properties | None:
        if not self._v5:
            return None
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho leaves it untyped
        properties.MessageExpiryInterval = seconds
        return properties

    async def _leave(self) -> None:
        """Say goodbye if the link still allows it. If not, the broker publishes our will."""
        client = self._client
        try:
            async with asyncio.timeout(LEAVE_WAIT_MAX_S):
                await self._say(presence.STOPPED)
                await client.__aexit__(None, None, None)
        except (LinkDownError, aiomqtt.MqttError, TimeoutError) as problem:
            log.debug("left the broker without goodbye", extra={"REASON": str(problem)})
        finally:
            client.drop()
            self._connection = None

    @property
    def _client(self) -> _Client:
        assert self._connection is not None, "outside of `async with`"
        return self._connection

    @property
    def _v5(self) -> bool:
        return self._settings.protocol == "5"

    @property
    def _where(self) -> str:
        return f"{self._settings.host}:{self._settings.port}"

    @asynccontextmanager
    async def _answered(self, wait_max_s: float = ANSWER_WAIT_MAX_S) -> AsyncIterator[None]:
        """For each wait on aiomqtt: bounded, its trouble named.

        It waits by `asyncio.wait_for`, which before Python 3.12 loses a cancellation that comes together with the
        answer: then we raise it, or a box that is told to stop would go on for ever.
        """
        task = asyncio.current_task()
        assert task is not None
        before = task.cancelling()  # not 0 where we say goodbye
        with self._trouble_named():
            async with asyncio.timeout(wait_max_s):
                yield
        if task.cancelling() > before:
            raise asyncio.CancelledError

    @contextmanager
    def _trouble_named(self) -> Iterator[None]:
        try:
            yield
        except TimeoutError as problem:
            raise LinkDownError(f"{self._where}: no answer in time") from problem
        except (aiomqtt.MqttError, OSError, UnicodeError) as problem:
            trouble = self._context.trouble if self._context is not None else None
            said = f"{trouble.text} ({problem}); {trouble.do}" if trouble is not None else problem
            raise LinkDownError(f"{self._where}: {said}") from problem
