"""Messages in quarantine and the list of all acts, in SQL. Implements `ports.FleetPapers`.

In:  how far somebody sees. What is of no box and no battery is shown to those who see the whole book.
Out: pages, newest first. Each table of acts is asked for no more than the page can hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, Final

import sqlalchemy as sa

from packbook.adapters.store import quarantine, tables
from packbook.adapters.store.account_tables import account, account_act
from packbook.adapters.store.database import Database
from packbook.adapters.store.tenants import battery_within, box_within, fleet_within
from packbook.core.access import ALL_BATTERIES
from packbook.core.accounts import EVERYWHERE, Reach
from packbook.core.fleet_papers import (
    ROWS_PER_PAGE,
    AuditQuery,
    AuditRow,
    DisputeLine,
    MessageAct,
    MessageDetail,
    MessageLine,
    MessageQuery,
    Messages,
    Trail,
)
from packbook.core.intake import Fate

_kept: Final = tables.quarantine
_LINE: Final = tuple(field.name for field in fields(MessageLine))


class SqlFleetPapers:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def messages(self, reach: Reach, query: MessageQuery) -> Messages:
        """Newest first. Without their bytes."""
        mine = _messages_within(reach)
        chosen = sa.select(*(_line_column(name) for name in _LINE)).where(mine)
        if query.fate is not None:
            chosen = chosen.where(_kept.c.state == query.fate.value)
        if query.reason is not None:
            chosen = chosen.where(_kept.c.reason == query.reason.value)
        if query.box:
            chosen = chosen.where(_kept.c.box.contains(query.box.lower(), autoescape=True))
        counted = sa.select(_kept.c.reason, sa.func.count().label("messages"))
        counted = counted.where(mine, _kept.c.state == Fate.OPEN.value).group_by(_kept.c.reason)
        page = chosen.order_by(_kept.c.last_ms.desc(), _kept.c.id.desc())
        page = page.limit(ROWS_PER_PAGE).offset((query.page - 1) * ROWS_PER_PAGE)
        async with self._database.transaction() as connection:
            lines = [MessageLine(**row) for row in (await connection.execute(page)).mappings()]
            total = await connection.scalar(sa.select(sa.func.count()).select_from(chosen.subquery())) or 0
            counts = {row.reason: row.messages for row in await connection.execute(counted.order_by(_kept.c.reason))}
            disputes = await quarantine.disputes(connection)
            boxes = set(
                await connection.scalars(sa.select(tables.chain.c.box).where(box_within(tables.chain.c.box, reach)))
            )
        told = [
            DisputeLine(d.box, d.store, d.battery, d.from_seq, d.since_ms, d.held_out, d.settled_ms)
            for d in disputes
            if d.box in boxes and d.settled_ms is None
        ]
        return Messages(lines, total, counts, told)

    async def message(self, reach: Reach, number: int) -> MessageDetail | None:
        async with self._database.transaction() as connection:
            there = await connection.scalar(sa.select(_kept.c.id).where(_kept.c.id == number, _messages_within(reach)))
            if there is None:
                return None
            (item,) = await quarantine.items(connection, ids=[number])
            acts = await quarantine.acts(connection, number)
        line = MessageLine(
            item.id,
            item.received_ms,
            item.last_ms,
            item.times,
            item.reason,
            item.detail,
            item.topic,
            item.box,
            item.store,
            item.seq,
            item.state,
        )
        told = tuple(MessageAct(act.at_ms, act.act, act.who, act.why) for act in acts)
        return MessageDetail(line, item.digest, item.payload, told)

    async def sees_store(self, reach: Reach, box: str, store: str) -> bool:
        chain = tables.chain
        query = sa.select(chain.c.store).where(chain.c.box == box, chain.c.store == store)
        async with self._database.transaction() as connection:
            return await connection.scalar(query.where(box_within(chain.c.box, reach))) is not None

    async def audit(self, reach: Reach, query: AuditQuery, limit: int) -> Sequence[AuditRow]:
        """Newest first, from the query's page on."""
        skip = (query.page - 1) * ROWS_PER_PAGE
        trails = [trail for trail in Trail if query.trail in (None, trail)]
        found: list[AuditRow] = []
        async with self._database.transaction() as connection:
            for trail in trails:
                wish = _OF_TRAIL[trail](reach).subquery()
                chosen = sa.select(wish).where(*_narrowed(wish, query))
                chosen = chosen.order_by(wish.c.at_ms.desc(), wish.c.id.desc()).limit(skip + limit)
                rows = (await connection.execute(chosen)).mappings()
                found += [
                    AuditRow(row["at_ms"], trail, row["act"], row["who"], row["about"], row["detail"]) for row in rows
                ]
        found.sort(key=lambda row: row.at_ms, reverse=True)
        return found[skip : skip + limit]


def _line_column(name: str) -> sa.ColumnElement[Any]:
    return _kept.c.state.label("fate") if name == "fate" else _kept.c[name]


def _messages_within(reach: Reach) -> sa.ColumnElement[bool]:
    return sa.true() if reach == EVERYWHERE else _kept.c.box.is_not(None) & box_within(_kept.c.box, reach)


def _narrowed(wish: sa.Subquery, query: AuditQuery) -> list[sa.ColumnElement[bool]]:
    found: list[sa.ColumnElement[bool]] = []
    if query.who:
        found.append(wish.c.who.icontains(query.who, autoescape=True))
    if query.about:
        found.append(wish.c.about.icontains(query.about, autoescape=True))
    if query.from_ms is not None:
        found.append(wish.c.at_ms >= query.from_ms)
    if query.until_ms is not None:
        found.append(wish.c.at_ms <= query.until_ms)
    return found


def _reads(reach: Reach) -> sa.Select[Any]:
    table = tables.read_note
    whose, purpose = sa.func.coalesce(table.c.account, table.c.link), sa.func.coalesce("/" + table.c.purpose, "")
    of_all = sa.literal(ALL_BATTERIES + (reach.tenant or ""))
    mine = sa.true() if reach == EVERYWHERE else battery_within(table.c.battery, reach) | (table.c.battery == of_all)
    return sa.select(
        table.c.id,
        table.c.at_ms,
        table.c.what.label("act"),
        (table.c.role + purpose + sa.func.coalesce(" " + whose, "")).label("who"),
        table.c.battery.label("about"),
        table.c.door.label("detail"),
    ).where(mine)


def _enrolled(reach: Reach) -> sa.Select[Any]:
    table = tables.enrol_act
    mine = box_within(table.c.box, reach) & table.c.box.is_not(None)
    fleets = fleet_within(table.c.fleet, reach) & table.c.fleet.is_not(None)
    return sa.select(
        table.c.id,
        table.c.at_ms,
        table.c.act,
        table.c.who,
        sa.func.coalesce(table.c.box, table.c.fleet).label("about"),
        table.c.detail,
    ).where(sa.true() if reach == EVERYWHERE else mine | (table.c.box.is_(None) & fleets))


def _settled(reach: Reach) -> sa.Select[Any]:
    table = tables.quarantine_act
    mine = sa.true() if reach == EVERYWHERE else table.c.box.is_not(None) & box_within(table.c.box, reach)
    return sa.select(
        table.c.id,
        table.c.at_ms,
        table.c.act,
        table.c.who,
        table.c.box.label("about"),
        (sa.func.coalesce("#" + sa.cast(table.c.item, sa.Text) + " ", "") + table.c.why).label("detail"),
    ).where(mine)


def _of_accounts(reach: Reach) -> sa.Select[Any]:
    """Named as they sign in: nobody knows the number of an account."""
    table = account_act
    login = sa.select(account.c.login).where(account.c.account == table.c.account).scalar_subquery()
    about = sa.func.coalesce(login, table.c.account).label("about")
    mine = sa.true() if reach.tenant is None and reach.batteries is None else table.c.tenant == reach.tenant
    return sa.select(table.c.id, table.c.at_ms, table.c.act, table.c.who, about, table.c.detail).where(mine)


_OF_TRAIL: Final = {
    Trail.READ: _reads,
    Trail.ENROL: _enrolled,
    Trail.QUARANTINE: _settled,
    Trail.ACCOUNT: _of_accounts,
}
