"""The demo's broker: amqtt in this process, behind a door that holds the same rules as mosquitto by `broker-config`.

In:  certificate files, names of collectors.
Out: a port that speaks MQTT 3.1.1 over mutual TLS, for as long as the `async with` block lasts.
Refuses a client without a certificate of ours, one whose client id is not the name in its certificate, one whose will
it may not publish, and every topic that `packwire.rights` does not give it.

The door is our own because amqtt 0.12 (a) asks for a certificate but does not insist, (b) binds a client to the
certificate only when its session is new: who comes back under a known client id is judged by the certificate of the
connection before, (c) drops a session before it knows whether the newcomer may have it, (d) publishes wills unchecked,
and (e) sends each newcomer every retained message that anybody subscribed to. (e) is mended in `_Broker`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from amqtt.adapters import BufferReader, StreamReaderAdapter, StreamWriterAdapter  # type: ignore[import-untyped]
from amqtt.broker import Broker  # type: ignore[import-untyped]
from amqtt.contexts import Action  # type: ignore[import-untyped]
from amqtt.errors import AMQTTError, MQTTError, NoDataError  # type: ignore[import-untyped]
from amqtt.mqtt.connect import ConnectPacket  # type: ignore[import-untyped]
from amqtt.plugins.base import BaseAuthPlugin, BaseTopicPlugin  # type: ignore[import-untyped]
from amqtt.session import Session  # type: ignore[import-untyped]

from packwire.rights import Act, Role, may

LISTENER: Final = "door"
CONNECT_WAIT_MAX_S: Final = 10.0  # from the handshake to the first packet
NOT_AUTHORIZED: Final = bytes.fromhex("20020005")  # CONNACK of MQTT 3.1.1, return code 5
GOODBYE_WAIT_MAX_S: Final = 1.5
BAD_HELLO: Final = (OSError, EOFError, ValueError, AMQTTError, MQTTError, NoDataError)  # TimeoutError is an OSError
ACTS: Final = {Action.PUBLISH: Act.PUBLISH, Action.SUBSCRIBE: Act.SUBSCRIBE, Action.RECEIVE: Act.RECEIVE}

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ServerFiles:
    """PEM files of the broker. `crl`: revoked certificates of clients, none if absent."""

    ca: Path
    cert: Path
    key: Path
    crl: Path | None = None


class Guard(BaseAuthPlugin, BaseTopicPlugin):  # type: ignore[misc]  # amqtt ships no types
    """Topic rules. Who it is was settled at the door: there is no other way in, the client id is the proven name."""

    @dataclass
    class Config:
        """Read by amqtt from the plugin's table."""

        collectors: list[str] = field(default_factory=list)

    async def authenticate(self, *, session: Session) -> bool:
        return bool(session.client_id)

    async def topic_filtering(
        self, *, session: Session | None = None, topic: str | None = None, action: Action | None = None
    ) -> bool:
        if session is None or topic is None or action is None:
            return False
        return may(_role(session.client_id, self.config.collectors), session.client_id, ACTS[action], topic)


class _Broker(Broker):  # type: ignore[misc]  # amqtt ships no types
    async def _publish_retained_messages_for_subscription(
        self, subscription: tuple[str, int], session: Session
    ) -> None:
        """amqtt calls it at each connection for the subscriptions of everybody: only one's own count."""
        holders = self._subscriptions.get(subscription[0], [])
        if any(holder.client_id == session.client_id for holder, _qos in holders):
            await super()._publish_retained_messages_for_subscription(subscription, session)


class _Rewound(StreamReaderAdapter):  # type: ignore[misc]  # amqtt ships no types
    """A stream whose first packet was read already."""

    def __init__(self, first: bytes, rest: asyncio.StreamReader) -> None:
        super().__init__(rest)
        self._first = first

    async def read(self, n: int = -1) -> bytes:
        if not self._first:
            return bytes(await super().read(n))
        part, self._first = self._first[:n], self._first[n:]
        return part


@contextlib.asynccontextmanager
async def embedded_broker(host: str, port: int, files: ServerFiles, collectors: Sequence[str]) -> AsyncIterator[None]:
    """Raises OSError when the port is taken or a file cannot be used."""
    guard = {f"{__name__}.{Guard.__name__}": {"collectors": list(collectors)}}
    broker = _Broker({"listeners": {"default": {"type": "external"}, LISTENER: {"type": "external"}}, "plugins": guard})

    async def come_in(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            first = await _admitted(reader, writer, collectors)
            if first is not None:
                await broker.external_connected(_Rewound(first, reader), StreamWriterAdapter(writer), LISTENER)
        finally:
            writer.close()

    await broker.start()
    door = await asyncio.start_server(come_in, host, port, ssl=_context(files))
    try:
        yield
    finally:
        door.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GOODBYE_WAIT_MAX_S):
                await broker.shutdown()


def _context(files: ServerFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(files.cert, files.key)
    context.load_verify_locations(files.ca)
    if files.crl is not None:
        context.load_verify_locations(files.crl)
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    return context


async def _admitted(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, collectors: Sequence[str]
) -> bytes | None:
    """The bytes of the CONNECT packet, if the client may come in under the name it gives."""
    name = _common_name(writer)
    try:
        async with asyncio.timeout(CONNECT_WAIT_MAX_S):
            first = await _first_packet(reader)
            connect = await ConnectPacket.from_stream(BufferReader(first))
    except BAD_HELLO as problem:
        log.warning("the client with the certificate of %r did not say hello: %s", name, problem)
        return None
    reason = _objection(name, connect, collectors)
    if reason is None:
        return first
    log.warning("refused the client with the certificate of %r: %s", name, reason)
    with contextlib.suppress(OSError):
        writer.write(NOT_AUTHORIZED)
        await writer.drain()
    return None


def _objection(name: str, connect: ConnectPacket, collectors: Sequence[str]) -> str | None:
    if not name or connect.client_id != name:
        return "its client id is another name"
    if connect.will_flag and not may(_role(name, collectors), name, Act.PUBLISH, connect.will_topic or ""):
        return "it may not publish its will"
    return None


async def _first_packet(reader: asyncio.StreamReader) -> bytes:
    """One packet as it came. Raises ValueError when it is larger than 16 kB; ours have some 200 bytes."""
    head = await reader.readexactly(2)
    if head[1] & 0x80:  # a second digit of the length
        head += await reader.readexactly(1)
    if len(head) == 3 and head[2] & 0x80:  # and a third: 16 kB or more
        raise ValueError("the first packet is too large")
    length = (head[1] & 0x7F) | ((head[2] << 7) if len(head) == 3 else 0)
    return head + await reader.readexactly(length)


def _common_name(writer: asyncio.StreamWriter) -> str:
    certificate = writer.get_extra_info("peercert") or {}
    names = [value for part in certificate.get("subject", ()) for key, value in part if key == "commonName"]
    return names[0] if len(names) == 1 else ""


def _role(name: str, collectors: Sequence[str]) -> Role:
    return Role.COLLECTOR if name in collectors else Role.BOX
