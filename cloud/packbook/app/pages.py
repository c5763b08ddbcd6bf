"""The book's pages and API over one database, put together once for `serve` and for `web`."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import FastAPI

from packbook.adapters.store.database import Database
from packbook.adapters.store.histories import SqlHistories
from packbook.adapters.store.watch import SqlWatch
from packbook.app.access import access_for, gate_of
from packbook.app.accounts import accounts_of
from packbook.app.credentials import BookCredentials, issuer_of
from packbook.app.fleet import fleet_of
from packbook.app.operate import Office
from packbook.app.sign_on import sign_on_for
from packbook.ports.taking import Condition
from packbook.ports.trust import Evidence
from packbook.settings import Settings
from packbook.web.app import create_app


def pages_over(
    settings: Settings,
    database: Database,
    evidence: Evidence,
    *,
    own: bool,
    reading: Database | None = None,
    looks: Mapping[str, str] | None = None,
    condition: Condition | None = None,
) -> FastAPI:
    """Raises PackbookError.

    `own`: see `app.operate.doing`. `reading`: the same database, by connections of its own for what is read most.
    """
    reading = reading or database
    office = Office(database, settings)
    gate = gate_of(office, own=own)
    accounts = sign_on = None
    if settings.accounts == "on":
        accounts = accounts_of(office, own=own)
        sign_on = sign_on_for(office, accounts, own=own)
    return create_app(
        SqlHistories(reading),
        evidence,
        access=access_for(settings, gate, database),
        signed=BookCredentials(database, issuer_of(settings)),
        accounts=accounts,
        sign_on=sign_on,
        fleet=fleet_of(office, own=own),
        watch=SqlWatch(reading),
        looks=looks,
        condition=condition,
    )
