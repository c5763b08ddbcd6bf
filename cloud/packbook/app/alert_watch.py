"""Look for what is wrong, once a minute, and tell whoever wants to hear of it (docs/alerts.md).

In:  the book. Out: alerts raised and cleared in it, by the rules in force, and news to receivers.
Every process that writes the book runs this; `take_turn` lets one of them look.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from typing import Final

from packbook.adapters.store import alert_causes
from packbook.adapters.store import alerts as shelf
from packbook.adapters.store.database import Database
from packbook.app.alert_news import deliver, posts
from packbook.app.passports import rules_of
from packbook.clock import now_ms
from packbook.core.alerts import MS_PER_S, Alert, AlertRules, Kind, step
from packbook.ports.trouble import StoreError
from packbook.settings import AlertReceiver, Settings

PASS_EVERY_S: Final = 15.0  # how often it is asked whether it is time; the rules say how often a kind is looked for
MS_PER_DAY: Final = 86_400_000

log = logging.getLogger(__name__)


def alert_rules(settings: Settings) -> AlertRules:
    """Raises RulesError naming file, field and reason."""
    return rules_of(settings).load("alerts", AlertRules)


async def watch_alerts(settings: Settings, database: Database, rules: AlertRules) -> None:
    """Until cancelled. A database that is away is looked at again later."""
    away = False
    async with posts(settings) as everyone:
        while True:
            try:
                await look(database, rules, settings.alert_receivers)
                await deliver(database, everyone)
                away = False
            except StoreError as problem:
                if not away:
                    log.warning("alerts cannot be looked for now: %s", problem)
                away = True
            await asyncio.sleep(PASS_EVERY_S)


async def look(
    database: Database, rules: AlertRules, receivers: Sequence[AlertReceiver] = (), at_ms: int | None = None
) -> list[Alert]:
    """One pass over the kinds whose time has come. Gives what was raised or cleared. Raises StoreError."""
    told: list[Alert] = []
    for kind in Kind:
        begun_ms = now_ms() if at_ms is None else at_ms
        async with database.transaction() as connection:
            turn = await shelf.take_turn(connection, kind, rules.rule(kind).every_s * MS_PER_S, begun_ms)
        if turn:
            told += await _look_for(database, rules, kind, receivers, begun_ms)
    return told


async def _look_for(
    database: Database, rules: AlertRules, kind: Kind, receivers: Sequence[AlertReceiver], at_ms: int
) -> list[Alert]:
    rule = rules.rule(kind)
    seen = await alert_causes.sightings(database, rules, kind, at_ms) if rule.enabled else []
    async with database.transaction() as connection:
        standing = await shelf.standing(connection, kind)
        told = await shelf.keep(connection, step(kind, rule, rules.version, standing, seen, at_ms), receivers, at_ms)
        await shelf.forget_cleared(connection, at_ms - rules.keep_cleared_days * MS_PER_DAY)
    for state, count in sorted(Counter(alert.state.value for alert in told).items()):
        log.info("alerts %s: %d %s", state, count, kind.value, extra={"SEVERITY": rule.severity.value})
    return told
