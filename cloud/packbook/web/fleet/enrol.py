"""New boxes: codes in a batch with labels to print, what became of every code, and the way to take unused ones back.

The book keeps only the digests of codes. The answer to the form is the one place where the codes stand: it leads to no
other page, is kept by no cache, and can be printed or taken along as PDF, pictures, or files for boot partitions.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import segno
from fastapi import HTTPException, Request, Response

from packbook.clock import now_ms
from packbook.core.fleet_papers import ROWS_PER_PAGE, CodeLine
from packbook.core.fleet_table import within
from packbook.core.labels import Label, boot_text, pdf, sheet, svg
from packbook.core.words import Words
from packbook.web.access import doer_of
from packbook.web.fleet.room import (
    DASH,
    Cell,
    Grid,
    box_cell,
    done,
    fleet_of,
    grid,
    moment,
    note_in,
    page_in,
    place_of,
    reach_of,
    text,
)
from packbook.web.render import render, words_for

ENROL: Final = "/fleet/enrol"
COUNT_MAX: Final = 480  # twenty sheets; the command makes more
DAYS_MAX: Final = 365
DAYS_USUAL: Final = 30
ONCE: Final = {"Cache-Control": "no-store"}
TONES: Final = {"used": "good", "open": "warn", "expired": "quiet"}
BOOT_FILE: Final = "packbox-enrol.toml"  # as packwire.enrolment names it; a test holds both together


async def enrol(request: Request) -> Response:
    t, fleet, reach = words_for(request), fleet_of(request), reach_of(request)
    offset = (page_in(request) - 1) * ROWS_PER_PAGE
    codes = await fleet.boxes.codes(reach, ROWS_PER_PAGE + 1, offset)
    return render(
        request,
        "fleet/enrol.html",
        note=note_in(request, t),
        lacking=fleet.desk.why_no_codes,
        fleets=await fleet.boxes.fleets(reach),
        grid=_grid(t, codes[:ROWS_PER_PAGE]),
        place=place_of(request, more=len(codes) > ROWS_PER_PAGE),
        codes_of=sorted({code.fleet for code in codes}),
        count_max=COUNT_MAX,
        days_max=DAYS_MAX,
        days_usual=DAYS_USUAL,
    )


async def make(request: Request) -> Response:
    form, fleet = await request.form(), fleet_of(request)
    count = within(str(form.get("count", "1")), 1, COUNT_MAX)
    days = within(str(form.get("days", DAYS_USUAL)), 0.04, DAYS_MAX)
    if count is None or not count.is_integer() or days is None:
        raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, f"count: 1 to {COUNT_MAX}; days: up to {DAYS_MAX}")
    name = await _fleet_in(request, form)
    replaces = str(form.get("replaces", "")).strip() or None
    if replaces is not None and await fleet.boxes.one(reach_of(request), replaces) is None:
        raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, "replaces: no such box")
    labels = await fleet.desk.new_codes(int(count), name, days, replaces, doer_of(request))
    answer = render(request, "fleet/labels.html", labels=[(label, _picture(label)) for label in labels])
    answer.headers.update(ONCE)
    return answer


async def take_labels(request: Request) -> Response:
    """The same labels once more as a file: the page still has the codes, the book does not."""
    form, desk = await request.form(), fleet_of(request).desk
    name = await _fleet_in(request, form)
    expires = within(str(form.get("expires_ms", "")), 0, 1e14)
    codes = [str(code) for code in form.getlist("code")][:COUNT_MAX]
    if expires is None or not codes:
        raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, "no codes to print")
    labels = [desk.label(code, name, int(expires)) for code in codes]
    kind = str(form.get("as", "pdf"))
    if kind not in FILES:
        raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, f"as: one of {', '.join(FILES)}")
    media, suffix, write = FILES[kind]
    headers = {**ONCE, "Content-Disposition": f'attachment; filename="labels-{name}.{suffix}"'}
    return Response(write(labels), media_type=media, headers=headers)


async def drop(request: Request) -> Response:
    form = await request.form()
    wish = {"fleet": await _fleet_in(request, form), "who": doer_of(request)}
    dropped = await fleet_of(request).desk.do("codes.drop", wish)
    return done(ENROL, "codes_dropped" if dropped else "codes_none")


async def _fleet_in(request: Request, form: Mapping[str, Any]) -> str:
    """Whoever sees the whole book may begin a fleet; all others name one that they see."""
    name, reach = str(form.get("fleet", "")).strip(), reach_of(request)
    known = await fleet_of(request).boxes.fleets(reach)
    if not name or (reach.tenant is not None and name not in known):
        raise HTTPException(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"fleet: one of {', '.join(known)}" if known else "fleet: ask the administrator",
        )
    return name


def _picture(label: Label) -> str:
    """The code as SVG: drawn as one path, it needs no style of its own."""
    drawn: str = segno.make(boot_text(label), error="m", micro=False).svg_inline(
        border=0, omitsize=True, svgclass=None, lineclass=None
    )
    return drawn


def _sheet(labels: Sequence[Label]) -> bytes:
    return sheet(labels).encode()


def _pictures(labels: Sequence[Label]) -> bytes:
    return _zipped({f"{at:03d}.svg": svg(label) for at, label in enumerate(labels, 1)})


def _boot_files(labels: Sequence[Label]) -> bytes:
    return _zipped({f"{at:03d}/{BOOT_FILE}": boot_text(label) for at, label in enumerate(labels, 1)})


def _zipped(files: Mapping[str, str]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, words in files.items():
            archive.writestr(name, words)
    return out.getvalue()


FILES: Final = {
    "pdf": ("application/pdf", "pdf", pdf),
    "html": ("text/html; charset=utf-8", "html", _sheet),
    "svg": ("application/zip", "zip", _pictures),
    "boot": ("application/zip", "zip", _boot_files),
}


def _grid(t: Words, codes: Sequence[CodeLine]) -> Grid:
    now = now_ms()
    rows = (
        (
            Cell(code.digest, code=True),
            text(code.fleet),
            Cell(t(f"fleet.code.{code.state(now)}"), tone=TONES[code.state(now)]),
            moment(code.made_ms),
            moment(code.expires_ms),
            moment(code.used_ms),
            box_cell(code.used_by),
            box_cell(code.replaces) if code.replaces else DASH,
        )
        for code in codes
    )
    names = ("code", "fleet", "state", "made", "expires", "used", "box", "replaces")
    return grid(t, t("fleet.enrol.codes"), names, rows)
