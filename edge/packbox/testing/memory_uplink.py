"""`ports.Uplink` over the broker in memory: what the adapter does over MQTT, without a network."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Self

from packbox.core.record import BoxId, StoreId
from packbox.ports import LinkDownError
from packwire import ids, presence
from packwire.testing import BrokerDownError, MemoryBroker, MemoryLink
from packwire.topics import Leaf, topic


class MemoryUplink:
    """One connection of one box: `async with MemoryUplink(broker, box) as uplink`. `link.cut()`: network lost."""

    def __init__(self, broker: MemoryBroker, box: BoxId, down: Callable[[str, bytes], None] | None = None) -> None:
        self.link: MemoryLink | None = None
        self.wire_bytes = 0  # payloads only
        self._broker = broker
        self._box = ids.BoxId(box)
        self._down = down

    async def __aenter__(self) -> Self:
        status = topic(self._box, Leaf.STATUS)
        try:
            self.link = self._broker.connect(self._box, will=(status, presence.encode_status(presence.LOST)))
            self.link.publish(status, presence.encode_status(presence.ONLINE), retain=True)
            self.link.subscribe(topic(self._box, Leaf.ACK))
            if self._down is not None:
                self.link.subscribe(topic(self._box, Leaf.CONFIG), topic(self._box, Leaf.COMMAND))
        except BrokerDownError as problem:
            raise LinkDownError(f"memory: {problem}") from problem
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        link = self._there
        if link.up:
            link.publish(topic(self._box, Leaf.STATUS), presence.encode_status(presence.STOPPED), retain=True)
            link.close()

    async def publish(self, sealed: bytes) -> None:
        self._send(Leaf.RECORD, sealed)

    async def beat(self, heartbeat: bytes) -> None:
        self._send(Leaf.HEARTBEAT, heartbeat)

    async def present(self, store: StoreId, held: int) -> None:
        standing = presence.Standing(ids.StoreId(store), held)
        self._send(Leaf.STATUS, presence.encode_status(presence.Status(online=True, standing=standing)), retain=True)

    async def acks(self) -> AsyncIterator[bytes]:
        while True:
            try:
                message = await self._there.receive()
            except BrokerDownError as problem:
                raise LinkDownError(f"memory: {problem}") from problem
            self._there.ack(message)
            self.wire_bytes += len(message.payload)
            if message.topic == topic(self._box, Leaf.ACK):
                yield message.payload
            elif self._down is not None:
                self._down(message.topic.rpartition("/")[2], message.payload)

    @property
    def _there(self) -> MemoryLink:
        assert self.link is not None, "outside of `async with`"
        return self.link

    def _send(self, leaf: Leaf, payload: bytes, *, retain: bool = False) -> None:
        try:
            self._there.publish(topic(self._box, leaf), payload, retain=retain)
        except BrokerDownError as problem:
            raise LinkDownError(f"memory: {problem}") from problem
        self.wire_bytes += len(payload)
