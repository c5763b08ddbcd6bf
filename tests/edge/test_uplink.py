"""The MQTT adapter against real brokers: mosquitto (MQTT 5 and 3.1.1) and amqtt (3.1.1)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Literal

import aiomqtt
import pytest

from brokers import Amqtt, Mosquitto, free_port
from certificates import make_certificates
from packbox.adapters import uplink as uplink_module
from packbox.adapters.uplink import MqttUplink, TlsFiles, UplinkSettings
from packbox.app.carry import carry, new_report
from packbox.core.record import BoxId, SealedRow, StoreId
from packbox.ports import LinkDownError, RefusedError, Uplink
from packwire.ack import ack_of, encode_ack
from packwire.ids import StoreId as WireStoreId
from packwire.messages import Health
from packwire.presence import decode_heartbeat, encode_heartbeat

BOX = BoxId("b000000000000001")
STORE = StoreId("5700000000000001")
Protocol = Literal["5", "3.1.1"]
WAIT_MAX_S = 15.0


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path) as broker:
        yield broker


@pytest.fixture(params=["mosquitto-5", "mosquitto-3.1.1", "amqtt-3.1.1"])
async def anywhere(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[UplinkSettings]:
    """A running broker of every sort that the box must get on with."""
    name, protocol = request.param.split("-", 1)
    async with AsyncExitStack() as stack:
        broker: Mosquitto | Amqtt
        if name == "amqtt":
            broker = await stack.enter_async_context(Amqtt())
        else:
            broker = stack.enter_context(Mosquitto(tmp_path))
        yield UplinkSettings(broker.host, broker.port, protocol)


def settings_of(broker: Mosquitto, protocol: Protocol = "5") -> UplinkSettings:
    return UplinkSettings(broker.host, broker.port, protocol)


@asynccontextmanager
async def listening(
    settings: UplinkSettings, topic_filter: str, answer_wait_s: float = WAIT_MAX_S
) -> AsyncIterator[aiomqtt.Client]:
    async with aiomqtt.Client(settings.host, settings.port, timeout=answer_wait_s) as client:
        await client.subscribe(topic_filter, qos=1)
        yield client


async def next_from(client: aiomqtt.Client) -> tuple[str, bytes]:
    async with asyncio.timeout(WAIT_MAX_S):
        message = await anext(aiter(client.messages))
    assert isinstance(message.payload, bytes)
    return message.topic.value, message.payload


async def test_a_record_arrives_byte_for_byte(anywhere: UplinkSettings) -> None:
    """The signature covers the bytes: nothing on the way may touch them."""
    sealed = bytes(range(256)) * 4
    async with listening(anywhere, f"pb/v1/{BOX}/r") as book, MqttUplink(anywhere, BOX) as uplink:
        await uplink.publish(sealed)
        assert await next_from(book) == (f"pb/v1/{BOX}/r", sealed)


async def test_the_retained_ack_comes_first_and_then_each_new_one(anywhere: UplinkSettings) -> None:
    """A box that was off learns at once what the book holds."""
    ack = f"pb/v1/{BOX}/ack"
    async with aiomqtt.Client(anywhere.host, anywhere.port, timeout=WAIT_MAX_S) as book:
        await book.publish(ack, b"old", qos=1, retain=True)
        async with MqttUplink(anywhere, BOX) as uplink, asyncio.timeout(WAIT_MAX_S):
            acks = aiter(uplink.acks())
            assert await anext(acks) == b"old"
            await book.publish(ack, b"new", qos=1, retain=True)
            assert await anext(acks) == b"new"


async def test_the_status_says_online_and_stopped(anywhere: UplinkSettings) -> None:
    """Retained, so that an operator who looks later still sees it."""
    status = f"pb/v1/{BOX}/s"
    async with MqttUplink(anywhere, BOX), listening(anywhere, status) as operator:
        assert await next_from(operator) == (status, b"online")
    async with listening(anywhere, status) as operator:
        assert await next_from(operator) == (status, b"offline stopped")


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_the_broker_speaks_for_a_box_that_vanished(mosquitto: Mosquitto, protocol: Protocol) -> None:
    """The will: a second connection under the same name makes the broker cut the first without goodbye."""
    settings = settings_of(mosquitto, protocol)
    status = f"pb/v1/{BOX}/s"
    async with listening(settings, status) as operator, MqttUplink(settings, BOX) as uplink:
        assert await next_from(operator) == (status, b"online")
        async with aiomqtt.Client(settings.host, settings.port, identifier=BOX, timeout=WAIT_MAX_S):
            assert await next_from(operator) == (status, b"offline lost")
            with pytest.raises(LinkDownError):
                await anext(uplink.acks())


async def test_a_heartbeat_arrives_unsigned(anywhere: UplinkSettings) -> None:
    """QoS 0: cheap, may be lost, read by `decode_heartbeat`."""
    health = Health(uptime_s=60, frames=1234, software="0.1.0")
    async with listening(anywhere, f"pb/v1/{BOX}/h") as book, MqttUplink(anywhere, BOX) as uplink:
        await uplink.beat(encode_heartbeat(health))
        _, payload = await next_from(book)
    assert decode_heartbeat(payload) == health


async def test_a_message_on_a_topic_nobody_asked_for_is_counted_not_taken(mosquitto: Mosquitto) -> None:
    """Some brokers echo our own publications; one must never pass for an ack."""
    settings = settings_of(mosquitto)
    async with MqttUplink(settings, BOX) as uplink:
        await uplink._client.subscribe("elsewhere", qos=1)
        await uplink._client.publish("elsewhere", b"x", qos=1)
        await uplink._client.publish(f"pb/v1/{BOX}/ack", b"ack", qos=1)
        async with asyncio.timeout(WAIT_MAX_S):
            assert await anext(aiter(uplink.acks())) == b"ack"
        assert uplink.strays == 1


async def test_no_broker_is_a_named_trouble() -> None:
    """Host, port and reason: what an installer needs at the car."""
    port = free_port()
    with pytest.raises(LinkDownError, match=rf"127\.0\.0\.1:{port}: .*refused"):
        async with MqttUplink(UplinkSettings("127.0.0.1", port), BOX):
            pass


async def test_a_host_that_does_not_exist_is_a_named_trouble() -> None:
    """A typing mistake in the settings must not look like a network fault of unknown kind."""
    with pytest.raises(LinkDownError, match=r"nowhere\.invalid:1883: "):
        async with MqttUplink(UplinkSettings("nowhere.invalid", 1883), BOX):
            pass


async def test_a_server_that_never_answers_is_left_with_its_socket_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each try of months offline would otherwise leave a socket behind until none can be opened."""
    monkeypatch.setattr(uplink_module, "CONNECT_WAIT_MAX_S", 0.3)
    closed = asyncio.Event()

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(-1)
        writer.close()
        closed.set()

    async with await asyncio.start_server(swallow, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(LinkDownError, match=f"127.0.0.1:{port}: no answer in time"):
            async with MqttUplink(UplinkSettings("127.0.0.1", port), BOX):
                pass
        async with asyncio.timeout(WAIT_MAX_S):
            await closed.wait()


async def test_a_killed_broker_ends_the_acks_and_every_later_publish(mosquitto: Mosquitto) -> None:
    """Whoever waits hears of it at once, not after a timeout."""
    async with AsyncExitStack() as stack:
        stack.push_async_callback(lambda: asyncio.sleep(0))
        uplink = await stack.enter_async_context(MqttUplink(settings_of(mosquitto), BOX))
        waiting = asyncio.create_task(_first(uplink.acks()))
        await asyncio.sleep(0)
        mosquitto.kill()
        async with asyncio.timeout(WAIT_MAX_S):
            with pytest.raises(LinkDownError, match=f"127.0.0.1:{mosquitto.port}"):
                await waiting
        with pytest.raises(LinkDownError):
            await uplink.publish(b"late")


async def _first(source: AsyncIterator[bytes]) -> bytes:
    return await anext(source)


def acl(folder: Path, *lines: str) -> str:
    file = folder / "acl"
    file.write_text("\n".join(lines) + "\n")
    return f"acl_file {file}"


async def test_a_refused_record_is_told_apart_from_a_taken_one(tmp_path: Path) -> None:
    """MQTT 5 answers 0x87; aiomqtt by itself would call that success."""
    rules = acl(tmp_path, f"topic write pb/v1/{BOX}/s", f"topic read pb/v1/{BOX}/ack")
    with Mosquitto(tmp_path, options=rules) as broker:
        async with MqttUplink(settings_of(broker), BOX) as uplink:
            with pytest.raises(RefusedError, match=rf"{broker.port}.*pb/v1/{BOX}/r.*0x87"):
                await uplink.publish(b"record")


async def test_a_refused_status_names_the_topic(tmp_path: Path) -> None:
    """A certificate for another box: mosquitto 2.0.11 cuts the link after its refusal, so nothing else could pass."""
    rules = acl(tmp_path, f"topic read pb/v1/{BOX}/ack")
    with Mosquitto(tmp_path, options=rules) as broker, pytest.raises(RefusedError, match=rf"pb/v1/{BOX}/s.*0x87"):
        async with MqttUplink(settings_of(broker), BOX):
            pass


async def test_a_wrong_password_is_a_named_trouble(tmp_path: Path) -> None:
    """CONNACK says why; the text must carry it and never the password."""
    with Mosquitto(tmp_path, anonymous=False) as broker:
        settings = UplinkSettings(broker.host, broker.port, user="box", password="hunter2")
        with pytest.raises(LinkDownError, match=r"(?i)not authori[sz]ed") as caught:
            async with MqttUplink(settings, BOX):
                pass
    assert "hunter2" not in f"{caught.value} {settings!r}"


# paho leaves the socket of a failed handshake to the garbage collector
@pytest.mark.filterwarnings("ignore:Exception ignored in. <ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning")
async def test_mutual_tls_lets_the_box_in_under_its_own_name_only(tmp_path: Path) -> None:
    """The broker takes the certificate's name as user name; its ACL then keeps each box to its own topics."""
    make_certificates(tmp_path, BOX)
    options = "\n".join(
        [
            f"cafile {tmp_path}/ca.crt\ncertfile {tmp_path}/server.crt\nkeyfile {tmp_path}/server.key",
            "require_certificate true\nuse_identity_as_username true",
            acl(tmp_path, "pattern write pb/v1/%u/+", "pattern read pb/v1/%u/ack"),
        ]
    )
    files = TlsFiles(tmp_path / "ca.crt", tmp_path / "client.crt", tmp_path / "client.key")
    with Mosquitto(tmp_path, options=options, anonymous=False) as broker:
        async with MqttUplink(UplinkSettings(broker.host, broker.port, tls=files), BOX) as uplink:
            await uplink.publish(b"record")
        with pytest.raises(LinkDownError):  # without a certificate
            async with MqttUplink(UplinkSettings(broker.host, broker.port, tls=TlsFiles(files.ca)), BOX) as uplink:
                await uplink.publish(b"record")
        with pytest.raises(LinkDownError, match="certificate"):  # a CA that we do not know
            async with MqttUplink(UplinkSettings(broker.host, broker.port, tls=TlsFiles()), BOX):
                pass


async def test_a_missing_certificate_is_named(tmp_path: Path) -> None:
    """File name and reason, and the box goes on logging: a renewal may be half done."""
    files = TlsFiles(tmp_path / "missing.crt")
    with pytest.raises(LinkDownError, match=r"missing\.crt.*No such file"):
        async with MqttUplink(UplinkSettings("127.0.0.1", 8883, tls=files), BOX):
            pass


class _Outbox:
    """An outbox in memory, as the journal shows it."""

    def __init__(self, count: int) -> None:
        self.rows = [SealedRow(seq, 2, None, 0, None, b"%d" % seq) for seq in range(1, count + 1)]

    def waiting(self, after_seq: int, limit: int) -> list[SealedRow]:
        return self.rows[:limit]

    def release(self, upto: int, ranges: tuple[tuple[int, int], ...]) -> int:
        before = len(self.rows)
        self.rows = [r for r in self.rows if r.seq > upto and not any(lo <= r.seq <= hi for lo, hi in ranges)]
        return before - len(self.rows)


async def _book(settings: UplinkSettings, heard: set[int]) -> None:
    """A collector of few words: keeps, then acks; comes back after trouble."""
    while True:
        try:
            async with listening(settings, f"pb/v1/{BOX}/r", answer_wait_s=0.5) as client:
                async for message in client.messages:
                    heard.add(int(bytes(message.payload)))  # type: ignore[arg-type]  # records are bytes
                    held = encode_ack(ack_of(WireStoreId(STORE), heard))
                    await client.publish(f"pb/v1/{BOX}/ack", held, qos=1, retain=True)
        except aiomqtt.MqttError:
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_every_record_arrives_although_the_broker_is_killed_again_and_again(
    tmp_path: Path, protocol: Protocol
) -> None:
    """Down at start, killed half way, without memory: the whole path over real sockets."""
    broker = Mosquitto(tmp_path)
    settings = settings_of(broker, protocol)
    outbox, heard, report = _Outbox(400), set[int](), new_report(STORE)
    committed = asyncio.Event()

    async def offload(work: Callable[[], object]) -> object:
        return work()

    def open_uplink() -> Uplink:
        return MqttUplink(settings, BOX)

    async def box() -> None:
        await carry(
            outbox, open_uplink, report, newest_seq=lambda: 400, health=Health, committed=committed,
            offload=offload, jitter=lambda: 0.0,
        )  # fmt: skip

    tasks = [asyncio.create_task(box()), asyncio.create_task(_book(settings, heard))]
    try:
        async with asyncio.timeout(60):
            for wanted in (120, 240):
                broker.start()
                while len(heard) < wanted:  # noqa: ASYNC110 - waiting for another process
                    await asyncio.sleep(0.01)
                broker.kill()
            broker.start()
            while outbox.rows:  # noqa: ASYNC110 - waiting for another process
                await asyncio.sleep(0.01)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        broker.kill()
    assert heard == set(range(1, 401))
    assert report.connections >= 3
    assert report.delivery.counts.acked == 400


async def test_a_stop_that_comes_with_the_answer_is_not_lost(
    mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before Python 3.12 `asyncio.wait_for`, by which aiomqtt waits, loses it: the box then ran on after SIGTERM."""
    asked = asyncio.Event()

    async def publish(*_: object, **__: object) -> None:
        asked.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return  # the answer was there in the same moment

    async with MqttUplink(settings_of(mosquitto), BOX) as uplink:
        with monkeypatch.context() as patched:
            patched.setattr(aiomqtt.Client, "publish", publish)
            sending = asyncio.create_task(uplink.publish(b"record"))
            await asked.wait()
            sending.cancel()
            await asyncio.wait([sending], timeout=WAIT_MAX_S)
        assert sending.cancelled()
