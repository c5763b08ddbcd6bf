"""Take everything away: each format with what it is for, and all that an owner needs later in one file.

In:  a battery, a format's name. Out: the page, the file, or a zip of bundle, record, sheet and tables.
A format that this record cannot fill, or whose reader may not have it, is left out of the zip, which says so.
"""

from __future__ import annotations

import asyncio
import io
import zipfile
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from fastapi import HTTPException, Request, Response

from packbook.clock import now_ms
from packbook.core.access import Cut
from packbook.core.consent import PASSPORT, may_leave
from packbook.core.history import Battery
from packbook.core.words import Words, iso
from packbook.ports.passports import Manner
from packbook.ports.trouble import NotMade
from packbook.ports.trust import Evidence
from packbook.web import csv_files, shared
from packbook.web.access import PRIVATE, access_of, bearer, histories, private, read_of, who_of
from packbook.web.owner.frame import all_sessions, battery_of, download, file_name
from packbook.web.owner.use import EVENTS_MAX
from packbook.web.render import render, words_for
from packbook.web.shared import SHEET, export_of, own_cut

IN_ZIP: Final = (shared.RECORD, SHEET, "csv")
ZIP: Final = "application/zip"


async def export(request: Request) -> Response:
    battery, access = await battery_of(request, "export"), access_of(request)
    grant = access.table.grant(who_of(request).reader)
    closed = grant is None or grant.needs_consent
    why = may_leave(await histories(request).purposes(battery.battery), PASSPORT) if closed else None
    return render(
        request,
        "owner/export.html",
        battery=battery,
        formats=tuple(access.exports.suffixes),
        signing=request.app.state.evidence is not None,
        why=why,
    )


async def file(request: Request) -> Response:
    """One format of the record, as far as who asks may see it."""
    return await _file(request, request.path_params["format"])


async def sheet(request: Request) -> Response:
    """The condition sheet, under an address of its own."""
    return await _file(request, SHEET)


async def _file(request: Request, name: str) -> Response:
    if bearer(request) is not None:
        raise HTTPException(HTTPStatus.FORBIDDEN, "a share link has files of its own", headers=PRIVATE)
    access, reader = access_of(request), who_of(request).reader
    cut = await own_cut(request, request.path_params["battery"])
    if cut.why is not None:
        raise HTTPException(HTTPStatus.FORBIDDEN, cut.why, headers=PRIVATE)
    answer = await export_of(request, cut, name, Manner(words_for(request).language))
    await access.trail.note(read_of(access, cut, reader, "page", name))
    return answer


async def everything(request: Request) -> Response:
    """Bundle, record, sheet and tables in one zip."""
    battery, t = await battery_of(request, "everything.zip"), words_for(request)
    access, reader = access_of(request), who_of(request).reader
    cut = await own_cut(request, battery.battery)
    made, lacking = await _record_files(request, cut, t)
    for name in made:
        await access.trail.note(read_of(access, cut, reader, "page", name))
    files = {access.exports.suffixes[name]: data for name, data in made.items()} | await _tables(request, battery)
    evidence: Evidence | None = request.app.state.evidence
    bundle = None if evidence is None else await evidence.bundle(battery.battery)
    if bundle is None:
        lacking["bundle"] = t("export.no_key") if evidence is None else t("export.no_records")
    else:
        files[".packbook"] = bundle
    name = file_name(battery.battery)
    named = {f"{name}{suffix}": data for suffix, data in files.items()}
    named[t("export.readme_name")] = _readme(t, battery, now_ms(), lacking).encode()
    data = await asyncio.to_thread(_zipped, named)
    return private(download(data, f"{name}.zip", ZIP))


async def _record_files(request: Request, cut: Cut, t: Words) -> tuple[dict[str, bytes], dict[str, str]]:
    """By format; and of those that were not made, why."""
    exports, made, lacking = access_of(request).exports, dict[str, bytes](), dict[str, str]()
    for name in IN_ZIP:
        if cut.why is not None:
            lacking[name] = t("export.no_consent")
        elif name in exports.suffixes:
            try:
                made[name] = await exports.make(name, cut.passport, Manner(t.language))
            except NotMade as problem:
                lacking[name] = str(problem)
    return made, lacking


async def _tables(request: Request, battery: Battery) -> dict[str, bytes]:
    book, name = histories(request), battery.battery
    return {
        "-soh.csv": csv_files.soh_csv(await book.soh_series(name)).encode(),
        "-sessions.csv": csv_files.sessions_csv(await all_sessions(book, name, None, None)).encode(),
        "-events.csv": csv_files.events_csv(await book.events(name, EVENTS_MAX)).encode(),
    }


def _readme(t: Words, battery: Battery, made_ms: int, lacking: Mapping[str, str]) -> str:
    lines = [t("export.readme", battery=battery.battery, at=iso(made_ms))]
    lines += [t("export.lacking", name=t(f"format.{name}.name"), why=t.told(why)) for name, why in lacking.items()]
    return "\n".join(lines) + "\n"


def _zipped(files: Mapping[str, bytes]) -> bytes:
    """Bundle and PDF hardly shrink and the tables do: one way for all."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()
