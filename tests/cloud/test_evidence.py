"""What the book gives to strangers, on both databases: bundles that check, checkpoints that stay."""

from __future__ import annotations

import stat
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa

from bundles import BATTERY, lived
from packbook.adapters.rules import RuleBook
from packbook.adapters.signing_key import SigningKeyError, read_or_make_key
from packbook.adapters.store import tables
from packbook.adapters.store.database import Database
from packbook.adapters.store.histories import SqlHistories
from packbook.adapters.store.ledger import Ledger
from packbook.app.access import access_rules
from packbook.app.evidence import BookEvidence
from packbook.testing.memory_access import memory_access
from packbook.web.app import create_app
from packproof.trust import Trust
from packproof.verify import verify
from packwire.checkpoint import decode_checkpoint


@pytest.fixture
def evidence(database: Database, tmp_path: Path) -> BookEvidence:
    return BookEvidence(database, read_or_make_key(tmp_path / "book-key.pem"))


async def test_an_export_checks_with_the_books_key(database: Database, evidence: BookEvidence) -> None:
    """The whole path: records of two boxes in, one file out, which a stranger believes."""
    for box in (lived(), lived("bravo")):
        await Ledger(database).take(box.arrivals)
    data = await evidence.bundle(BATTERY)
    assert data is not None
    report = verify(data, Trust(frozenset({evidence.book_key})))
    assert report.ok, (report.faults, report.differing)
    assert report.bundle is not None
    assert (report.bundle.claims.records, report.bundle.claims.charges) == (34, 8)
    assert await evidence.bundle("nobody") is None


async def test_only_what_has_no_hole_is_exported_and_signed(database: Database, evidence: BookEvidence) -> None:
    """A record that waits for the one before it is not part of the chain yet."""
    box = lived()
    await Ledger(database).take([arrival for n, arrival in enumerate(box.arrivals) if n != 12])
    data = await evidence.bundle(BATTERY)
    assert data is not None
    report = verify(data, Trust(frozenset({evidence.book_key})))
    assert report.ok, report.faults
    assert report.stores[0].last == 12


async def test_a_ledger_cut_back_after_signing_gives_itself_away(database: Database, evidence: BookEvidence) -> None:
    """The operator, too, is somebody whom a stranger need not trust: the last signed head is in every export."""
    box = lived()
    await Ledger(database).take(box.arrivals)
    assert await evidence.sign_heads() == 1
    assert await evidence.sign_heads() == 0  # nothing new
    ledger, chain = tables.ledger, tables.chain
    async with database.transaction() as connection:
        await connection.execute(sa.delete(ledger).where(ledger.c.seq > 14))
        await connection.execute(sa.update(chain).values(upto=14, top=14))
    data = await evidence.bundle(BATTERY)
    assert data is not None
    report = verify(data, Trust(frozenset({evidence.book_key})))
    assert "the book had signed up to 17, this file ends at 14" in report.faults[0].words


TABLE = access_rules(RuleBook())


async def test_checkpoints_and_bundles_are_public(database: Database, evidence: BookEvidence) -> None:
    """Anybody may keep a checkpoint; that is what makes it worth something."""
    box = lived()
    await Ledger(database).take(box.arrivals)
    await evidence.sign_heads()
    transport = httpx.ASGITransport(create_app(SqlHistories(database), evidence, access=memory_access(TABLE)))
    async with httpx.AsyncClient(transport=transport, base_url="http://book.test") as client:
        answer = (await client.get("/api/v1/checkpoints", params={"battery": BATTERY})).json()
        bundle = await client.get(f"/api/v1/batteries/{BATTERY}/bundle")
        unknown = await client.get("/api/v1/batteries/nobody/bundle")
    (point,) = answer["checkpoints"]
    told = decode_checkpoint(bytes.fromhex(point["signed"]))
    assert (told.box, told.upto, told.book_key.hex()) == (box.box, 17, answer["book_key"])
    assert verify(bundle.content, Trust(frozenset({evidence.book_key}))).ok
    assert bundle.headers["content-disposition"] == f'attachment; filename="{BATTERY}.packbook"'
    assert unknown.status_code == 404


async def test_a_book_without_a_key_says_so(database: Database) -> None:
    """Never an unsigned file in place of a signed one."""
    transport = httpx.ASGITransport(create_app(SqlHistories(database), access=memory_access(TABLE)))
    async with httpx.AsyncClient(transport=transport, base_url="http://book.test") as client:
        assert (await client.get("/api/v1/checkpoints")).status_code == 503


def test_the_books_key_is_made_once_and_only_ours(tmp_path: Path) -> None:
    """Another key would be another book to everybody who kept a checkpoint."""
    path = tmp_path / "book-key.pem"
    first = read_or_make_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_or_make_key(path).public_key == first.public_key
    path.chmod(0o640)
    with pytest.raises(SigningKeyError, match="chmod 600"):
        read_or_make_key(path)
    path.chmod(0o600)
    path.write_text("not a key")
    with pytest.raises(SigningKeyError, match="not a readable private key"):
        read_or_make_key(path)
    assert path.read_text() == "not a key"
