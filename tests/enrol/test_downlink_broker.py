"""The whole way down: an operator's words through the real mosquitto into a running box, and what it says of them."""

from __future__ import annotations

import asyncio
import shutil
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from brokers import Mosquitto, free_port
from packbook.__main__ import main
from packbook.adapters.authority import CA_FILE, CRL_FILE
from packbook.adapters.store.histories import SqlHistories
from packbook.app.collecting import make_collector
from packbook.app.send_down import send_down
from packbook.clock import now_ms
from packbook.settings import Settings
from packwire.command import Command, CommandKind, encode_command
from packwire.config import Config, encode_config
from packwire.ids import BoxId
from packwire.topics import Leaf, topic

from .conftest import HOST, OPERATOR, OPERATOR_KEY, Book

WAIT_MAX_S: Final = 30.0  # a loaded machine; it takes about ten
COLLECTOR: Final = "collector-0"
CONFIG_AND_COMMANDS: Final = ("config_applied", "config_refused", "command_done", "command_refused")


class Operator:
    """Someone at a machine of his own: with a certificate for the broker, and the key that boxes believe."""

    def __init__(self, folder: Path, book: Book, port: int) -> None:
        folder.mkdir()
        cert, key = book.authority.issue_client("operator-0", folder, now_ms())
        operator_key = folder / "operator.pem"
        operator_key.write_bytes(OPERATOR.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        operator_key.chmod(0o600)
        self.folder = folder
        self.settings = Settings(
            database_url=f"sqlite:///{folder / 'none.db'}",
            broker=f"mqtts://{HOST}:{port}",
            broker_ca_file=book.authority.folder / CA_FILE,
            broker_cert_file=cert,
            broker_key_file=key,
            operator_key_file=operator_key,
        )
        self.file = folder / "packbook.toml"
        names = ("broker", "broker_ca_file", "broker_cert_file", "broker_key_file", "operator_key_file")
        self.file.write_text("".join(f'{name} = "{getattr(self.settings, name)}"\n' for name in names))

    async def says(self, *words: str | Path) -> str:
        """By the program, as an operator does."""
        command = [sys.executable, "-m", "packbook", *map(str, words), "--settings", str(self.file)]
        running = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE)
        out, err = await running.communicate()
        assert running.returncode == 0, err.decode()
        return out.decode()

    async def configures(self, box: BoxId, text: str) -> str:
        file = self.folder / "wish.toml"
        file.write_text(text)
        return await self.says("config", "push", box, file)


class World:
    """What the book came to know of the one box."""

    def __init__(self, book: Book, operator: Operator) -> None:
        self.operator = operator
        self._book = SqlHistories(book.database)

    async def box(self) -> BoxId:
        await self.until(lambda: self.known, "the box is heard")
        return BoxId(self.known[0])

    async def until(self, wanted: Callable[[], object], what: str) -> None:
        now_s = asyncio.get_running_loop().time
        until_s = now_s() + WAIT_MAX_S
        while now_s() < until_s:
            rows = await self._book.boxes()
            self.known = [row.box for row in rows]
            self.health = dict(rows[0].health) if rows else {}
            events = [e for b in await self._book.batteries() for e in await self._book.events(b.battery)]
            self.events = [(e.event, e.text or "") for e in events if e.event in CONFIG_AND_COMMANDS]
            if wanted():
                return
            await asyncio.sleep(0.1)
        raise AssertionError(f"never: {what}; told: {self.events}; health: {self.health}")

    def told(self, event: str, words: str) -> int:
        return sum(kind == event and words in text for kind, text in self.events)


@pytest.fixture
def broker(tmp_path: Path, book: Book) -> Mosquitto:
    """As `packbook broker-config` writes it."""
    etc, data, port = tmp_path / "etc", tmp_path / "data", free_port()
    data.mkdir()
    options = ["--collector", COLLECTOR, "--operator", "operator-0", "--port", str(port), "--bind", HOST]
    assert main(["broker-config", "--out", str(etc), "--etc", str(etc), "--data", str(data), *options]) == 0
    ca = book.authority.folder
    for name, source in (
        ("ca.pem", CA_FILE),
        ("crl.pem", CRL_FILE),
        ("server.pem", f"server-{HOST}.pem"),
        ("server.key", f"server-{HOST}.key"),
    ):
        shutil.copy(ca / source, etc / name)
    return Mosquitto.of_config(etc / "mosquitto.conf", port)


@pytest.fixture
async def world(tmp_path: Path, book: Book, broker: Mosquitto) -> AsyncIterator[World]:
    """A box that knows no more than its invitation, a collector, an operator; all at one broker over mutual TLS."""
    book.desk.addresses = {"broker": {"host": HOST, "port": broker.port}, "operator_key": OPERATOR_KEY.hex()}
    (tmp_path / "collector").mkdir()
    cert, key = book.authority.issue_client(COLLECTOR, tmp_path / "collector", now_ms())
    own = {"broker": f"mqtts://{HOST}:{broker.port}", "broker_ca_file": book.authority.folder / CA_FILE}
    collector = book.settings.model_copy(update={**own, "broker_cert_file": cert, "broker_key_file": key})
    with broker:
        operator = Operator(tmp_path / "operator", book, broker.port)
        collecting = asyncio.create_task(make_collector(collector, book.database).run())
        async with running_box(tmp_path, book):
            yield World(book, operator)
        collecting.cancel()
        await asyncio.gather(collecting, return_exceptions=True)


@asynccontextmanager
async def running_box(folder: Path, book: Book) -> AsyncIterator[None]:
    invitation, settings = folder / "packbox-enrol.toml", folder / "packbox.toml"
    code = await book.code()
    invitation.write_text(f'url = "{book.url}"\ntoken = "{code}"\nca_fingerprint = "{book.fingerprint}"\n')
    settings.write_text(
        f'data_dir = "{folder / "card"}"\nenrol_file = "{invitation}"\nclock_trusted = "always"\n'
        'source = "sim:leaf-62,days=60,speed=3600"\nprofile = "nissan-leaf"\ncommit_every_s = 0.1\n'
    )
    command = [sys.executable, "-m", "packbox", "run", "--settings", str(settings)]
    running = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE)
    try:
        yield
    finally:
        if running.returncode is None:
            running.terminate()
        _, said = await running.communicate()
    assert running.returncode == 0, said.decode()


def command(box: BoxId, kind: CommandKind, number: int, **given: int) -> bytes:
    whole = Command(id=number.to_bytes(8, "big"), command=kind, expires_ms=now_ms() + 3_600_000, **given)
    return encode_command(whole, box, OPERATOR.sign, OPERATOR_KEY)


async def test_an_operators_words_reach_a_box_that_only_enrolled(world: World) -> None:
    """One life of the down-link: a configuration comes into force and is reported, bad ones change nothing.

    A command is done once however often it comes, and none makes a passive box ask the car.
    """
    operator, box = world.operator, await world.box()

    said = await operator.configures(box, "heartbeat_every_s = 60\nusage_every_s = 7200\n")
    version = int(said.split("version ")[1].split()[0])
    await world.until(lambda: world.health.get("config_version") == version, "the configuration is in force")
    await world.until(lambda: world.told("config_applied", "heartbeat_every_s, usage_every_s"), "it is told")

    down = {topic(box, Leaf.CONFIG): b""}
    for bad, why in (
        (Config(version=version + 1, profile="no-such-car"), "no-such-car"),
        (Config(version=version - 1, heartbeat_every_s=90), f"version {version - 1} is not above {version}"),
    ):
        await send_down(operator.settings, {t: encode_config(bad, box, OPERATOR.sign, OPERATOR_KEY) for t in down})
        await world.until(lambda why=why: world.told("config_refused", why), f"refused: {why}")  # type: ignore[misc]  # bound now
    assert world.told("config_applied", "") == 1
    assert world.health["config_version"] == version

    again = command(box, CommandKind.RESEND, 1, from_seq=1)
    for payload in (again, again, command(box, CommandKind.LOG_SLICE, 2), again):
        await send_down(operator.settings, {topic(box, Leaf.COMMAND): payload})
    await send_down(operator.settings, {topic(box, Leaf.COMMAND): command(box, CommandKind.INSPECT, 3)})
    await world.until(lambda: world.told("command_refused", "inspect: the owner has not agreed to polling"), "refused")
    await world.until(lambda: world.told("command_done", "0000000000000001 resend"), "done")
    assert world.told("command_done", "") == 1
    assert world.told("command_refused", "log_slice: the owner has not agreed to diagnostics") == 1
