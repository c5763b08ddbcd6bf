"""The brokers of `brokers.py` themselves: other tests lean on them."""

from __future__ import annotations

from pathlib import Path

import aiomqtt

from brokers import Amqtt, Mosquitto


async def _echo(host: str, port: int, protocol: aiomqtt.ProtocolVersion) -> bytes:
    async with aiomqtt.Client(host, port, protocol=protocol, timeout=5) as client:
        await client.subscribe("echo", qos=1)
        await client.publish("echo", b"hello", qos=1)
        message = await anext(aiter(client.messages))
        assert isinstance(message.payload, bytes)
        return message.payload


async def test_mosquitto_answers_in_both_protocols_also_after_a_kill(tmp_path: Path) -> None:
    """Delivery tests kill the broker half way and expect it back on the same port."""
    with Mosquitto(tmp_path, persistent=True) as broker:
        assert await _echo(broker.host, broker.port, aiomqtt.ProtocolVersion.V5) == b"hello"
        broker.kill()
        broker.start()
        assert await _echo(broker.host, broker.port, aiomqtt.ProtocolVersion.V311) == b"hello"


async def test_amqtt_answers_and_stops_cleanly() -> None:
    """It lives in our event loop: a task it leaves behind would fail some later test."""
    async with Amqtt() as broker:
        assert await _echo(broker.host, broker.port, aiomqtt.ProtocolVersion.V311) == b"hello"
