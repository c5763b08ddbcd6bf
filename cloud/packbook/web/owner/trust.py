"""Why the figures may be believed: what stands behind them, how to check it, who read them and who held the battery.

In:  the newest records of a battery, reads and declarations, whether the book has a signing key. Out: the page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from fastapi import Request, Response

from packbook.core.access import Read
from packbook.core.accounts import May
from packbook.core.history import Battery, Provenance, SessionRow, UsageTotals
from packbook.core.words import Words
from packbook.web import figures
from packbook.web.access import access_of, histories, who_of
from packbook.web.charts import Moment, Table
from packbook.web.owner.frame import battery_of
from packbook.web.passport_page import HOLDERS, figures_of
from packbook.web.render import render, words_for
from packbook.web.verify import panel_of

READS_SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class Trust:
    records: int
    sources: tuple[tuple[str, Provenance], ...]
    reads: Table | None
    coverage: figures.Coverage | None


async def trust(request: Request) -> Response:
    book, battery = histories(request), await battery_of(request, "trust")
    name, access, t = battery.battery, access_of(request), words_for(request)
    reader = who_of(request).reader
    said = await access.passports.said(name)
    held = {field: facts for field, facts in said.items() if access.table.may_see(reader, field)}
    shows_reads = May.READ_READS in who_of(request).may
    page = build(
        t,
        battery,
        usage=await book.usage(name),
        newest=await book.sessions(name, "charge", 1),
        reads=await access.gate.reads(name, READS_SHOWN) if shows_reads else (),
    )
    return render(
        request,
        "owner/trust.html",
        page=page,
        battery=battery,
        holders=figures_of(t, HOLDERS, held),
        signing=request.app.state.evidence is not None,
        panel=panel_of(request),
        shows_reads=shows_reads,
    )


def build(
    t: Words,
    battery: Battery,
    *,
    usage: UsageTotals | None,
    newest: Sequence[SessionRow],
    reads: Sequence[Read],
) -> Trust:
    found = (
        (t("check.soh"), battery.soh.provenance if battery.soh else None),
        (t("check.usage"), usage.provenance if usage else None),
        (t("check.charge"), newest[0].provenance if newest else None),
    )
    return Trust(
        battery.records,
        tuple((label, source) for label, source in found if source is not None),
        _reads(t, reads) if reads else None,
        figures.coverage(usage, battery.soh),
    )


def _reads(t: Words, reads: Sequence[Read]) -> Table:
    """Who looked, the newest first; which fields is for `packbook reads` and the API."""
    names = ("read_at", "reader", "door", "what")
    rows = tuple(
        (
            Moment(read.at_ms, "moment"),
            " · ".join(filter(None, (t.or_raw("reader", read.reader.name), read.reader.link, read.reader.account))),
            t(f"door.{read.door}"),
            read.what,
        )
        for read in reads
    )
    return Table(t("reads.caption"), tuple(t(f"column.{name}") for name in names), rows)
