"""Alerts in the database: which stand, whose turn it is to look, what is still to be sent.

In:  a connection inside the caller's transaction; changes of `core.alerts`.
Out: alerts within a reach, newest first; counts; deliveries that are due.
An alert and what is to be sent of it are written together or not at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Protocol

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from packbook.adapters.store import tables, tenants
from packbook.adapters.store.quarantine import parts
from packbook.adapters.store.rows import insert_new
from packbook.core.accounts import EVERYWHERE, Reach
from packbook.core.alerts import OPEN_ONES, Alert, AlertQuery, Kind, Severity, State, Steps

_table: Final = tables.alert
_out: Final = tables.alert_delivery


@dataclass(frozen=True, slots=True)
class Delivery:
    """News of one alert for one receiver, not sent yet."""

    id: int
    receiver: str
    news: State
    tries: int
    made_ms: int
    alert: Alert


# --- looking ------------------------------------------------------------------------------------------------------


async def take_turn(connection: AsyncConnection, kind: Kind, every_ms: int, now_ms: int) -> bool:
    """True for one of all processes, once in `every_ms`. A clock that was set back waits no longer than that."""
    watch = tables.alert_watch
    await insert_new(connection, watch, [{"kind": kind.value, "at_ms": 0}])
    due = (watch.c.at_ms <= now_ms - every_ms) | (watch.c.at_ms > now_ms + every_ms)
    taken = await connection.execute(sa.update(watch).where(watch.c.kind == kind.value, due).values(at_ms=now_ms))
    return taken.rowcount == 1


async def standing(connection: AsyncConnection, kind: Kind) -> list[Alert]:
    """All that are not cleared, held until the transaction ends: who acknowledges one meanwhile waits."""
    query = sa.select(_table).where(_table.c.kind == kind.value, _table.c.state != State.CLEARED.value)
    return [_alert(row) for row in (await connection.execute(query.with_for_update())).mappings()]


class Listener(Protocol):
    """A receiver, as far as deciding goes what it is told."""

    @property
    def name(self) -> str: ...

    @property
    def tenant(self) -> str | None: ...

    def wants(self, kind: Kind, severity: Severity) -> bool: ...


async def keep(connection: AsyncConnection, steps: Steps, listeners: Sequence[Listener], now_ms: int) -> list[Alert]:
    """What a pass over `standing` changed, and what is to be sent of it. Gives what listeners may be told of."""
    forgotten = [alert.id for alert in steps.forgotten]
    for some in parts(forgotten):
        await connection.execute(sa.delete(_table).where(_table.c.id.in_(some)))
    for alert in steps.changed:
        if alert.id is not None:
            await connection.execute(sa.update(_table).where(_table.c.id == alert.id).values(_row(alert)))
    numbered = [*(a for a in steps.changed if a.id is not None), *await _insert(connection, steps)]
    told = [alert for alert in numbered if _moved_ms(alert) == now_ms]
    for listener in listeners:
        wanted = [alert for alert in told if listener.wants(alert.kind, alert.severity)]
        await _announce(connection, await _of_tenant(connection, wanted, listener.tenant), listener.name, now_ms)
    return told


async def _of_tenant(connection: AsyncConnection, alerts: Sequence[Alert], tenant: str | None) -> list[Alert]:
    if tenant is None:
        return list(alerts)
    within: set[int] = set()
    for some in parts([alert.id for alert in alerts]):
        query = sa.select(_table.c.id).where(_table.c.id.in_(some), _within(Reach(tenant)))
        within |= set(await connection.scalars(query))
    return [alert for alert in alerts if alert.id in within]


async def _announce(connection: AsyncConnection, alerts: Sequence[Alert], receiver: str, now_ms: int) -> None:
    """To be sent: each alert in its present state."""
    told = {"receiver": receiver, "made_ms": now_ms, "due_ms": now_ms, "tries": 0}
    rows = [told | {"alert": alert.id, "news": alert.state.value} for alert in alerts]
    if rows:
        await connection.execute(sa.insert(_out), rows)


def _moved_ms(alert: Alert) -> int | None:
    """When it came into a state that is told."""
    return {State.RAISED: alert.raised_ms, State.CLEARED: alert.cleared_ms}.get(alert.state)


async def _insert(connection: AsyncConnection, steps: Steps) -> list[Alert]:
    fresh = {(alert.kind, alert.subject): alert for alert in steps.changed if alert.id is None}
    if not fresh:
        return []
    await connection.execute(sa.insert(_table), [_row(alert) for alert in fresh.values()])
    numbers: dict[tuple[Kind, str], int] = {}
    for some in parts(sorted(fresh)):
        query = sa.select(_table.c.id, _table.c.kind, _table.c.subject).where(
            _table.c.kind.in_({kind.value for kind, _ in some}),
            _table.c.subject.in_([subject for _, subject in some]),
            _table.c.state != State.CLEARED.value,
        )
        numbers |= {(Kind(row.kind), row.subject): row.id for row in await connection.execute(query)}
    return [replace(alert, id=numbers[key]) for key, alert in fresh.items()]


async def forget_cleared(connection: AsyncConnection, before_ms: int) -> None:
    """Alerts cleared before, and what was sent of them."""
    old = sa.select(_table.c.id).where(_table.c.state == State.CLEARED.value, _table.c.cleared_ms < before_ms)
    await connection.execute(sa.delete(_out).where(_out.c.alert.in_(old)))
    await connection.execute(sa.delete(_table).where(_table.c.id.in_(old)))


# --- reading and acknowledging ------------------------------------------------------------------------------------


async def listed(connection: AsyncConnection, reach: Reach, query: AlertQuery = OPEN_ONES) -> list[Alert]:
    """Newest first."""
    rows = sa.select(_table).where(_within(reach), _table.c.state.in_([state.value for state in query.states]))
    columns = (_table.c.kind, _table.c.severity, _table.c.box, _table.c.battery)
    for column, wanted in zip(columns, (query.kind, query.severity, query.box, query.battery), strict=True):
        if wanted is not None:
            rows = rows.where(column == wanted)
    rows = rows.order_by(_table.c.raised_ms.desc(), _table.c.id.desc()).limit(query.limit).offset(query.offset)
    return [_alert(row) for row in (await connection.execute(rows)).mappings()]


async def one(connection: AsyncConnection, reach: Reach, number: int) -> Alert | None:
    """Held until the transaction ends."""
    query = sa.select(_table).where(_within(reach), _table.c.id == number, _table.c.state != State.PENDING.value)
    row = (await connection.execute(query.with_for_update())).mappings().first()
    return None if row is None else _alert(row)


async def acknowledge(connection: AsyncConnection, number: int, who: str, note: str, now_ms: int) -> None:
    raised = (_table.c.id == number, _table.c.state == State.RAISED.value)
    await connection.execute(
        sa.update(_table)
        .where(*raised)
        .values(state=State.ACKNOWLEDGED.value, acknowledged_ms=now_ms, acknowledged_by=who, note=note)
    )
    unsent = (_out.c.alert == number, _out.c.news == State.RAISED.value, _out.c.due_ms.is_not(None))
    await connection.execute(sa.delete(_out).where(*unsent))  # somebody has taken it on: nobody else need be woken


async def counted(connection: AsyncConnection, reach: Reach) -> dict[tuple[Kind, Severity, State], int]:
    """Those that are open."""
    keys = (_table.c.kind, _table.c.severity, _table.c.state)
    query = sa.select(*keys, sa.func.count().label("n")).where(_within(reach))
    query = query.where(_table.c.state.in_([state.value for state in OPEN_ONES.states])).group_by(*keys)
    rows = await connection.execute(query)
    return {(Kind(row.kind), Severity(row.severity), State(row.state)): row.n for row in rows}


def _within(reach: Reach) -> sa.ColumnElement[bool]:
    """Of a battery and a box within it. What is of neither is the whole book's affair."""
    if reach == EVERYWHERE:
        return sa.true()
    box, battery = _table.c.box, _table.c.battery
    return sa.and_(
        box.is_not(None) | battery.is_not(None),
        box.is_(None) | tenants.box_within(box, reach),
        battery.is_(None) | tenants.battery_within(battery, reach),
    )


# --- sending ------------------------------------------------------------------------------------------------------


async def take_due(
    connection: AsyncConnection, receiver: str, limit: int, now_ms: int, until_ms: int
) -> list[Delivery]:
    """What is due for this receiver, oldest first; nobody else takes it before `until_ms`."""
    due = (_out.c.receiver == receiver, _out.c.due_ms <= now_ms)
    query = sa.select(_out.c.id).where(*due).order_by(_out.c.id).limit(limit).with_for_update(skip_locked=True)
    numbers = list(await connection.scalars(query))
    for some in parts(numbers):
        await connection.execute(sa.update(_out).where(_out.c.id.in_(some)).values(due_ms=until_ms))
    found = []
    for some in parts(numbers):
        query = (
            sa.select(_table, _out.c.id.label("delivery"), _out.c.news, _out.c.tries, _out.c.made_ms)
            .join(_out, _out.c.alert == _table.c.id)
            .where(_out.c.id.in_(some))
            .order_by(_out.c.id)
        )
        for row in (await connection.execute(query)).mappings():
            news = State(row["news"])
            found.append(Delivery(row["delivery"], receiver, news, row["tries"], row["made_ms"], _alert(row)))
    return found


async def sent(connection: AsyncConnection, numbers: Sequence[int], now_ms: int) -> None:
    for some in parts(numbers):
        changes: dict[str, Any] = {"sent_ms": now_ms, "due_ms": None, "tries": _out.c.tries + 1, "problem": None}
        await connection.execute(sa.update(_out).where(_out.c.id.in_(some)).values(changes))


async def failed(connection: AsyncConnection, numbers: Sequence[int], again_ms: int | None, problem: str) -> None:
    """`again_ms` None: given up."""
    for some in parts(numbers):
        changes: dict[str, Any] = {"due_ms": again_ms, "tries": _out.c.tries + 1, "problem": problem}
        await connection.execute(sa.update(_out).where(_out.c.id.in_(some)).values(changes))


async def waiting(connection: AsyncConnection) -> Mapping[str, int]:
    """How much is still to be sent, by receiver; receivers that are in no settings any more among them."""
    query = sa.select(_out.c.receiver, sa.func.count().label("n")).where(_out.c.due_ms.is_not(None))
    return {row.receiver: row.n for row in await connection.execute(query.group_by(_out.c.receiver))}


# --- rows ---------------------------------------------------------------------------------------------------------


def _row(alert: Alert) -> dict[str, Any]:
    row = asdict(alert)
    del row["id"]
    return row | {name: row[name].value for name in ("kind", "severity", "state")} | {"detail": dict(alert.detail)}


def _alert(row: sa.RowMapping) -> Alert:
    named = {column.name: row[column] for column in _table.columns}
    named |= {"kind": Kind(named["kind"]), "severity": Severity(named["severity"]), "state": State(named["state"])}
    return Alert(**named)
