"""The JSON API: the history as programs read it, figures unrounded, each with the record it came from.

In:  GET requests and the `Histories` of `app.state`.
Out: models of `web.models`, with an ETag so that polling an unchanged history costs nothing.
An unknown battery is a 404; nothing here changes anything.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Final, Literal

from fastapi import Depends, HTTPException, Path, Query, Request, Response

from packbook.core.forecast import PRIOR, AgeingModel
from packbook.core.history import Battery, EventRow, SohPoint
from packbook.core.prospect import Lacking, Prospect, forecast_of
from packbook.ports import Evidence, Histories
from packbook.web import models
from packbook.web.access import access_of, histories, note_history, note_list, who_of

SESSIONS_MAX: Final = 500  # about 300 kB of JSON; programs page on from there
OFFSET_MAX: Final = 10_000_000  # beyond any real history, within any database's integers

BUNDLE_TYPE: Final = "application/vnd.packbook.bundle+cose"

Kind = Literal["charge", "drive", "rest"]


def evidence(request: Request) -> Evidence:
    signing: Evidence | None = request.app.state.evidence
    if signing is None:
        raise HTTPException(503, "this book has no signing key at hand")
    return signing


Book = Annotated[Histories, Depends(histories)]
Signing = Annotated[Evidence, Depends(evidence)]
BatteryPath = Annotated[str, Path(description="Id of the battery, as /api/v1/batteries lists it")]
KindFilter = Annotated[Kind | None, Query(description="Only this kind of session; none: all kinds")]


async def known_battery(request: Request, battery: BatteryPath, book: Book) -> Battery:
    """Reading on is put on record here, for every resource of a battery's own life."""
    found = await book.battery(battery)
    if found is None:
        raise HTTPException(404, f"no battery {battery!r} is in this book")
    await note_history(request, battery, "api", request.scope["route"].name)
    return found


Known = Annotated[Battery, Depends(known_battery)]


def reply(request: Request, answer: models.Answer) -> Response:
    """The answer as JSON, or 304 if the asker already has it. Shared caches keep nothing: histories are private."""
    body = answer.model_dump_json().encode()
    headers = {"ETag": f'W/"{hashlib.sha256(body).hexdigest()[:24]}"', "Cache-Control": "private, no-cache"}
    if headers["ETag"] in [tag.strip() for tag in request.headers.get("if-none-match", "").split(",")]:
        return Response(status_code=304, headers=headers)
    return Response(body, media_type="application/json", headers=headers)


async def batteries(request: Request, book: Book) -> Response:
    found = await book.batteries()
    await note_list(request, [battery.battery for battery in found], "api", "batteries")
    return reply(request, models.BatteriesOut.model_validate({"batteries": found}))


async def battery(request: Request, known: Known) -> Response:
    return reply(request, models.BatteryOut.model_validate(known))


async def soh(request: Request, known: Known, book: Book) -> Response:
    points = await book.soh_series(known.battery)
    return reply(request, models.SohSeriesOut.model_validate({"battery": known.battery, "points": points}))


async def ageing_model(book: Histories, battery: Battery) -> AgeingModel:
    """What the book learned of this pack; the published prior for a pack unknown or rare."""
    learned = None if battery.pack is None else await book.fleet_model(battery.pack)
    return PRIOR if learned is None else learned.model


async def prospect_of(
    book: Histories, battery: Battery, series: Sequence[SohPoint], events: Sequence[EventRow]
) -> Prospect | Lacking:
    """What comes next, and what may be promised; nothing while the history is in dispute."""
    if battery.doubts:
        return Lacking.DISPUTED
    return forecast_of(series, events, model=await ageing_model(book, battery))


async def forecast(request: Request, known: Known, book: Book) -> Response:
    series, events = await book.soh_series(known.battery), await book.events(known.battery, SESSIONS_MAX)
    found = await prospect_of(book, known, series, events)
    lacking = isinstance(found, Lacking)
    answer = {"battery": known.battery, "why": found if lacking else None, "forecast": None if lacking else found}
    return reply(request, models.ForecastOut.model_validate(answer))


async def sessions(
    request: Request,
    known: Known,
    book: Book,
    kind: KindFilter = None,
    limit: Annotated[int, Query(ge=1, le=SESSIONS_MAX, description="At most this many")] = 100,
    offset: Annotated[int, Query(ge=0, le=OFFSET_MAX, description="Leave out this many of the newest")] = 0,
) -> Response:
    rows = await book.sessions(known.battery, kind, limit + 1, offset)  # one more tells whether others follow
    answer = {
        "battery": known.battery,
        "kind": kind,
        "limit": limit,
        "offset": offset,
        "next_offset": offset + limit if len(rows) > limit else None,
        "sessions": rows[:limit],
    }
    return reply(request, models.SessionsOut.model_validate(answer))


async def usage(request: Request, known: Known, book: Book) -> Response:
    totals = await book.usage(known.battery)
    if totals is None:
        raise HTTPException(404, f"no usage of battery {known.battery!r} has arrived yet")
    return reply(request, models.UsageOut.of(known.battery, totals))


async def events(
    request: Request,
    known: Known,
    book: Book,
    limit: Annotated[int, Query(ge=1, le=SESSIONS_MAX, description="At most this many")] = 100,
) -> Response:
    rows = await book.events(known.battery, limit)
    return reply(request, models.EventsOut.model_validate({"battery": known.battery, "limit": limit, "events": rows}))


async def reads(
    request: Request,
    known: Known,
    limit: Annotated[int, Query(ge=1, le=SESSIONS_MAX, description="At most this many")] = 100,
) -> Response:
    found = await access_of(request).gate.reads(known.battery, limit)
    told = tuple(models.ReadOut.of(read) for read in found)
    return reply(request, models.ReadsOut(battery=known.battery, limit=limit, reads=told))


async def bundle(known: Known, signing: Signing) -> Response:
    data = await signing.bundle(known.battery)
    if data is None:
        raise HTTPException(404, f"no records of battery {known.battery!r} can be exported yet")
    headers = {
        "Content-Disposition": f'attachment; filename="{known.battery}.packbook"',
        "Cache-Control": "private, no-cache",
    }
    return Response(data, media_type=BUNDLE_TYPE, headers=headers)


async def checkpoints(
    request: Request,
    signing: Signing,
    battery: Annotated[
        str | None, Query(description="Only stores that watched this battery last", max_length=64)
    ] = None,
) -> Response:
    points = await signing.checkpoints(battery, who_of(request).reach)
    return reply(request, models.CheckpointsOut.of(signing.book_key, points))


async def boxes(request: Request, book: Book) -> Response:
    return reply(request, models.BoxesOut.model_validate({"boxes": await book.boxes()}))


async def quarantine(request: Request, book: Book) -> Response:
    newest = await book.quarantine(SESSIONS_MAX + 1)
    counted = newest[:SESSIONS_MAX]
    answer = models.QuarantineOut(
        counted=len(counted),
        complete=len(newest) <= SESSIONS_MAX,
        reasons=dict(Counter(message.reason for message in counted).most_common()),
        newest_ms=counted[0].received_ms if counted else None,
    )
    return reply(request, answer)
