"""Several collectors under one shared subscription: killed, added and taken away under load."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiomqtt
import pytest
import sqlalchemy as sa

from brokers import HOST, Mosquitto
from cloud.delivery import Sender
from cloud.guarded_brokers import Guarded, configured_mosquitto
from packbook.__main__ import main
from packbook.adapters.mqtt import BrokerAddress, Link
from packbook.adapters.store import open_writer, tables
from packbook.adapters.store.audit import audit
from packbook.app import workers
from packbook.app.command import broker_address
from packbook.ports.trouble import SettingsError
from packbook.settings import Settings
from packbook.testing.scripted_box import ScriptedBox
from processes import children_of

PATIENCE_S = 120.0
BOXES = 4
CHARGES = 40


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path, persistent=True) as running:
        yield running


@pytest.mark.slow
async def test_workers_come_go_and_die_and_nothing_is_lost(
    mosquitto: Mosquitto, tmp_path: Path, postgres_url: str
) -> None:
    """Each has messages of its own at the broker; what one of them held comes to the book in any case, and once."""
    settings = tmp_path / "packbook.toml"
    settings.write_text(
        f'database_url = "{postgres_url}"\nbroker = "mqtt://{mosquitto.host}:{mosquitto.port}"\nshare = "shared"\n'
        "batch_records_max = 5\n"
    )
    boxes = [ScriptedBox(name=f"box-{number}") for number in range(BOXES)]
    for box in boxes:
        box.hello(f"BAT-{box.name}")
        for _ in range(CHARGES):
            box.charge()
    senders = [Sender(box, mosquitto.host, mosquitto.port, aiomqtt.ProtocolVersion.V5) for box in boxes]
    command = [sys.executable, "-m", "packbook", "collect", "--workers", "2", "--settings", str(settings)]
    supervisor = await asyncio.create_subprocess_exec(*command)
    deliveries = [asyncio.create_task(sender.deliver(PATIENCE_S)) for sender in senders]
    try:
        await held(senders, 1)
        os.kill(children_of(supervisor.pid)[0], signal.SIGKILL)
        supervisor.send_signal(signal.SIGTTIN)
        await held(senders, 100)
        assert len(children_of(supervisor.pid)) >= 2
        supervisor.send_signal(signal.SIGTTOU)
        await asyncio.gather(*deliveries)
    finally:
        supervisor.terminate()
        await supervisor.wait()
    assert supervisor.returncode == 0
    async with open_writer(postgres_url, "test") as database:
        async with database.transaction() as connection:
            counted = await connection.execute(sa.select(tables.battery.c.records, tables.battery.c.charges))
            assert [tuple(row) for row in counted] == [(CHARGES + 1, CHARGES)] * BOXES
        found = await audit(database, lambda _done, _total: None)
    assert (found.records, found.broken, found.quarantine) == (BOXES * (CHARGES + 1), 0, {})


async def leave_behind(broker: Mosquitto, name: str) -> None:
    """A worker's session with a message in it, as one leaves it that dies."""
    link = Link(BrokerAddress(broker.host, broker.port, name), lambda _message: None)
    await link.open([f"$share/shared/{name}"])
    await link.close()
    async with aiomqtt.Client(broker.host, broker.port) as client:
        await client.publish(name, b"news", qos=1)


async def waiting_for(broker: Mosquitto, name: str) -> list[bytes]:
    """What the broker holds for this name, and then `end`."""
    heard: asyncio.Queue[bytes] = asyncio.Queue()
    link = Link(BrokerAddress(broker.host, broker.port, name), lambda message: heard.put_nowait(message.payload))
    await link.open(["end"])
    async with aiomqtt.Client(broker.host, broker.port) as client:
        await client.publish("end", b"end", qos=1)
    found = [await heard.get()]
    while found[-1] != b"end":
        found.append(await heard.get())
    await link.close()
    return found


@pytest.fixture
async def team(mosquitto: Mosquitto, request: pytest.FixtureRequest) -> AsyncIterator[workers.Team]:
    """Two workers that do nothing but what the test's parameter, a shell script, says."""
    settings = Settings(broker=f"mqtt://{mosquitto.host}:{mosquitto.port}", collector_name="book")
    team = workers.Team(["/bin/sh", "-c", request.param], settings)
    team.add()
    team.add()
    try:
        yield team
    finally:
        await team.stop()


@pytest.mark.parametrize("team", ["exit 1", "exec sleep 600"], ids=["dead", "dies over it"], indirect=True)
async def test_a_worker_that_cannot_take_leave_is_forgotten_all_the_same(
    mosquitto: Mosquitto, team: workers.Team
) -> None:
    """Its session would take a share of all messages for a week, and nobody would ever read them."""
    await leave_behind(mosquitto, "book-0")
    await leave_behind(mosquitto, "book-1")
    left = team.retire_last()
    assert left is not None
    async with asyncio.timeout(PATIENCE_S):
        await left
    assert await waiting_for(mosquitto, "book-0") == [b"news", b"end"]
    assert await waiting_for(mosquitto, "book-1") == [b"end"]
    assert team.retire_last() is None  # one stays


@pytest.mark.parametrize("team", ["exec sleep 600"], ids=[""], indirect=True)
async def test_a_smaller_team_ends_what_a_larger_one_left_also_when_the_broker_comes_later(
    tmp_path: Path, mosquitto: Mosquitto, team: workers.Team, caplog: pytest.LogCaptureFixture
) -> None:
    """All died at once, and are started as fewer: nobody else knows of the others' sessions."""
    await leave_behind(mosquitto, "book-7")
    mosquitto.stop()
    clearing = team.clear_up()
    async with asyncio.timeout(PATIENCE_S):
        while "trying again until it answers" not in caplog.text:  # noqa: ASYNC110 - logged by another task
            await asyncio.sleep(0.01)
        mosquitto.start()
        await clearing
    assert await waiting_for(mosquitto, "book-7") == [b"end"]


@pytest.mark.parametrize("team", ["exec sleep 600"], ids=[""], indirect=True)
async def test_a_worker_wanted_again_before_it_has_left_begins_again(team: workers.Team) -> None:
    """Its name is taken until then: a second process of that name would be refused by the database."""
    left = team.retire_last()
    team.add()
    assert left is not None
    assert not left.done()
    again = team.retire_last()
    assert again is left


@pytest.mark.parametrize(("certificate", "ended"), [("one.pem", 0), ("{name}.pem", workers.WORKERS_MAX)])
async def test_sessions_are_ended_only_under_names_that_tell_workers_apart(
    monkeypatch: pytest.MonkeyPatch, certificate: str, ended: int
) -> None:
    """Our brokers go by the name in the certificate: with one for all we would throw out a worker that runs."""
    names: list[str] = []

    async def forget(name: str) -> None:
        names.append(name)

    monkeypatch.setattr(workers, "broker_address", lambda settings: settings.collector_name)
    monkeypatch.setattr(workers, "forget", forget)
    files = {"broker_cert_file": Path(certificate), "broker_key_file": Path("key.pem")}
    await workers.Team([], Settings(broker="mqtts://broker.example", collector_name="book", **files)).clear_up()
    assert names == [f"book-{number}" for number in range(ended)]


class GuardedSender(Sender):
    """With the certificate of its box."""

    def __init__(self, box: ScriptedBox, broker: Guarded) -> None:
        super().__init__(box, HOST, broker.port, aiomqtt.ProtocolVersion.V311)
        self._broker, self._pair = broker, broker.authority.issue(box.box)

    def _client(self) -> aiomqtt.Client:
        return self._broker.client(self.box.box, pair=self._pair)


@pytest.mark.slow
async def test_workers_with_a_certificate_each_share_the_work_of_a_guarded_broker(
    tmp_path: Path, postgres_url: str
) -> None:
    """It knows clients by their certificates and has one connection of each: with one for all, workers throw each
    other out and nothing is taken."""
    boxes = [ScriptedBox(name=f"box-{number}") for number in range(BOXES)]
    for box in boxes:
        box.hello(f"BAT-{box.name}")
        for _ in range(CHARGES):
            box.charge()
    with configured_mosquitto(tmp_path, options=("--collector", "collector-1")) as broker:
        pki = broker.authority.folder
        for name in ("collector-0", "collector-1"):
            broker.authority.issue(name)
        settings = tmp_path / "packbook.toml"
        settings.write_text(
            f'database_url = "{postgres_url}"\nbroker = "mqtts://{HOST}:{broker.port}"\nshare = "nobody-guesses-this"\n'
            f'collector_name = "collector"\nbatch_records_max = 5\nbroker_ca_file = "{broker.authority.file}"\n'
            f'broker_cert_file = "{pki}/{{name}}.crt"\nbroker_key_file = "{pki}/{{name}}.key"\n'
        )
        command = [sys.executable, "-m", "packbook", "collect", "--workers", "2", "--settings", str(settings)]
        supervisor = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
        try:
            await asyncio.gather(*(GuardedSender(box, broker).deliver(PATIENCE_S) for box in boxes))
        finally:
            supervisor.terminate()
            _, said = await supervisor.communicate()
    assert b"throwing us out" not in said
    assert b"trying again" not in said, said
    async with open_writer(postgres_url, "test") as database:
        found = await audit(database, lambda _done, _total: None)
    assert (found.records, found.broken, found.quarantine) == (BOXES * (CHARGES + 1), 0, {})


def test_each_worker_shows_a_certificate_of_its_own(tmp_path: Path) -> None:
    """One settings file for all, and a broker that knows clients by their certificates."""
    files = {"broker_cert_file": tmp_path / "{name}.pem", "broker_key_file": tmp_path / "{name}.key"}
    settings = Settings(broker="mqtts://broker.example", collector_name="book", **files)
    with pytest.raises(SettingsError, match=r"book-3\.pem.*book-3\.key"):
        broker_address(workers.worker_settings(settings, 3))


def test_pauses_grow_while_a_worker_dies_at_once_and_only_then() -> None:
    """A fleet waits: after a good run a worker is back in a second, and never is a pause longer than five."""
    pauses = [0.0]
    for _ in range(5):
        pauses.append(workers.pause_s(pauses[-1], ran_s=0.5))
    assert pauses[1:] == [1.0, 2.0, 4.0, 5.0, 5.0]
    assert workers.pause_s(5.0, ran_s=11.0) == 1.0


async def held(senders: list[Sender], records: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while sum(sender.ack.upto for sender in senders) < records:  # noqa: ASYNC110 - acks come by themselves
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("lines", "count", "said"),
    [
        ('database_url = "sqlite:///book.db"\n', "2", "several workers need PostgreSQL"),
        ('database_url = "postgresql://nobody@127.0.0.1/none"\n', "2", "name of a shared subscription"),
        ('database_url = "postgresql://nobody@127.0.0.1/none"\nshare = "s"\n', "0", "--workers: from 1 to"),
    ],
    ids=["sqlite", "alone", "none"],
)
def test_workers_that_cannot_share_are_refused_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], lines: str, count: str, said: str
) -> None:
    """Two that each hear everything would do all the work twice."""
    settings = tmp_path / "packbook.toml"
    settings.write_text(lines)
    assert main(["collect", "--workers", count, "--settings", str(settings)]) == 2
    assert said in capsys.readouterr().err
