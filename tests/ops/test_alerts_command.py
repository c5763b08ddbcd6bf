"""`packbook alerts`, and the settings that say who hears of them."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import sqlalchemy as sa

from packbook.__main__ import main
from packbook.adapters.rules import RuleBook
from packbook.adapters.store import open_writer, tables
from packbook.app.alert_watch import look
from packbook.clock import now_ms
from packbook.core.alerts import AlertRules
from packbook.settings import Settings, load_settings

DAY_MS = 86_400_000
SECRET = "a secret of some length"


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Settings of a book with one silent box, looked at."""
    folder = tmp_path_factory.mktemp("book")
    url = f"sqlite:///{folder / 'book.db'}"

    async def fill() -> None:
        async with open_writer(url, "test") as database:
            seen_ms = now_ms() - 20 * DAY_MS
            async with database.transaction() as connection:
                await connection.execute(
                    sa.insert(tables.box).values(box="b" * 16, last_seen_ms=seen_ms, online=False, unready=0)
                )
            await look(database, RuleBook().load("alerts", AlertRules))

    asyncio.run(fill())
    file = folder / "packbook.toml"
    file.write_text(f'database_url = "{url}"\n')
    return file


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = main(["alerts", *arguments])
    out = capsys.readouterr()
    return code, out.out + out.err


def test_an_alert_is_listed_taken_on_and_listed_so(book: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In words, in both languages, and for programs; the name of who took it on is shown."""
    code, told = said(capsys, "list", "--settings", str(book))
    assert code == 0
    assert "Warning  Box silent  Open" in told
    assert "was last heard" in told
    assert "ボックスからの応答なし" in said(capsys, "list", "--lang", "ja", "--settings", str(book))[1]
    [alert] = [json.loads(line) for line in said(capsys, "list", "--json", "--settings", str(book))[1].splitlines()]
    assert (alert["kind"], alert["box"], alert["state"]) == ("box_silent", "b" * 16, "raised")
    code, told = said(capsys, "ack", str(alert["id"]), "--note", "in the workshop", "--settings", str(book))
    assert (code, told.split(" by ")[0]) == (0, f"alert {alert['id']}: acknowledged")
    assert "Acknowledged" in said(capsys, "list", "--settings", str(book))[1]
    assert "in the workshop" in said(capsys, "list", "--settings", str(book))[1]
    assert said(capsys, "list", "--state", "raised", "--settings", str(book)) == (0, "no alerts\n")
    assert said(capsys, "list", "--kind", "rapid_fade", "--settings", str(book)) == (0, "no alerts\n")


def test_what_is_not_there_is_named(book: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With what there is instead."""
    code, told = said(capsys, "ack", "999", "--note", "x", "--settings", str(book))
    assert (code, "there is no alert 999" in told) == (1, True)
    code, told = said(capsys, "test", "pager", "--settings", str(book))
    assert (code, "there is no receiver pager; the settings have: none" in told) == (1, True)


@contextmanager
def hearing(answer: int) -> Iterator[tuple[str, list[bytes]]]:
    """A receiver on loopback."""
    heard: list[bytes] = []

    class Hear(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(answer)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Hear) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/", heard
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(("answer", "code", "ends"), [(204, 0, "pager took it\n"), (500, 1, "answered 500\n")])
def test_a_receiver_is_tried(
    book: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    answer: int,
    code: int,
    ends: str,
) -> None:
    """Before it is needed; nothing is kept of it."""
    (tmp_path / "alert_webhook_secrets").write_text(f"pager {SECRET}\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    with hearing(answer) as (url, heard):
        file = tmp_path / "packbook.toml"
        receiver = f'[[alert_receivers]]\nname = "pager"\nwebhook = "{url}"\n'
        file.write_text(book.read_text() + "alert_private_hosts = true\n" + receiver)
        got, told = said(capsys, "test", "pager", "--settings", str(file))
    assert (got, told.endswith(ends)) == (code, True)
    assert json.loads(heard[0])["alerts"][0]["delivery"] == 0


HOOK = {"name": "r", "webhook": "https://r.example/"}
MAIL = {"name": "r", "email": ["a@fleet.example"]}
SMTP = {"smtp_host": "mail.example", "smtp_from": "book@fleet.example"}
SECRETS = {"alert_webhook_secrets": f"r {SECRET}\n"}


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({"alert_receivers": [{"name": "r"}]}, "expected webhook, email or both"),
        ({"alert_receivers": [HOOK]}, "alert_webhook_secrets is missing"),
        ({"alert_receivers": [HOOK], "alert_webhook_secrets": "r short"}, "shorter than 16"),
        ({"alert_receivers": [HOOK, HOOK], **SECRETS}, "a name of its own"),
        ({"alert_receivers": [HOOK | {"webhook": "http://r.example/"}], **SECRETS}, "expected https://"),
        ({"alert_receivers": [HOOK | {"webhook": "ftp://r.example/"}], **SECRETS}, "expected https://HOST"),
        ({"alert_receivers": [HOOK | {"webhook": "https://u:p@r.example/"}], **SECRETS}, "expected https://HOST"),
        ({"alert_receivers": [HOOK | {"kinds": ["noise"]}], **SECRETS}, "kinds"),
        ({"alert_receivers": [MAIL]}, "mail needs smtp_host and smtp_from"),
        ({"alert_receivers": [MAIL | {"email": ["a@b\nBcc: c@d"]}], **SMTP}, "email"),
        ({"smtp_password": "x"}, "no smtp_user"),
        ({"smtp_user": "u", "smtp_tls": "none"}, "does not go over the wire in the clear"),
    ],
)
def test_a_receiver_that_could_hear_nothing_ends_the_start(given: dict[str, object], names: str) -> None:
    """Not the night in which it is needed."""
    with pytest.raises(ValueError, match=names):
        Settings.model_validate(given)


def test_secrets_of_receivers_come_from_the_credentials_folder_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two receivers, a secret each; a settings file is read by more people."""
    (tmp_path / "alert_webhook_secrets").write_text(f"one {SECRET}\n\ntwo  {SECRET} with spaces \n")
    (tmp_path / "packbook.toml").write_text("")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    settings = load_settings(tmp_path / "packbook.toml")
    assert settings.webhook_secrets == {"one": SECRET, "two": f"{SECRET} with spaces"}
    assert SECRET not in repr(settings)
