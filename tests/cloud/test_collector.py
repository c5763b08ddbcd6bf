"""The collector against real brokers: nothing lost, nothing doubled, nothing hung."""

from __future__ import annotations

import asyncio
import gc
import logging
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
import sqlalchemy as sa
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from brokers import Amqtt, Mosquitto, free_port
from cloud.delivery import Sender
from packbook.adapters.collector import BatchLimits, Collector, probe
from packbook.adapters.mqtt import BrokerAddress, TlsFiles
from packbook.adapters.store import open_writer, tables
from packbook.adapters.store.database import Database
from packbook.adapters.store.ledger import Ledger
from packbook.core.intake import Arrival, Reading
from packbook.ports.taking import Taken
from packbook.ports.trouble import BrokerError, StoreError
from packbook.testing.scripted_box import ScriptedBox
from packwire.topics import Leaf, topic

V5, V311 = aiomqtt.ProtocolVersion.V5, aiomqtt.ProtocolVersion.V311
LIMITS = BatchLimits(records_max=50, wait_max_s=0.01)
SOON_S = 60.0  # on a machine that does many other things


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path) as running:
        yield running


@pytest.fixture
async def book(sqlite_url: str) -> AsyncIterator[Database]:
    async with open_writer(sqlite_url, "test") as database:
        yield database


def address(port: int, **more: Any) -> BrokerAddress:
    return BrokerAddress("127.0.0.1", port, "collector-0", **more)


@asynccontextmanager
async def collecting(ledger: Any, where: BrokerAddress, *, connected: bool = True) -> AsyncIterator[Collector]:
    collector = Collector(ledger, where, LIMITS, retry_max_s=0.2)
    running = asyncio.create_task(collector.run())
    try:
        if connected:
            async with asyncio.timeout(SOON_S):
                await collector.connected.wait()
        yield collector
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def until(true: Callable[[], bool], within_s: float = SOON_S) -> None:
    async with asyncio.timeout(within_s):
        while not true():  # noqa: ASYNC110 - what we wait for happens in another room, without an event
            await asyncio.sleep(0.01)


async def held(database: Database) -> dict[str, list[int]]:
    """Sequence numbers in the ledger, by box."""
    table = tables.ledger
    async with database.transaction() as connection:
        rows = await connection.execute(sa.select(table.c.box, table.c.seq).order_by(table.c.box, table.c.seq))
        found: dict[str, list[int]] = {}
        for row in rows:
            found.setdefault(row.box, []).append(row.seq)
        return found


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_a_record_is_acknowledged_once_it_is_committed(
    mosquitto: Mosquitto, book: Database, protocol: Any
) -> None:
    """The application ack is the only thing that lets a box forget; it comes over both protocols."""
    box = ScriptedBox()
    box.life()
    async with collecting(Ledger(book), address(mosquitto.port, protocol=protocol)):
        await Sender(box, mosquitto.host, mosquitto.port, V5).deliver()
    assert await held(book) == {box.box: [1, 2, 3, 4, 5, 6, 7]}


async def test_the_demo_broker_does_too(book: Database) -> None:
    """amqtt speaks 3.1.1 only, keeps no sessions and echoes; the ack makes up for all of it."""
    box = ScriptedBox()
    box.life()
    async with Amqtt() as broker, collecting(Ledger(book), address(broker.port, protocol="3.1.1")):
        await Sender(box, broker.host, broker.port, V311).deliver()
    assert await held(book) == {box.box: [1, 2, 3, 4, 5, 6, 7]}


async def test_the_ack_is_retained_for_a_box_that_comes_back_later(mosquitto: Mosquitto, book: Database) -> None:
    """A box that lost its link right after publishing learns at its next connection that it may forget."""
    box = ScriptedBox()
    box.life()
    async with collecting(Ledger(book), address(mosquitto.port)):
        await Sender(box, mosquitto.host, mosquitto.port, V5).deliver()
    async with aiomqtt.Client(mosquitto.host, mosquitto.port) as late:
        await late.subscribe(topic(box.box, Leaf.ACK), qos=1)
        async with asyncio.timeout(SOON_S):
            message = await anext(aiter(late.messages))
    assert message.retain


async def test_a_broker_that_is_away_at_start_is_waited_for(
    tmp_path: Path, book: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """One warning when it is missed, one line when it is back; no crash loop."""
    caplog.set_level(logging.INFO, logger="packbook")
    broker, box = Mosquitto(tmp_path), ScriptedBox()
    box.life()
    async with collecting(Ledger(book), address(broker.port), connected=False) as collector:
        await asyncio.sleep(0.3)
        assert not collector.connected.is_set()
        with broker:
            await Sender(box, broker.host, broker.port, V5).deliver()
    assert len(await held(book)) == 1
    missed = [r for r in caplog.records if r.levelno == logging.WARNING and "trying again" in r.getMessage()]
    back = [r for r in caplog.records if "is back after" in r.getMessage()]
    assert (len(missed), len(back)) == (1, 1)


@pytest.mark.slow
async def test_a_broker_killed_half_way_costs_nothing(mosquitto: Mosquitto, book: Database) -> None:
    """It loses what it had acknowledged; the boxes have not forgotten it."""
    boxes = [ScriptedBox(name=f"box-{n}") for n in range(3)]
    for box in boxes:
        box.hello()
        for _ in range(60):
            box.charge()
    ledger = TroubledLedger(Ledger(book), failures=0)
    async with collecting(ledger, address(mosquitto.port)):
        senders = [Sender(box, mosquitto.host, mosquitto.port, V5) for box in boxes]
        deliveries = [asyncio.create_task(sender.deliver(120.0)) for sender in senders]
        for kept in (5, 40, 80, 120, 160):
            await until(lambda: ledger.accepted >= kept)  # noqa: B023 - awaited before `kept` changes
            mosquitto.kill()
            mosquitto.start()
        await asyncio.gather(*deliveries)
    assert await held(book) == {box.box: list(range(1, 62)) for box in boxes}


async def test_garbage_blocks_nobody_and_is_kept_with_its_reason(mosquitto: Mosquitto, book: Database) -> None:
    """Anyone who may publish can send anything; good records on both sides of it pass."""
    box = ScriptedBox()
    box.life()
    async with collecting(Ledger(book), address(mosquitto.port)):
        async with aiomqtt.Client(mosquitto.host, mosquitto.port) as vandal:
            for payload in (b"", b"\xff" * 300, b"\xd2\x84" + b"\x9b" * 60, box.sealed[1][:-3], b"{}" * 100_000):
                await vandal.publish(topic(box.box, Leaf.RECORD), payload, qos=1)
                await vandal.publish("pb/v1/NOT-A-BOX/r", payload, qos=1)
                await vandal.publish(topic(box.box, Leaf.HEARTBEAT), payload, qos=0)
                await vandal.publish(topic(box.box, Leaf.STATUS), payload, qos=1)
        await Sender(box, mosquitto.host, mosquitto.port, V5).deliver()
    assert await held(book) == {box.box: [1, 2, 3, 4, 5, 6, 7]}
    async with book.transaction() as connection:
        reasons = set(await connection.scalars(sa.select(tables.quarantine.c.reason)))
    assert reasons == {"malformed", "not_ours"}


class TroubledLedger:
    """A ledger whose database is away for the first tries."""

    def __init__(self, ledger: Ledger, failures: int) -> None:
        self._ledger = ledger
        self.failures = failures
        self.batches: list[int] = []
        self.accepted = 0

    async def read(self, arrivals: Sequence[Arrival]) -> Sequence[Reading]:
        return await self._ledger.read(arrivals)

    async def keep(self, readings: Sequence[Reading]) -> Taken:
        self.batches.append(len(readings))
        if self.failures:
            self.failures -= 1
            raise StoreError("database: disk is full")
        taken = await self._ledger.keep(readings)
        self.accepted += taken.accepted
        return taken


async def test_a_database_that_is_away_loses_nothing_and_is_said_once(
    mosquitto: Mosquitto, book: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """Disk full or locked: no acknowledgement, try again, tell the operator once and not per try."""
    ledger = TroubledLedger(Ledger(book), failures=5)
    box = ScriptedBox()
    box.life()
    async with collecting(ledger, address(mosquitto.port)):
        await Sender(box, mosquitto.host, mosquitto.port, V5).deliver()
    assert await held(book) == {box.box: [1, 2, 3, 4, 5, 6, 7]}
    assert len([r for r in caplog.records if "disk is full" in r.getMessage()]) == 1


async def test_a_message_that_was_not_committed_comes_again_after_a_reconnect(
    mosquitto: Mosquitto, book: Database
) -> None:
    """PUBACK before COMMIT would lose it: the first collector dies holding it, the second one gets it."""
    box = ScriptedBox()
    box.life()
    stuck = TroubledLedger(Ledger(book), failures=1_000_000)
    async with collecting(stuck, address(mosquitto.port)):
        async with aiomqtt.Client(mosquitto.host, mosquitto.port) as client:
            for sealed in box.sealed:
                await client.publish(topic(box.box, Leaf.RECORD), sealed, qos=1)
        await until(lambda: bool(stuck.batches))
    assert await held(book) == {}
    heir = TroubledLedger(Ledger(book), failures=0)
    async with collecting(heir, address(mosquitto.port)):
        await until(lambda: heir.accepted == 7)


async def test_batches_are_bounded_by_size(mosquitto: Mosquitto, book: Database) -> None:
    """A fleet that comes back at once must not become one endless transaction."""
    ledger = TroubledLedger(Ledger(book), failures=0)
    box = ScriptedBox()
    box.hello()
    for _ in range(200):
        box.drive()
    async with collecting(ledger, address(mosquitto.port)):
        await Sender(box, mosquitto.host, mosquitto.port, V5).deliver()
    assert max(ledger.batches) <= LIMITS.records_max
    assert len(ledger.batches) < 150


async def test_a_probe_says_why_a_broker_cannot_be_used(mosquitto: Mosquitto) -> None:
    """`packbook doctor` must tell "nobody there" from "there, but it refuses us"."""
    await probe(address(mosquitto.port, session_expiry_s=0))
    with pytest.raises(BrokerError, match="refused"):
        await probe(address(free_port(), session_expiry_s=0))


async def test_a_refused_login_names_the_brokers_reason(tmp_path: Path) -> None:
    """A wrong password is not a network problem."""
    with Mosquitto(tmp_path, anonymous=False) as broker, pytest.raises(BrokerError, match="refused us: Not authorized"):
        await probe(address(broker.port, session_expiry_s=0))


async def test_records_come_over_tls(tmp_path: Path, book: Database) -> None:
    """Decrypted bytes that no socket event announces must be read too."""
    certificate, key = self_signed(tmp_path)
    ledger = TroubledLedger(Ledger(book), failures=0)
    box = ScriptedBox()
    box.hello()
    for _ in range(100):
        box.charge()
    with Mosquitto(tmp_path, options=f"certfile {certificate}\nkeyfile {key}") as broker:
        trusting = ssl.create_default_context(cafile=certificate)
        async with collecting(ledger, address(broker.port, tls=TlsFiles(certificate))):
            async with aiomqtt.Client(broker.host, broker.port, tls_context=trusting) as client:
                for sealed in box.sealed:
                    await client.publish(topic(box.box, Leaf.RECORD), sealed, qos=1)
            await until(lambda: ledger.accepted == 101)


@pytest.mark.filterwarnings("ignore:Exception ignored in. <ssl.SSLSocket")
def test_a_broker_with_an_unknown_certificate_is_refused(tmp_path: Path) -> None:
    """Whoever answers at the address could otherwise take our password."""
    certificate, key = self_signed(tmp_path)

    async def visit(port: int) -> None:
        await probe(address(port, session_expiry_s=0, tls=TlsFiles()))

    broker = Mosquitto(tmp_path, options=f"certfile {certificate}\nkeyfile {key}")
    with broker, pytest.raises(BrokerError, match=r"an authority that we do not know.*certificate verify failed"):
        asyncio.run(visit(broker.port))
    gc.collect()  # paho 2.2 leaves the socket of a failed handshake to the collector of garbage: here, not later


def self_signed(folder: Path) -> tuple[Path, Path]:
    """Certificate and key of a broker on this machine."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "broker")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return folder / "cert.pem", folder / "key.pem"


async def test_two_collectors_of_one_name_are_told_apart(
    mosquitto: Mosquitto, book: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """The broker throws one out for the other, again and again: the log must say what is wrong, not only that it is."""
    where = address(mosquitto.port)
    async with collecting(Ledger(book), where), collecting(Ledger(book), where, connected=False):
        await until(lambda: "does another client use the name 'collector-0'" in caplog.text)


class Process:
    """`packbook collect` as a process of its own, to be killed."""

    def __init__(self, folder: Path, database_url: str, port: int) -> None:
        self._config = folder / "packbook.toml"
        self._config.write_text(
            f'database_url = "{database_url}"\nbroker = "mqtt://127.0.0.1:{port}"\nbatch_records_max = 5\n'
            "batch_wait_max_s = 0.0\n"
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen([sys.executable, "-m", "packbook", "collect", "--settings", str(self._config)])

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()


@pytest.mark.slow
async def test_a_collector_killed_half_way_costs_nothing(
    mosquitto: Mosquitto, tmp_path: Path, database_url: str
) -> None:
    """SIGKILL between receive, COMMIT, PUBACK and ack: every record is in the ledger exactly once."""
    boxes = [ScriptedBox(name=f"box-{n}") for n in range(3)]
    for box in boxes:
        box.hello()
        for _ in range(150):
            box.charge()
    collector = Process(tmp_path, database_url, mosquitto.port)
    collector.start()
    senders = [Sender(box, mosquitto.host, mosquitto.port, V5) for box in boxes]
    deliveries = [asyncio.create_task(sender.deliver(120.0)) for sender in senders]
    try:
        for acknowledged in (1, 150, 300):
            await until(lambda: sum(sender.ack.upto for sender in senders) >= acknowledged, 60.0)  # noqa: B023 - as above
            collector.kill()
            collector.start()
        await asyncio.gather(*deliveries)
    finally:
        collector.kill()
    async with open_writer(database_url, "test") as database:
        assert await held(database) == {box.box: list(range(1, 152)) for box in boxes}
