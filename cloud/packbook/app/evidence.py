"""What the book gives to strangers: bundles and checkpoints, signed with its key. Fills `ports.Evidence`.

In:  a database and a key. Out: bytes that `packbook verify` checks anywhere.
An export signs a checkpoint of what it holds now and adds those signed before: were the ledger cut back in between,
the older ones would show it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from packbook.adapters.authority import known_issuers
from packbook.adapters.signing_key import read_or_make_key
from packbook.adapters.store.database import Database
from packbook.adapters.store.evidence import Head, SqlEvidence
from packbook.adapters.store.histories import SqlHistories
from packbook.clock import now_ms
from packbook.core.accounts import EVERYWHERE, Reach
from packbook.core.history import Battery, UsageTotals
from packbook.ports.trouble import PackbookError, StoreError
from packbook.ports.trust import SignedCheckpoint, Signer
from packbook.settings import Settings
from packwire.bundle import Bundle, Claims, Piece, StorePart, encode_bundle
from packwire.checkpoint import Checkpoint, encode_checkpoint
from packwire.errors import Malformed
from packwire.ids import BatteryId, BoxId, StoreId

SIGN_EVERY_S: Final = 86_400.0
STEADY_TRIES: Final = 5  # records that arrive while an export reads make it read again

log = logging.getLogger(__name__)


class ExportError(PackbookError):
    """Nothing was exported; the text says why."""


def book_evidence(settings: Settings, database: Database) -> BookEvidence:
    """With the book's own key, which is made at its first use. Raises SigningKeyError, AuthorityError."""
    issuers = known_issuers(settings.ca_dir) if settings.ca == "own" and settings.ca_dir is not None else ()
    return BookEvidence(database, read_or_make_key(settings.book_key), issuers)


class BookEvidence:
    def __init__(self, database: Database, signer: Signer, issuers: Sequence[bytes] = ()) -> None:
        """`issuers`: certificates (DER) that lead from those of our boxes to the root."""
        self._shelf = SqlEvidence(database)
        self._histories = SqlHistories(database)
        self._signer = signer
        self._issuers = tuple(issuers)
        self._one_at_a_time = asyncio.Semaphore(1)  # a bundle may take hundreds of megabytes while it is made

    @property
    def book_key(self) -> bytes:
        return self._signer.public_key

    async def checkpoints(
        self, battery: str | None = None, reach: Reach = EVERYWHERE, limit: int | None = None, offset: int = 0
    ) -> Sequence[SignedCheckpoint]:
        return await self._shelf.checkpoints(battery, reach, limit, offset)

    async def sign_heads(self) -> int:
        """Sign what is held now of every store that went on since it was signed last. Gives how many."""
        signed = {(point.box, point.store): point.upto for point in await self._shelf.checkpoints()}
        fresh = [head for head in await self._shelf.heads() if signed.get((head.box, head.store), 0) < head.upto]
        await self._shelf.keep([self._sign(head) for head in fresh])
        return len(fresh)

    async def bundle(self, battery: str) -> bytes | None:
        async with self._one_at_a_time:
            heads, claims = await self._steady(battery)
            if not heads:
                return None
            stores = [_part(head, await self._shelf.records(head)) for head in heads]
            earlier = await self._shelf.checkpoints(battery)
            boxes = await self._shelf.certificates(head.box for head in heads)
            points = [point.signed for point in (*earlier, *map(self._sign, heads))]
            bundle = Bundle(
                made_ms=now_ms(),
                exporter=self._signer.public_key,
                battery=BatteryId(battery),
                stores=tuple(stores),
                certificates=(*boxes, *self._issuers) if boxes else (),
                checkpoints=tuple(dict.fromkeys(points)),
                claims=claims,
            )
            try:
                return await asyncio.to_thread(encode_bundle, bundle, self._signer.sign)
            except Malformed as problem:
                raise ExportError(f"battery {battery}: {problem}") from problem

    async def _steady(self, battery: str) -> tuple[list[Head], Claims]:
        """Where the chains end, and what the book shows of exactly that much."""
        heads = await self._shelf.heads(battery)
        for _ in range(STEADY_TRIES):
            head, usage = await self._histories.battery(battery), await self._histories.usage(battery)
            after = await self._shelf.heads(battery)
            if after == heads:
                return heads, _claims(head, usage)
            heads = after
        raise ExportError(f"battery {battery}: records arrive faster than they can be read; try again")

    def _sign(self, head: Head) -> SignedCheckpoint:
        at_ms = now_ms()
        point = Checkpoint(
            book_key=self._signer.public_key,
            box=BoxId(head.box),
            store=StoreId(head.store),
            upto=head.upto,
            digest=head.digest,
            battery=BatteryId(head.battery),
            at_ms=at_ms,
        )
        signed = encode_checkpoint(point, self._signer.sign)
        return SignedCheckpoint(head.box, head.store, head.upto, head.battery, at_ms, signed)


async def sign_daily(evidence: BookEvidence) -> None:
    """Until cancelled. Trouble with the database is the collector's to end on; here tomorrow is early enough."""
    while True:
        try:
            log.info("signed checkpoints", extra={"STORES": await evidence.sign_heads()})
        except StoreError as problem:
            log.warning("could not sign checkpoints: %s", problem)
        await asyncio.sleep(SIGN_EVERY_S)


def _part(head: Head, records: Sequence[bytes]) -> StorePart:
    return StorePart(
        BoxId(head.box), StoreId(head.store), head.public_key, tuple(Piece(0, record) for record in records)
    )


def _claims(head: Battery | None, usage: UsageTotals | None) -> Claims:
    if head is None:
        return Claims()
    soh = head.soh
    return Claims(
        records=head.records,
        charges=head.sessions["charge"],
        drives=head.sessions["drive"],
        rests=head.sessions["rest"],
        charge_in_ah=usage.charge_in_ah if usage else None,
        charge_out_ah=usage.charge_out_ah if usage else None,
        energy_in_wh=usage.energy_in_wh if usage else None,
        energy_out_wh=usage.energy_out_wh if usage else None,
        distance_km=usage.distance_km if usage else None,
        soh_pct=soh.soh_pct if soh else None,
        lo90_pct=soh.lo90_pct if soh else None,
        hi90_pct=soh.hi90_pct if soh else None,
    )
