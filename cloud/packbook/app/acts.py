"""Everything that operators may have the running book do, under one name each."""

from __future__ import annotations

from typing import Final

from packbook.app import (
    access,
    account_acts,
    alerts,
    credentials,
    custody_acts,
    declaration,
    enrolment,
    quarantine,
    rebuild,
    relation,
)
from packbook.app.operate import Act

ACTS: Final[dict[str, Act]] = {
    **access.ACTS,
    **account_acts.ACTS,
    **alerts.ACTS,
    **credentials.ACTS,
    **custody_acts.ACTS,
    **declaration.ACTS,
    **enrolment.ACTS,
    **quarantine.ACTS,
    **rebuild.ACTS,
    **relation.ACTS,
}
