"""What is wrong now, kind by kind: one query over the whole book each, however many boxes there are.

In:  a connection, the kind's rule, the time.
Out: `Sighting`s at least bad enough to keep an alert (`core.alerts`): of a sound fleet few rows leave the database.
Boxes that were revoked, retired or replaced are nobody's trouble any more. Records without a date wait for one. What is
wrong with a battery names no box: it may have gone to somebody else since.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from packbook.adapters.store import tables
from packbook.adapters.store.database import Database
from packbook.core.alerts import (
    AlertRules,
    BoxSilent,
    CanDrops,
    CertificateEnding,
    ClockBad,
    CoverageFalling,
    DiskWorn,
    Glimpse,
    HarmfulEvent,
    Kind,
    QuarantineGrowing,
    RapidFade,
    Sighting,
    coverage_drop_pct,
    fade_pct_per_year,
)
from packbook.core.enrolment import BoxState
from packbook.core.intake import Fate, Reason

MS_PER_DAY: Final = 86_400_000
MS_PER_H: Final = 3_600_000
BYTES_PER_MB: Final = 1_000_000
BATTERIES_AT_ONCE: Final = 2000  # SQLite has one connection: what looks through all histories lets others in between
STRANGERS: Final = "strangers"  # messages that came on no box's topic

_box: Final = tables.box


async def sightings(database: Database, rules: AlertRules, kind: Kind, now_ms: int) -> list[Sighting]:
    """Raises StoreError."""
    if kind in _OF_PAIRS:
        return await _OF_PAIRS[kind](database, rules)
    async with database.transaction() as connection:
        return await _AT_ONCE[kind](connection, rules, now_ms)


# --- boxes --------------------------------------------------------------------------------------------------------


def _speaks(box: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    enrolled = tables.enrolled_box
    gone = sa.select(enrolled.c.box).where(enrolled.c.box == box, enrolled.c.state != BoxState.ACTIVE.value)
    return ~gone.exists()


def _watched(box: sa.ColumnElement[Any]) -> sa.Label[Any]:
    """The battery that this box watches: looked up for the few rows that come out."""
    table = tables.installation
    newest = sa.select(table.c.battery).where(table.c.box == box)
    newest = newest.order_by(table.c.from_ms.desc().nulls_last(), table.c.store.desc(), table.c.seq.desc()).limit(1)
    return newest.scalar_subquery().label("battery")


async def _silent(connection: AsyncConnection, rules: AlertRules, now_ms: int) -> list[Sighting]:
    rule: BoxSilent = rules.box_silent
    since_ms = now_ms - round(rule.clear_silent_days * MS_PER_DAY)
    query = sa.select(_box.c.box, _box.c.last_seen_ms, _watched(_box.c.box))
    rows = await connection.execute(query.where(_box.c.last_seen_ms < since_ms, _speaks(_box.c.box)))
    return [
        Sighting(
            row.box,
            (now_ms - row.last_seen_ms) / MS_PER_DAY,
            box=row.box,
            battery=row.battery,
            detail={"last_seen_ms": row.last_seen_ms},
        )
        for row in rows
    ]


async def _clock(connection: AsyncConnection, rules: AlertRules, now_ms: int) -> list[Sighting]:
    rule: ClockBad = rules.clock_bad
    running_h = _box.c.health["uptime_s"].as_float() / 3600.0
    query = sa.select(_box.c.box, running_h.label("figure"), _watched(_box.c.box)).where(
        _box.c.health["clock"].as_string() != "set", running_h > rule.clear_unset_h, _speaks(_box.c.box)
    )
    found = [
        Sighting(f"{row.box}/unset", row.figure, box=row.box, battery=row.battery, detail={"cause": "unset"})
        for row in await connection.execute(query)
    ]
    noted = tables.quarantine
    wrong = (
        sa.select(noted.c.box, _watched(noted.c.box))
        .where(
            noted.c.reason == Reason.WRONG_CLOCK.value,
            noted.c.state == Fate.OPEN.value,
            noted.c.last_ms >= now_ms - round(rule.wrong_within_days * MS_PER_DAY),
            noted.c.box.is_not(None),
            _speaks(noted.c.box),
        )
        .distinct()
    )
    worst_h = max(rule.raise_unset_h, 1.0)  # not a matter of hours: it raises at once
    return found + [
        Sighting(f"{row.box}/wrong", worst_h, box=row.box, battery=row.battery, detail={"cause": "wrong"})
        for row in await connection.execute(wrong)
    ]


async def _disk(connection: AsyncConnection, rules: AlertRules, now_ms: int) -> list[Sighting]:
    rule: DiskWorn = rules.disk_worn
    free_mb = _box.c.health["disk_free_bytes"].as_float() / BYTES_PER_MB
    query = sa.select(_box.c.box, free_mb.label("figure"), _watched(_box.c.box)).where(
        free_mb < rule.clear_free_mb, _speaks(_box.c.box)
    )
    found = [
        Sighting(
            f"{row.box}/full",
            row.figure,
            box=row.box,
            battery=row.battery,
            detail={"cause": "full", "free_mb": round(row.figure)},
        )
        for row in await connection.execute(query)
    ]
    event = tables.event
    lost = (
        sa.select(event.c.box, event.c.event, sa.func.max(event.c.at_ms).label("at_ms"), _watched(event.c.box))
        .where(
            event.c.event.in_(rule.events),
            event.c.at_ms >= now_ms - round(rule.events_within_days * MS_PER_DAY),
            _speaks(event.c.box),
        )
        .group_by(event.c.box, event.c.event)
    )
    return found + [
        Sighting(
            f"{row.box}/{row.event}",
            0.0,  # as bad as a full disk
            box=row.box,
            battery=row.battery,
            detail={"cause": "lost", "event": row.event, "at_ms": row.at_ms},
        )
        for row in await connection.execute(lost)
    ]


async def _drops(connection: AsyncConnection, rules: AlertRules, _now_ms: int) -> list[Sighting]:
    rule: CanDrops = rules.can_drops
    frames, dropped = (_box.c.health[name].as_float() for name in ("frames", "frames_dropped"))
    share_pct = 100.0 * dropped / (frames + dropped)
    query = sa.select(_box.c.box, share_pct.label("figure"), dropped.label("dropped"), _watched(_box.c.box)).where(
        frames >= max(1.0, rule.frames_min), share_pct > rule.clear_dropped_pct, _speaks(_box.c.box)
    )
    return [
        Sighting(
            row.box,
            row.figure,
            box=row.box,
            battery=row.battery,
            detail={"dropped": int(row.dropped), "dropped_pct": round(row.figure, 2)},
        )
        for row in await connection.execute(query)
    ]


async def _certificates(connection: AsyncConnection, rules: AlertRules, now_ms: int) -> list[Sighting]:
    """Of each box's longest-lasting certificate."""
    rule: CertificateEnding = rules.certificate_ending
    table = tables.certificate
    until_ms = sa.func.max(table.c.until_ms)
    newest = (
        sa.select(table.c.box, until_ms.label("until_ms"), sa.func.max(table.c.issued_ms).label("issued_ms"))
        .where(table.c.revoked_ms.is_(None), _speaks(table.c.box))
        .group_by(table.c.box)
        .having(until_ms < now_ms + round(rule.clear_left_days * MS_PER_DAY))
    ).subquery()
    rows = await connection.execute(sa.select(newest, _watched(newest.c.box)))
    return [
        Sighting(
            row.box,
            (row.until_ms - now_ms) / MS_PER_DAY,
            box=row.box,
            battery=row.battery,
            detail={"until_ms": row.until_ms},
        )
        for row in rows
        if row.until_ms - now_ms <= (row.until_ms - row.issued_ms) * rule.life_share_max_pct / 100.0
    ]


# --- records and messages -----------------------------------------------------------------------------------------


async def _broken(connection: AsyncConnection, _rules: AlertRules, _now_ms: int) -> list[Sighting]:
    """Every fork and every broken chain makes its store disputed, until an operator settles that."""
    chain = tables.chain
    query = sa.select(chain.c.box, chain.c.store, chain.c.battery, chain.c.disputed_from)
    rows = await connection.execute(query.where(chain.c.disputed_from.is_not(None), chain.c.settled_ms.is_(None)))
    return [
        Sighting(
            f"{row.box}/{row.store}",
            1.0,
            box=row.box,
            store=row.store,
            battery=row.battery,
            detail={"disputed_from": row.disputed_from},
        )
        for row in rows
    ]


async def _harmed(connection: AsyncConnection, rules: AlertRules, now_ms: int) -> list[Sighting]:
    rule: HarmfulEvent = rules.harmful_event
    event = tables.event
    query = (
        sa.select(
            event.c.battery,
            event.c.event,
            sa.func.count().label("times"),
            sa.func.max(event.c.at_ms).label("at_ms"),
        )
        .where(event.c.event.in_(rule.events), event.c.at_ms >= now_ms - round(rule.within_days * MS_PER_DAY))
        .group_by(event.c.battery, event.c.event)
    )
    return [
        Sighting(
            f"{row.battery}/{row.event}",
            float(row.times),
            battery=row.battery,
            detail={"event": row.event, "at_ms": row.at_ms, "times": row.times},
        )
        for row in await connection.execute(query)
    ]


async def _quarantine(connection: AsyncConnection, rules: AlertRules, now_ms: int) -> list[Sighting]:
    rule: QuarantineGrowing = rules.quarantine_growing
    table = tables.quarantine
    query = (
        sa.select(table.c.box, table.c.reason, sa.func.count().label("n"))
        .where(table.c.state == Fate.OPEN.value, table.c.last_ms >= now_ms - round(rule.within_h * MS_PER_H))
        .group_by(table.c.box, table.c.reason)
        .order_by(sa.func.count(), table.c.reason)
    )
    totals: dict[str | None, int] = {}
    most: dict[str | None, str] = {}
    for row in await connection.execute(query):
        totals[row.box] = totals.get(row.box, 0) + row.n
        most[row.box] = row.reason
    return [
        Sighting(box or STRANGERS, float(n), box=box, detail={"messages": n, "reason": most[box]})
        for box, n in totals.items()
    ]


# --- histories ----------------------------------------------------------------------------------------------------


async def _unseen(database: Database, rules: AlertRules) -> list[Sighting]:
    rule: CoverageFalling = rules.coverage_falling
    found = []
    async for battery, before, after in _pairs(database, rule.span_days, of_value=False):
        drop_pct = coverage_drop_pct(before, after)
        if drop_pct is not None and rule.stands(drop_pct):  # of most batteries nothing is to be said
            detail = {"drop_pct": round(drop_pct), "from_ms": before.at_ms, "at_ms": after.at_ms}
            found.append(Sighting(battery, drop_pct, battery=battery, detail=detail))
    return found


async def _fading(database: Database, rules: AlertRules) -> list[Sighting]:
    rule: RapidFade = rules.rapid_fade
    found = []
    async for battery, before, after in _pairs(database, rule.span_days, of_value=True):
        fade = fade_pct_per_year(before, after)
        if fade is not None and rule.stands(fade):
            detail = {"fade_pct": round(fade, 1), "from_ms": before.at_ms, "at_ms": after.at_ms}
            found.append(Sighting(battery, fade, battery=battery, detail=detail))
    return found


async def _pairs(
    database: Database, span_days: float, *, of_value: bool
) -> AsyncIterator[tuple[str, Glimpse, Glimpse]]:
    """Of each battery: its newest SoH record, and the newest that is at least so much older. With a value, or any."""
    last = ""
    while True:
        async with database.transaction() as connection:
            rows = (
                (await connection.execute(_pair_query(last, round(span_days * MS_PER_DAY), of_value))).mappings().all()
            )
            head = tables.battery
            page = sa.select(head.c.battery).where(head.c.battery > last).order_by(head.c.battery)
            names = list(await connection.scalars(page.limit(BATTERIES_AT_ONCE)))
        seen: set[str] = set()
        for row in rows:
            if row["battery"] not in seen:  # two records of one millisecond
                seen.add(row["battery"])
                yield row["battery"], _glimpse(row, "b_"), _glimpse(row, "a_")
        if len(names) < BATTERIES_AT_ONCE:
            return
        last = names[-1]


def _pair_query(after: str, span_ms: int, of_value: bool) -> sa.Select[Any]:
    head, soh = tables.battery, tables.soh_point
    usable = (soh.c.at_ms.is_not(None), *((soh.c.state == "ok", soh.c.soh_pct.is_not(None)) if of_value else ()))
    page = (
        sa.select(head.c.battery).where(head.c.battery > after).order_by(head.c.battery).limit(BATTERIES_AT_ONCE)
    ).subquery()
    newest = sa.select(
        page.c.battery,
        sa.select(sa.func.max(soh.c.at_ms))
        .where(soh.c.battery == page.c.battery, *usable)
        .scalar_subquery()
        .label("a_ms"),
    ).subquery()
    pair = sa.select(
        newest.c.battery,
        newest.c.a_ms,
        sa.select(sa.func.max(soh.c.at_ms))
        .where(soh.c.battery == newest.c.battery, soh.c.at_ms <= newest.c.a_ms - span_ms, *usable)
        .scalar_subquery()
        .label("b_ms"),
    ).subquery()
    a, b = soh.alias("a"), soh.alias("b")
    return (
        sa.select(
            pair.c.battery,
            *(a.c[name].label(f"a_{name}") for name in _GLIMPSED),
            *(b.c[name].label(f"b_{name}") for name in _GLIMPSED),
        )
        .join(a, (a.c.battery == pair.c.battery) & (a.c.at_ms == pair.c.a_ms))
        .join(b, (b.c.battery == pair.c.battery) & (b.c.at_ms == pair.c.b_ms))
        .order_by(pair.c.battery, a.c.seq.desc(), b.c.seq.desc())
    )


_GLIMPSED: Final = (
    "at_ms",
    "soh_pct",
    "sigma_pct",
    "method",
    "basis",
    "reference_ah",
    "observed_s",
    "inferred_s",
    "unobserved_s",
    "observed_km",
    "odometer_km",
)


def _glimpse(row: Mapping[str, Any], prefix: str) -> Glimpse:
    value = {name: row[prefix + name] for name in _GLIMPSED}
    seen_s = value["observed_s"] + value["inferred_s"]
    return Glimpse(
        value["at_ms"],
        value["soh_pct"],
        value["sigma_pct"],
        (value["method"], value["basis"], value["reference_ah"]),
        seen_s,
        seen_s + value["unobserved_s"],
        value["observed_km"],
        value["odometer_km"],
    )


_AT_ONCE: Final[Mapping[Kind, Callable[[AsyncConnection, AlertRules, int], Awaitable[list[Sighting]]]]] = {
    Kind.BOX_SILENT: _silent,
    Kind.CLOCK_BAD: _clock,
    Kind.DISK_WORN: _disk,
    Kind.CAN_DROPS: _drops,
    Kind.CERTIFICATE_ENDING: _certificates,
    Kind.CHAIN_BROKEN: _broken,
    Kind.HARMFUL_EVENT: _harmed,
    Kind.QUARANTINE_GROWING: _quarantine,
}
_OF_PAIRS: Final[Mapping[Kind, Callable[[Database, AlertRules], Awaitable[list[Sighting]]]]] = {
    Kind.COVERAGE_FALLING: _unseen,
    Kind.RAPID_FADE: _fading,
}
