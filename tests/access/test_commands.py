"""`packbook user`, `tenant` and `key`: how the first admin, other firms and programs come in."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest

from packbook.__main__ import main
from packbook.core.accounts import KEY

PASSWORD = "violet harbour ninth otter"


@pytest.fixture
def book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Settings of a book that nobody has opened yet."""
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{PASSWORD}\n" * 9))
    settings = tmp_path / "packbook.toml"
    settings.write_text(f'database_url = "sqlite:///{tmp_path / "book.db"}"\naccounts = "on"\n')
    return settings


def call(book: Path, *words: str) -> int:
    return main([*words, "--settings", str(book)])


def test_the_first_admin_is_made_before_anything_else(book: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On an empty database, with a password that no list of processes shows."""
    assert call(book, "user", "add", "Anna@Example.org", "--role", "admin", "--name", "Anna") == 0
    assert call(book, "user", "add", "anna@example.ORG", "--role", "owner") == 1
    assert "there is such an account" in capsys.readouterr().err
    assert call(book, "user", "list", "--json") == 0
    (told,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert (told["login"], told["role"], told["tenant"], told["password"]) == (
        "anna@example.org",
        "admin",
        "main",
        True,
    )
    assert PASSWORD not in json.dumps(told)
    with pytest.raises(SystemExit):
        call(book, "user", "add", "bo", "--role", "admin", "--password", PASSWORD)


def test_a_weak_password_makes_no_account(
    book: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Said in words, and nothing is half made."""
    monkeypatch.setattr("sys.stdin", io.StringIO("passwordpassword\n"))
    assert call(book, "user", "add", "anna", "--role", "admin") == 1
    assert "among the first" in capsys.readouterr().err
    assert call(book, "user", "list") == 0
    assert capsys.readouterr().out == ""


def test_a_link_is_printed_once_and_kept_nowhere(
    book: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever is invited chooses his own password."""
    assert call(book, "user", "add", "lee", "--role", "operator", "--link") == 0
    found = re.fullmatch(r"http://127\.0\.0\.1:8080/account/invitation/([\w-]{43})\n", capsys.readouterr().out)
    assert found is not None
    assert found[1].encode() not in (tmp_path / "book.db").read_bytes()
    assert call(book, "user", "list") == 0
    assert "invited" in capsys.readouterr().out


def test_the_last_admin_cannot_be_lost(book: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Not from the command line either."""
    call(book, "user", "add", "anna", "--role", "admin")
    assert call(book, "user", "disable", "anna") == 1
    assert call(book, "user", "role", "anna", "--role", "viewer") == 1
    assert "last admin" in capsys.readouterr().err
    call(book, "user", "add", "bo", "--role", "admin")
    assert call(book, "user", "disable", "anna") == 0
    assert call(book, "user", "enable", "anna") == 0
    assert call(book, "user", "password", "anna") == 0
    assert call(book, "user", "second-step-off", "anna") == 0
    assert call(book, "user", "sessions", "anna", "--end", "all") == 0
    assert call(book, "user", "disable", "ghost") == 1


def test_a_key_is_shown_once_and_revoked_by_its_prefix(
    book: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It may never more than its account."""
    call(book, "user", "add", "anna", "--role", "viewer")
    capsys.readouterr()
    assert call(book, "key", "new", "--user", "anna", "--scope", "write:operate") == 1
    assert "may have keys for read:batteries, read:fleet" in capsys.readouterr().err
    assert call(book, "key", "new", "--user", "anna", "--scope", "read:batteries", "read:fleet", "--note", "cron") == 0
    key = capsys.readouterr().out.strip()
    assert KEY.fullmatch(key)
    assert key[13:].encode() not in (tmp_path / "book.db").read_bytes()
    assert call(book, "key", "list", "--user", "anna") == 0
    listed = capsys.readouterr().out
    assert key[:12] in listed
    assert key not in listed
    assert call(book, "key", "revoke", key[:12]) == 0
    assert call(book, "key", "list") == 0
    assert "revoked" in capsys.readouterr().out
    assert call(book, "key", "revoke", "00000000") == 1


def test_firms_and_their_fleets(book: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody belongs to a firm that was never made, and no battery goes where no box of it is."""
    assert call(book, "user", "add", "eve", "--role", "admin", "--tenant", "rival") == 1
    assert call(book, "tenant", "fleet", "taxis", "--tenant", "rival") == 1
    assert call(book, "tenant", "add", "rival", "--label", "Rival Ltd") == 0
    assert call(book, "tenant", "fleet", "taxis", "--tenant", "rival") == 0
    assert call(book, "user", "add", "eve", "--role", "admin", "--tenant", "rival") == 0
    assert call(book, "tenant", "battery", "BAT-1", "--tenant", "rival") == 1
    capsys.readouterr()
    assert call(book, "tenant", "list") == 0
    assert capsys.readouterr().out.splitlines() == [
        "main    fleets: -  and all other fleets",
        "rival  Rival Ltd  fleets: taxis",
    ]


def test_a_subject_is_bound_at_the_machine(
    book: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of providers that verify no address; and undone there, where nobody undoes it himself."""
    call(book, "user", "add", "kim", "--role", "viewer", "--link")
    assert call(book, "user", "bind", "kim", "--subject", "s-1") == 2, "there is no provider"
    for name, value in (("ACCOUNTS", "on"), ("OIDC_ISSUER", "https://idp.example"), ("OIDC_CLIENT_ID", "book")):
        monkeypatch.setenv(f"PACKBOOK_{name}", value)
    assert call(book, "user", "bind", "kim", "--subject", "s-1") == 0
    assert call(book, "user", "bind", "kim", "--subject", "s-2") == 1, "one subject of an issuer"
    capsys.readouterr()
    call(book, "user", "list")
    assert "active" in capsys.readouterr().out
    assert call(book, "user", "unbind", "kim") == 0
    assert "https://idp.example" in capsys.readouterr().out
    call(book, "user", "list")
    assert "invited" in capsys.readouterr().out
