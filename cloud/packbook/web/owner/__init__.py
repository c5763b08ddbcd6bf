"""The owner's rooms: the batteries, and of one battery an overview, sessions, use, trust, sharing, consents and export.

Every route of them stands in `PAGES`. All figures are on the page when it arrives; scripts only draw charts from the
tables' data and keep the page current.
"""

from __future__ import annotations

from typing import Final

from packbook.core.accounts import May
from packbook.web import glossary, verify
from packbook.web.owner import chart_files, consents, export, home, overview, session, sessions, share, trust, use
from packbook.web.routes import Page

_BATTERY: Final = "/battery/{battery}"

PAGES: Final = (
    Page("/", home.home, May.READ_BATTERY),
    Page("/compare", home.compare, May.READ_BATTERY),
    Page("/compare.csv", home.compare_csv, May.READ_BATTERY),
    Page(_BATTERY, overview.overview, May.READ_BATTERY),
    Page(f"{_BATTERY}/soh.csv", overview.soh_csv, May.READ_BATTERY),
    Page(f"{_BATTERY}/sessions", sessions.sessions, May.READ_BATTERY),
    Page(f"{_BATTERY}/sessions.csv", sessions.sessions_csv, May.READ_BATTERY),
    Page(f"{_BATTERY}/sessions/{{box}}/{{store}}/{{seq}}", session.session, May.READ_BATTERY),
    Page(f"{_BATTERY}/sessions/{{box}}/{{store}}/{{seq}}/curve.csv", session.curve_csv, May.READ_BATTERY),
    Page(f"{_BATTERY}/use", use.use, May.READ_BATTERY),
    Page(f"{_BATTERY}/events.csv", use.events_csv, May.READ_BATTERY),
    Page(f"{_BATTERY}/charts/{{chart}}.csv", chart_files.chart_csv, May.READ_BATTERY),
    Page(f"{_BATTERY}/cells.csv", use.cells_csv, May.READ_BATTERY),
    Page(f"{_BATTERY}/trust", trust.trust, May.READ_BATTERY),
    Page(f"{_BATTERY}/share", share.share, May.MANAGE_BATTERY),
    Page(f"{_BATTERY}/share", share.make, May.MANAGE_BATTERY, "POST"),
    Page(f"{_BATTERY}/share/revoke", share.revoke, May.MANAGE_BATTERY, "POST"),
    Page(f"{_BATTERY}/consents", consents.consents, May.READ_BATTERY),
    Page(f"{_BATTERY}/export", export.export, May.READ_BATTERY),
    Page(f"{_BATTERY}/export/{{format}}", export.file, May.READ_BATTERY),
    Page(f"{_BATTERY}/everything.zip", export.everything, May.READ_BATTERY),
    Page(f"{_BATTERY}/sheet.pdf", export.sheet, May.READ_BATTERY),
    Page("/glossary", glossary.glossary),
    Page("/verify", verify.verify),
)
