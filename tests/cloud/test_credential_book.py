"""Credentials from a book: issued, checked by a stranger without network, taken back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from jsonschema import Draft202012Validator

from bundles import lived
from packbook.__main__ import main
from packbook.adapters.signing_key import read_or_make_key
from packbook.adapters.store import credentials as shelf
from packbook.adapters.store import open_writer, tables
from packbook.adapters.store.database import Database
from packbook.adapters.store.histories import SqlHistories
from packbook.adapters.store.ledger import Ledger
from packbook.app import verify_credential
from packbook.app.credentials import ACTS, BookCredentials, Issuer, issuer_of, schema
from packbook.app.operate import Office, OperateError
from packbook.core import did
from packbook.settings import load_settings
from packbook.testing.scripted_box import ScriptedBox
from packbook.web.app import create_app
from packwire.messages import Consent

BATTERY = "BAT-1"
PUBLIC = "https://book.example/fleet"
Book = Callable[..., int]


@pytest.fixture
def book(tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> Book:
    """Commands of a book with one battery, whose owner agreed to passports; files go to the test's own folder."""

    give(sqlite_url, filled())
    (tmp_path / "book.toml").write_text(f'database_url = "{sqlite_url}"\npublic_url = "{PUBLIC}"\n')
    monkeypatch.chdir(tmp_path)
    return lambda *words: main([*words, "--settings", "book.toml"])


def filled() -> ScriptedBox:
    box = lived()
    box.say(Consent(purposes=("history", "passport"), text_version="2026-11"))
    box.usage()
    return box


def give(url: str, box: ScriptedBox) -> None:
    """What the book has already counts as heard twice."""

    async def take() -> None:
        async with open_writer(url, "test") as database:
            await Ledger(database).take(box.arrivals)

    asyncio.run(take())


def say(url: str, box: ScriptedBox, *purposes: str) -> None:
    box.say(Consent(purposes=purposes, text_version="2026-11"))
    give(url, box)


def served(path: str) -> bytes:
    """As anybody gets it from the pages."""

    async def get() -> bytes:
        settings = load_settings(Path("book.toml"))
        async with open_writer(settings.database_url.get_secret_value(), "web") as database:
            app = create_app(SqlHistories(database), signed=BookCredentials(database, issuer_of(settings)))
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="https://book.example") as client:
                answer = await client.get(path)
        assert answer.status_code == 200, answer.text
        return answer.content

    return asyncio.run(get())


def fetch() -> list[str]:
    """What a stranger brings along, as words of the command."""
    Path("did.json").write_bytes(served("/.well-known/did.json"))
    Path("list.json").write_bytes(served("/credentials/status/0"))
    return ["--did", "did.json", "--status", "list.json", "--trust", did.did_web(PUBLIC)]


def credentials(file: str = f"{BATTERY}.vc.json") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(Path(file).read_bytes())["verifiableCredential"]
    return found


def verified(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, list[dict[str, Any]]]:
    capsys.readouterr()
    code = main(["verify-credential", f"{BATTERY}.vc.json", "--json", *words])
    return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_stranger_checks_everything_without_us(book: Book, capsys: pytest.CaptureFixture[str]) -> None:
    """Signature, dates, revocation, the records behind the values, the box's key: nothing stays open."""
    assert book("credential", "issue", BATTERY, "--bundle", "BAT-1.packbook") == 0
    code, found = verified(capsys, *fetch(), "--bundle", "BAT-1.packbook")
    assert code == 0
    assert [one["type"] for one in found] == [
        "BatteryIdentityCredential",
        "BatteryConditionCredential",
        "MeasuringBoxCredential",
    ]
    assert [one["open"] for one in found] == [[], [], []]
    assert "the bundle is the one it names" in found[1]["right"]
    assert any("the records are the same" in said for said in found[1]["right"])


def test_without_anything_at_hand_it_says_what_nobody_can_tell(book: Book, capsys: pytest.CaptureFixture[str]) -> None:
    """A signature that cannot be checked is no good signature."""
    book("export", BATTERY, "--format", "credential")
    code, found = verified(capsys)
    assert code == 1
    assert "its document is not at hand" in found[0]["wrong"][0]
    code, found = verified(capsys, "--did", (fetch(), "did.json")[1])
    assert code == 0
    assert any("--trust" in said for said in found[0]["open"])
    assert any("--status" in said for said in found[0]["open"])


def test_a_changed_value_and_a_foreign_signature_are_found(book: Book, capsys: pytest.CaptureFixture[str]) -> None:
    """A seller who improves a value, or signs the whole thing himself under the operator's name."""
    book("export", BATTERY, "--format", "credential")
    brought = fetch()
    identity, condition = credentials()
    condition["credentialSubject"]["facts"]["full_cycles"][0]["value"] = 1
    Path(f"{BATTERY}.vc.json").write_text(json.dumps([identity, condition]).join(('{"verifiableCredential":', "}")))
    code, found = verified(capsys, *brought)
    assert code == 1
    assert found[0]["ok"]
    assert "was changed" in found[1]["wrong"][0]
    key = read_or_make_key(Path("mallory.pem"))
    del identity["proof"]
    identity["issuer"] = did.did_web(PUBLIC)
    forged = Issuer(key, None).sign(identity, 0)
    Path(f"{BATTERY}.vc.json").write_text(json.dumps(forged))
    code, found = verified(capsys, *brought)
    assert code == 1
    assert "not its issuer" in found[0]["wrong"][0]


def test_what_is_taken_back_shows_in_the_list(book: Book, capsys: pytest.CaptureFixture[str]) -> None:
    book("export", BATTERY, "--format", "credential")
    _identity, condition = credentials()
    chosen = condition["id"].removeprefix("urn:uuid:")
    assert book("credential", "revoke", "--id", chosen, "--reason", "wrong capacity") == 0
    code, found = verified(capsys, *fetch())
    assert code == 1
    assert found[0]["ok"]
    assert found[1]["wrong"] == ["it was taken back by its issuer"]
    assert book("credential", "list", BATTERY) == 0
    assert "wrong capacity" in capsys.readouterr().out
    assert book("credential", "revoke", "--id", "0", "--reason", "x") == 1
    assert "there is no credential of 0" in capsys.readouterr().err


def test_an_owner_who_withdraws_takes_back_what_was_signed(
    book: Book, sqlite_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else what he no longer agrees to would stand, signed, for the rest of its quarter. Which battery it is stays."""
    export = ("export", BATTERY, "--format", "credential")
    assert book(*export) == 0
    box = filled()
    say(sqlite_url, box, "history", "passport")
    assert verified(capsys, *fetch())[0] == 0
    say(sqlite_url, box, "history")
    code, found = verified(capsys, *fetch())
    assert code == 1
    assert found[0]["ok"]
    assert found[1]["wrong"] == ["it was taken back by its issuer"]
    assert book("credential", "list", BATTERY) == 0
    assert "the owner withdrew his consent" in capsys.readouterr().out
    assert book(*export) == 1
    say(sqlite_url, box, "history", "passport")
    assert verified(capsys, *fetch())[0] == 1
    assert book(*export) == 0
    assert verified(capsys, *fetch())[0] == 0


def test_what_says_the_same_is_not_signed_again(book: Book) -> None:
    """Otherwise every look at a share link would be a new credential; what was taken back is made anew."""
    book("export", BATTERY, "--format", "credential")
    first = Path(f"{BATTERY}.vc.json").read_bytes()
    book("export", BATTERY, "--format", "credential")
    assert Path(f"{BATTERY}.vc.json").read_bytes() == first
    old = credentials()
    book("credential", "revoke", "--all", BATTERY, "--reason", "lost")
    book("export", BATTERY, "--format", "credential")
    new = credentials()
    assert [one["previousCredential"]["id"] for one in new] == [one["id"] for one in old]
    assert [one["credentialStatus"]["statusListIndex"] for one in new] == ["2", "3"]


def test_takers_in_turns_each_get_their_own_again(book: Book) -> None:
    """One credential names the records behind it, the other does not: neither is given for the other, nor a new one at
    each look. The identity says the same to everybody."""

    def taken(*words: str) -> list[dict[str, Any]]:
        assert book(*words) == 0
        return credentials()

    export = ("export", BATTERY, "--format", "credential")
    issued, exported = taken("credential", "issue", BATTERY), taken(*export)
    assert "evidence" in issued[1]
    assert "evidence" not in exported[1]
    assert (taken("credential", "issue", BATTERY), taken(*export)) == (issued, exported)
    assert taken(*export, "--role", "public") == issued[:1] == exported[:1]


def test_what_is_issued_fits_the_schema_it_names(book: Book) -> None:
    """A misspelt name, a moment of the day or a value without its source is caught there."""
    book("credential", "issue", BATTERY, "--bundle", "BAT-1.packbook")
    published = json.loads(served("/credentials/schema/credential-1.schema.json"))
    Draft202012Validator.check_schema(published)
    validator = Draft202012Validator(published)
    for one in credentials():
        validator.validate(one)
    condition = credentials()[1]
    for change in ({"validFrom": "2026-11-02T13:00:00Z"}, {"relatedResources": []}, {"issuer": "me"}):
        assert not validator.is_valid(condition | change)
    fact = condition["credentialSubject"]["facts"]["full_cycles"][0]
    for name in ("unit", "source"):
        del fact[name]
        assert not validator.is_valid(condition)
        fact[name] = "measured"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"[]", "not a JSON object"),
        (b"{", "not JSON"),
        (b'{"a":1,"a":2}', "stands twice"),
        (b'{"verifiableCredential":[]}', "neither"),
    ],
)
def test_a_file_that_is_none_is_wrong_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, reason: str
) -> None:
    (tmp_path / "x.json").write_bytes(content)
    assert main(["verify-credential", str(tmp_path / "x.json")]) == 2
    assert reason in capsys.readouterr().err
    assert main(["verify-credential", str(tmp_path / "absent.json")]) == 2


def test_without_a_public_address_the_key_itself_signs(book: Book, capsys: pytest.CaptureFixture[str]) -> None:
    """A workshop's own book: did:key resolves offline, and nothing is promised about revocation."""
    Path("book.toml").write_text("\n".join(Path("book.toml").read_text().splitlines()[:1]))
    assert book("export", BATTERY, "--format", "credential", "--left-out") == 0
    assert "credentialStatus: the book has no public address" in capsys.readouterr().err
    assert "credentialStatus" not in credentials()[0]
    code, found = verified(capsys)
    assert code == 0
    assert found[0]["issuer"].startswith("did:key:z6Mk")
    assert any("names no status list" in said for said in found[0]["open"])


async def test_both_databases_count_and_revoke_alike(database: Database, tmp_path: Path) -> None:
    """A place in the list is given once, also to what was never finished."""
    office = Office(database, load_settings(None))
    wish = {"about": BATTERY, "part": "value", "content": "00" * 32, "issued_ms": 0, "until_ms": None}
    given = await ACTS["credential.reserve"](office, {"wishes": [{**wish, "id": str(n)} for n in range(3)]})
    assert given == [{"number": n, "previous": None} for n in (1, 2, 3)]
    await ACTS["credential.finish"](office, {"documents": {"2": '{"id": "urn:uuid:1"}'}})
    held = await ACTS["credential.reserve"](office, {"wishes": [{**wish, "id": "3"}]})
    assert held == [{"document": '{"id": "urn:uuid:1"}'}]
    assert await ACTS["credential.revoke"](office, {"id": None, "about": BATTERY, "reason": "x"}) == 1
    assert await ACTS["credential.revoke"](office, {"id": "1", "about": None, "reason": "again"}) == 0
    with pytest.raises(OperateError, match="no credential of nobody"):
        await ACTS["credential.revoke"](office, {"id": None, "about": "nobody", "reason": "x"})
    async with database.transaction() as connection:
        assert await shelf.revoked(connection, 1, 10) == [2]
        assert [one.reason for one in await shelf.of(connection, BATTERY)] == ["x"]
        assert await connection.scalar(sa.select(sa.func.count()).select_from(tables.credential)) == 3
    published = BookCredentials(database, Issuer(read_or_make_key(tmp_path / "key.pem"), PUBLIC))
    assert await published.status_list(1) is None
    listed = json.loads(await published.status_list(0) or b"")
    entry = {"statusListCredential": listed["id"], "statusPurpose": "revocation"}
    assert [verify_credential.is_revoked(entry | {"statusListIndex": str(n)}, listed) for n in range(3)] == [
        False,
        True,
        False,
    ]


async def test_a_book_that_signs_nothing_says_so(database: Database, tmp_path: Path) -> None:
    nameless = BookCredentials(database, Issuer(read_or_make_key(tmp_path / "key.pem"), None))
    for signed in (None, nameless):
        app = create_app(SqlHistories(database), signed=signed)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="https://book.example") as client:
            for path in ("/.well-known/did.json", "/did.json", "/credentials/status/0"):
                assert (await client.get(path)).status_code == 404
    assert nameless.schema() == schema()
