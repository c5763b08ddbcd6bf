"""How far somebody sees, as conditions of a query."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from packbook.adapters.store import tables
from packbook.core.accounts import Reach


def battery_within(battery: sa.ColumnElement[Any], reach: Reach) -> sa.ColumnElement[bool]:
    return sa.true() if reach.batteries is None else battery.in_(sorted(reach.batteries))


def box_within(box: sa.ColumnElement[Any], reach: Reach) -> sa.ColumnElement[bool]:
    if reach.batteries is None:
        return sa.true()
    table = tables.installation
    return box.in_(sa.select(table.c.box).where(table.c.battery.in_(sorted(reach.batteries))))


def fleet_within(_name: sa.ColumnElement[Any], reach: Reach) -> sa.ColumnElement[bool]:
    return sa.true() if reach.tenant is None else sa.false()
