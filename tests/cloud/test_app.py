"""The commands of the book, as an operator runs them."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiomqtt
import pytest

from brokers import Mosquitto, free_port
from cloud.delivery import Sender
from packbook.__main__ import COMMANDS, main
from packbook.adapters.store import open_writer
from packbook.adapters.store.ledger import Ledger
from packbook.app.serve import serve
from packbook.core.intake import Arrival
from packbook.ports.trouble import SettingsError
from packbook.settings import Settings, load_settings
from packbook.testing.scripted_box import ScriptedBox


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("PACKBOOK_") or name == "CREDENTIALS_DIRECTORY":
            monkeypatch.delenv(name)


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path) as running:
        yield running


def config(folder: Path, **settings: object) -> Path:
    file = folder / "packbook.toml"
    file.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items()))
    return file


async def test_serve_takes_records_and_shows_them(mosquitto: Mosquitto, sqlite_url: str) -> None:
    """One process from broker to page: what `packbook demo` and a small fleet run."""
    settings = Settings(database_url=sqlite_url, broker=f"mqtt://127.0.0.1:{mosquitto.port}", web_port=0)
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve(settings, on_ready=ready.set_result))
    try:
        async with asyncio.timeout(20):
            url = await ready
        box = ScriptedBox()
        box.life()
        await Sender(box, mosquitto.host, mosquitto.port, aiomqtt.ProtocolVersion.V5).deliver()
        page = await asyncio.to_thread(_get, f"{url}api/v1/batteries")
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
    assert "BAT-1" in page


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - our own loopback server
        text: str = answer.read().decode()
        return text


def test_a_process_leaves_cleanly_on_sigterm_and_refuses_a_second_one(tmp_path: Path, sqlite_url: str) -> None:
    """systemd stops it so; and an operator who starts it twice by hand is told who is there."""
    file = config(tmp_path, database_url=sqlite_url, broker=f"mqtt://127.0.0.1:{free_port()}", web_port=0)
    command = [sys.executable, "-m", "packbook", "serve", "--settings", str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        assert re.match(r"pages at http://127\.0\.0\.1:\d+/", first.stdout.readline())
        second = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
        first.send_signal(signal.SIGTERM)
        _, said = first.communicate(timeout=30)
    assert (second.returncode, first.returncode) == (1, 0)
    assert re.search(rf"another packbook \(pid {first.pid}\) writes to it", second.stderr)
    assert "Traceback" not in said + second.stderr


def test_a_taken_port_is_named(tmp_path: Path, sqlite_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Before the database is touched or the broker is joined."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        file = config(tmp_path, database_url=sqlite_url, web_port=port)
        assert main(["serve", "--settings", str(file)]) == 1
    assert f"web_port {port} on 127.0.0.1: Address already in use" in capsys.readouterr().err


def test_migrate_rebuild_and_doctor_on_a_healthy_book(
    tmp_path: Path, mosquitto: Mosquitto, capsys: pytest.CaptureFixture[str]
) -> None:
    """The three commands an operator runs around an update."""
    url = f"sqlite:///{tmp_path / 'book.db'}"
    file = str(config(tmp_path, database_url=url, broker=f"mqtt://127.0.0.1:{mosquitto.port}"))
    assert main(["migrate", "--settings", file]) == 0
    assert "(was empty)" in capsys.readouterr().out
    box = ScriptedBox()
    box.life()
    asyncio.run(_fill(url, box.arrivals))
    assert main(["rebuild", "--settings", file]) == 0
    assert "made anew from 7 records" in capsys.readouterr().out
    assert main(["doctor", "--settings", file]) == 0
    told = capsys.readouterr().out
    assert "no problem found" in told
    assert "7 records, 1-7 without a hole, battery BAT-1" in told


def test_doctor_says_everything_that_is_wrong_at_once(
    tmp_path: Path, sqlite_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Garbage, a hole, a box without its hello, no broker: each named, exit code 1, also as JSON."""
    box, stranger = ScriptedBox(), ScriptedBox(name="stranger")
    box.life()
    stranger.life()
    garbage = Arrival(box.arrivals[0].topic, b"garbage", 5)
    asyncio.run(_fill(sqlite_url, [*box.arrivals[:4], box.arrivals[5], garbage, *stranger.arrivals[1:]]))
    file = str(config(tmp_path, database_url=sqlite_url, broker=f"mqtt://127.0.0.1:{free_port()}"))
    assert main(["doctor", "--settings", file, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["ledger"]["quarantine"] == {"malformed": 1}
    assert found["ledger"]["unready"] == {stranger.box: 6}
    assert found["ledger"]["stores"][0]["holes"] == [[5, 5]]
    assert found["broker_reachable"] is False
    assert len(found["problems"]) == 4
    assert main(["doctor", "--settings", file]) == 1
    assert capsys.readouterr().out.count("PROBLEM") == 4


def test_an_operator_works_through_quarantine(
    tmp_path: Path, sqlite_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Look, decide, and every act stays written down with name and reason."""
    box = ScriptedBox()
    box.hello()
    clone = replace(box, sealed=list(box.sealed))
    box.charge()
    clone.drive()
    forked = Arrival(box.arrivals[1].topic, clone.sealed[1], 5)
    asyncio.run(_fill(sqlite_url, [*box.arrivals, Arrival(forked.topic, b"garbage", 5), forked]))
    settings = ["--settings", str(config(tmp_path, database_url=sqlite_url))]

    def quarantine(*words: str) -> tuple[int, list[dict[str, Any]]]:
        code = main(["quarantine", *words, *settings, "--json"])
        return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    code, (dispute, *items) = quarantine("list")
    assert (code, dispute["dispute"]["store"], dispute["dispute"]["from_seq"]) == (0, box.store, 3)
    ids = {line["item"]["reason"]: str(line["item"]["id"]) for line in items}
    assert set(ids) == {"fork", "malformed"}
    assert quarantine("drop", ids["malformed"], "--why", "noise")[0] == 0
    code, (released,) = quarantine("release", ids["fork"], "--why", "try again")
    assert (code, released["refused"]) == (1, "fork")
    assert quarantine("trust", box.box, box.store, "--why", "restored a backup")[0] == 0
    assert quarantine("trust", box.box, box.store, "--why", "again")[0] == 1
    assert quarantine("drop", "4711", "--why", "?")[0] == 1
    code, lines = quarantine("list")
    assert [line["item"]["reason"] for line in lines] == ["fork"]
    code, (shown,) = quarantine("show", ids["malformed"])
    assert (shown["item"]["state"], shown["item"]["payload"]) == ("dropped", "")
    assert [(act["act"], act["why"]) for act in shown["acts"]] == [("drop", "noise")]
    assert main(["quarantine", "list", "--all", *settings]) == 0
    told = capsys.readouterr().out
    assert "fork" in told
    assert "malformed [dropped]" in told


def test_doctor_and_web_on_no_database_say_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong path must not make an empty book."""
    file = str(config(tmp_path, database_url=f"sqlite:///{tmp_path / 'absent.db'}", web_port=0))
    assert main(["doctor", "--settings", file]) == 1
    assert main(["web", "--settings", file]) == 1
    assert "absent.db" in capsys.readouterr().err
    assert not (tmp_path / "absent.db").exists()


async def _fill(url: str, arrivals: list[Arrival]) -> None:
    async with open_writer(url, "test") as database:
        await Ledger(database).take(arrivals)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"colour": "red"}, "packbook.toml: colour: there is no such setting"),
        ({"web_port": "many"}, "packbook.toml: web_port: Input should be a valid integer"),
        ({"trusted_proxies": ["everybody"]}, "packbook.toml: trusted_proxies: 'everybody' does not appear to be"),
        ({"web_host": "192.0.2.1"}, "packbook.toml: web_host: only a loopback address while accounts are off"),
        ({"broker": "http://example.org"}, "packbook.toml: broker: expected mqtt://HOST:PORT or mqtts://HOST:PORT"),
        ({"broker": "mqtt://u:p@h"}, "packbook.toml: broker: user and password do not belong into the URL"),
        ({"broker": "mqtt://h:99999"}, "packbook.toml: broker: Port out of range"),
        ({"database_url": "mysql://h/x"}, "packbook.toml: database_url: 'mysql' is not one of sqlite, postgresql"),
        ({"broker_password": "x"}, "packbook.toml: broker_password: a secret does not belong here"),
        ({"broker_cert_file": "a.pem"}, "packbook.toml: broker_cert_file and broker_key_file go together"),
        ({"broker_ca_file": "a.pem"}, "need an mqtts:// broker"),
        ({"share": "fleet"}, "share: several collectors need PostgreSQL"),
    ],
)
def test_a_setting_that_cannot_be_used_names_file_key_and_reason(
    tmp_path: Path, settings: dict[str, object], said: str
) -> None:
    """The first second is the best moment to hear it."""
    with pytest.raises(SettingsError, match=re.escape(said)):
        load_settings(config(tmp_path, **settings))


def test_the_environment_is_over_the_file_and_named_when_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Containers are set up by variables; the message must point there and not at the file."""
    file = config(tmp_path, web_port=1234, collector_name="from-file")
    monkeypatch.setenv("PACKBOOK_WEB_PORT", "4321")
    assert (load_settings(file).web_port, load_settings(file).collector_name) == (4321, "from-file")
    monkeypatch.setenv("PACKBOOK_WEB_PORT", "many")
    with pytest.raises(SettingsError, match=r"^\$PACKBOOK_WEB_PORT: web_port: "):
        load_settings(file)
    monkeypatch.delenv("PACKBOOK_WEB_PORT")
    monkeypatch.setenv("PACKBOOK_WEB_PRT", "1")
    with pytest.raises(SettingsError, match=r"^\$PACKBOOK_WEB_PRT: there is no such setting"):
        load_settings(file)


def test_secrets_come_from_the_service_managers_folder_and_stay_out_of_sight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """systemd's LoadCredential=; a repr in a log shows stars."""
    (tmp_path / "broker_password").write_text("hunter2\n")
    (tmp_path / "database_url").write_text("postgresql://book:hunter2@db/book\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    settings = load_settings(config(tmp_path, broker_user="book"))
    assert settings.broker_password is not None
    assert settings.broker_password.get_secret_value() == "hunter2"
    assert "hunter2" not in repr(settings)


def test_a_missing_or_broken_file_is_named(tmp_path: Path) -> None:
    """`--settings` with a typing error must not mean the defaults."""
    with pytest.raises(SettingsError, match=r"absent\.toml: there is no such file"):
        load_settings(tmp_path / "absent.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("web_port = = 1")
    with pytest.raises(SettingsError, match=r"broken\.toml: not TOML"):
        load_settings(broken)


def test_every_setting_and_command_is_documented(root: Path) -> None:
    """docs/book.md says what is true today."""
    text = (root / "docs/book.md").read_text(encoding="utf-8")
    assert [name for name in Settings.model_fields if f"| `{name}` |" not in text] == []
    assert [name for name in COMMANDS if f"`packbook {name}" not in text] == []
    documented = re.findall(r"^\| `([a-z_]+)` \| `", text, flags=re.MULTILINE)
    assert [name for name in documented if name not in Settings.model_fields] == []
