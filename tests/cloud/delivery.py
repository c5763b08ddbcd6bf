"""A box's side of delivery for tests of the collector: publish, wait for the book's ack, publish again."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import aiomqtt

from packbook.testing.scripted_box import ScriptedBox
from packwire.ack import Ack, decode_ack
from packwire.topics import Leaf, topic

AGAIN_AFTER_S = 1.0


class Sender:
    """Sends what a scripted box has said until the book holds all of it, over any broken connection."""

    def __init__(self, box: ScriptedBox, host: str, port: int, protocol: aiomqtt.ProtocolVersion) -> None:
        self.box = box
        self._where = (host, port, protocol)
        self.ack = Ack(box.store)

    async def deliver(self, within_s: float = 20.0) -> None:
        async with asyncio.timeout(within_s):
            while self.ack.upto < len(self.box.sealed):
                with suppress(aiomqtt.MqttError, TimeoutError):
                    await self._once()

    def _client(self) -> aiomqtt.Client:
        host, port, protocol = self._where
        return aiomqtt.Client(host, port, protocol=protocol, timeout=5)

    async def _once(self) -> None:
        async with self._client() as client:
            await client.subscribe(topic(self.box.box, Leaf.ACK), qos=1)
            for seq, sealed in enumerate(self.box.sealed, start=1):
                if not self.ack.holds(seq):
                    await client.publish(topic(self.box.box, Leaf.RECORD), sealed, qos=1)
            async with asyncio.timeout(AGAIN_AFTER_S):
                async for message in client.messages:
                    assert isinstance(message.payload, bytes)
                    ack = decode_ack(message.payload)
                    if ack.store == self.box.store:
                        self.ack = ack
                    if self.ack.upto >= len(self.box.sealed):
                        return
