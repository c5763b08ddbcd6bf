"""The neutral record of a battery, read from the store and put together under the rules in force.

In:  a database, rule files. Out: `Passport`s, made anew each time: nothing of a record is stored.
Who may see what of it is decided after this (`core.access`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from packbook.adapters.rules import RuleBook, RulesError
from packbook.adapters.store import custody as shelf
from packbook.adapters.store import declarations
from packbook.adapters.store.database import Database
from packbook.adapters.store.histories import SqlHistories
from packbook.clock import now_ms
from packbook.core.custody import Chain, Rules, said_by, verify, what_is_left
from packbook.core.declared import Declared, day_ms, in_force
from packbook.core.forecast import PRIOR
from packbook.core.lifecycle import LifeCycle
from packbook.core.passport import Fact, Passport
from packbook.core.passport_of import Life, facts_said, passport_of
from packbook.core.prospect import Lacking, Prospect, forecast_of
from packbook.core.rules import Fields
from packbook.settings import Settings

SESSIONS_READ: Final = 50  # enough to find the newest state of charge and temperature
EVENTS_READ: Final = 500


class BookPassports:
    """Fills `ports.Passports`."""

    def __init__(self, database: Database, rules: RuleBook) -> None:
        self._database = database
        self._histories = SqlHistories(database)
        self._rules = rules

    async def passport(self, battery: str) -> Passport | None:
        """None: no such battery is in this book. Raises PackbookError."""
        head = await self._histories.battery(battery)
        if head is None:
            return None
        fields = self._rules.fields()
        said = await declarations.said_of(self._database, battery, head.pack)
        chain = await chain_of(self._database, battery, self._rules)
        points = await self._histories.soh_series(battery)
        events = await self._histories.events(battery, EVENTS_READ)
        learned = None if head.pack is None else await self._histories.fleet_model(head.pack)
        prospect: Prospect | Lacking = Lacking.DISPUTED
        if not head.doubts:
            prospect = await asyncio.to_thread(
                forecast_of,
                points,
                events,
                made_ms=made_on_ms(said, fields),
                model=PRIOR if learned is None else learned.model,
            )
        life = Life(
            battery=head,
            points=points,
            usage=await self._histories.usage(battery),
            sessions=await self._histories.sessions(battery, limit=SESSIONS_READ),
            events=events,
            prospect=prospect,
            cells=await self._histories.cells(battery),
        )
        passport = passport_of(life, fields, [*said, *said_by(chain)], made_ms=now_ms())
        if chain.last is None or not chain.last.recycled:
            return passport
        return what_is_left(passport, self._rules.load("lifecycle", LifeCycle, chain.last.rules).recycled.keeps)

    async def said(self, battery: str) -> Mapping[str, tuple[Fact, ...]]:
        """Empty for a battery that is not in this book."""
        head = await self._histories.battery(battery)
        if head is None:
            return {}
        said = await declarations.said_of(self._database, battery, head.pack)
        chain = await chain_of(self._database, battery, self._rules)
        return facts_said([*said, *said_by(chain)], self._rules.fields())


async def chain_of(database: Database, battery: str, rules: RuleBook) -> Chain:
    """Who held a battery, checked each time: a row that somebody changed shows. Raises StoreError."""
    async with database.transaction() as connection:
        links = await shelf.links_of(connection, battery)
    return verify(links, lifecycles(rules))


def lifecycles(rules: RuleBook) -> Rules:
    """Life-cycle rules by version; None: a version that is not known here."""

    def of(version: str) -> LifeCycle | None:
        try:
            return rules.load("lifecycle", LifeCycle, version)
        except RulesError:
            return None

    return of


def made_on_ms(said: list[Declared], fields: Fields) -> int | None:
    """When the battery was made, where somebody said so."""
    made_on = in_force(said, fields.fields).get("made_on")
    return day_ms(str(made_on[0].value)) if made_on else None


def rules_of(settings: Settings, versions: Mapping[str, str] | None = None) -> RuleBook:
    """The rule files an operator chose; `versions`: others, for once."""
    folders = [] if settings.rules_dir is None else [settings.rules_dir]
    return RuleBook({**settings.rules, **(versions or {})}, folders)
