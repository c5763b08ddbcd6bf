"""An operator's commands end as signed messages at a real broker, for the boxes meant and for no other."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import aiomqtt
import pytest

from brokers import Mosquitto, free_port
from packbook.__main__ import main
from packbook.app.config import ConfigFileError, config_from
from packbook.clock import now_ms
from packwire.command import CommandKind, decode_command
from packwire.config import decode_config
from packwire.ids import BoxId
from packwire.topics import Leaf, topic

BOX = BoxId("11" * 8)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    (tmp_path / "mosquitto").mkdir()
    with Mosquitto(tmp_path / "mosquitto") as started:
        yield started


@pytest.fixture
def settings(tmp_path: Path, sqlite_url: str) -> Path:
    file = tmp_path / "packbook.toml"
    file.write_text(f'database_url = "{sqlite_url}"\noperator_key_file = "{tmp_path / "operator.pem"}"\n')
    return file


def told(capsys: pytest.CaptureFixture[str], code: int, *words: str | Path) -> str:
    try:
        got = main([str(word) for word in words])
    except SystemExit as leaving:
        got = int(str(leaving.code))
    said = capsys.readouterr()
    assert got == code, said.err
    return said.out if code == 0 else said.err


async def retained(port: int, leaf: Leaf) -> bytes:
    async with asyncio.timeout(10), aiomqtt.Client("127.0.0.1", port) as client:
        await client.subscribe(topic(BOX, leaf), qos=1)
        async for message in client.messages:
            assert isinstance(message.payload, bytes)
            assert message.retain
            return message.payload
    raise AssertionError


def test_a_key_a_configuration_and_a_command_reach_the_broker(
    broker: Mosquitto, settings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole way of an operator: make a key, tell boxes its public half, configure one, command it."""
    with settings.open("a") as more:
        more.write(f'broker = "mqtt://127.0.0.1:{broker.port}"\n')
    public_key = bytes.fromhex(told(capsys, 0, "operator-key", "new", "--settings", settings))
    assert bytes.fromhex(told(capsys, 0, "operator-key", "show", "--settings", settings)) == public_key
    wish = tmp_path / "wish.toml"
    wish.write_text('battery = "pack-9"\nheartbeat_every_s = 900\n')
    began_s = now_ms() // 1000
    assert "waits for it at the broker" in told(capsys, 0, "config", "push", BOX, wish, "--settings", settings)
    config = decode_config(asyncio.run(retained(broker.port, Leaf.CONFIG)), BOX, public_key)
    assert (config.battery, config.heartbeat_every_s, config.profile) == ("pack-9", 900.0, None)
    assert began_s <= config.version <= began_s + 60
    said = told(capsys, 0, "command", BOX, "resend", "--from", "17", "--hours", "1", "--settings", settings)
    command = decode_command(asyncio.run(retained(broker.port, Leaf.COMMAND)), BOX, public_key)
    assert (command.command, command.from_seq) == (CommandKind.RESEND, 17)
    assert 0 < command.expires_ms - now_ms() <= 3_600_000
    assert command.id.hex() in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('polling = "agreed"', "polling: cannot be set from afar"),
        ("broker_tls = false", "broker_tls: cannot be set from afar"),
        ("version = 5", "version: cannot be set from afar"),
        ("commit_every_s = 0", "commit_every_s: Expected `float` >= 0.1"),
        ("heartbeat_every_s = 'often'", r"heartbeat_every_s: Expected `float \| null`, got `str`"),
        ("operator_key = 'zz'", "operator_key: expected 64 hex digits"),
        ("operator_key = 'ab'", "operator_key: Expected `bytes` of length >= 32"),
        ("= 5", "cannot be read"),
    ],
)
def test_a_bad_configuration_is_refused_before_anything_is_sent(tmp_path: Path, text: str, said: str) -> None:
    """A fleet is not the place to find a typing error."""
    file = tmp_path / "wish.toml"
    file.write_text(text)
    with pytest.raises(ConfigFileError, match=said):
        config_from(file, 1, 1)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["command", BOX, "inspect", "--hours", "0"], 2, "--hours 0"),
        (["command", BOX, "resend"], 2, "from_seq"),
        (["command", BOX, "log", "--lines", "65"], 2, "lines: Expected `int` <= 64"),
        (["command", BOX, "open-doors"], 2, "invalid choice"),
        (["command", "van-7", "inspect"], 2, "van-7"),
        (["command", BOX, "inspect"], 1, "there is no such file|No such file"),
        (["config", "push", BOX, "/nowhere.toml"], 1, "/nowhere.toml: cannot be read"),
    ],
)
def test_wrong_words_are_refused_by_name(
    settings: Path, capsys: pytest.CaptureFixture[str], words: list[str], code: int, said: str
) -> None:
    """Exit 2 for wrong usage, 1 for what was not there."""
    assert re.search(said, told(capsys, code, *words, "--settings", settings))


def test_a_key_is_never_written_over_nor_used_when_others_can_read_it(
    settings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With it every box of a fleet can be configured."""
    told(capsys, 0, "operator-key", "new", "--settings", settings)
    assert "never written over" in told(capsys, 1, "operator-key", "new", "--settings", settings)
    (tmp_path / "operator.pem").chmod(0o640)
    assert "lets others at the key" in told(capsys, 1, "operator-key", "show", "--settings", settings)


def test_a_fleet_without_boxes_and_a_broker_that_is_away_are_said(
    settings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing was sent, and the operator knows."""
    with settings.open("a") as more:
        more.write(f'broker = "mqtt://127.0.0.1:{free_port()}"\n')
    told(capsys, 0, "operator-key", "new", "--settings", settings)
    (tmp_path / "wish.toml").write_text('battery = "pack-9"\n')
    said = told(capsys, 1, "config", "push", "--fleet", "osaka", tmp_path / "wish.toml", "--settings", settings)
    assert "has no active box" in said
    assert "broker 127.0.0.1" in told(capsys, 1, "config", "push", BOX, tmp_path / "wish.toml", "--settings", settings)
