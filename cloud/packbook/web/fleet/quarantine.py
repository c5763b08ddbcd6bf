"""What could not be believed: by reason, one message in detail with its bytes, and what may be done about it.

Every act takes a reason and is written down with who did it. Releasing goes through the ledger's own door: nothing
enters that its box did not sign.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from fastapi import HTTPException, Request, Response

from packbook.core.fleet_papers import ROWS_PER_PAGE, DisputeLine, MessageDetail, MessageQuery, read_message_query
from packbook.core.intake import Fate, Reason
from packbook.core.words import Words
from packbook.web.access import doer_of
from packbook.web.fleet.room import (
    Cell,
    Grid,
    battery_cell,
    box_cell,
    done,
    fleet_of,
    grid,
    moment,
    note_in,
    number,
    place_of,
    reach_of,
    reason_in,
    text,
)
from packbook.web.render import render, words_for

QUARANTINE: Final = "/fleet/quarantine"
HEX_ROW: Final = 16
HEX_BYTES_MAX: Final = 8192  # shown; the whole message is a download away
FATE_TONES: Final = {Fate.OPEN.value: "warn", Fate.BELIEVED.value: "good", Fate.DROPPED.value: "quiet"}
ACTS: Final = ("release", "drop")
ENDINGS: Final = ("trust", "distrust")


async def quarantine(request: Request) -> Response:
    t, query = words_for(request), read_message_query(request.query_params.multi_items())
    found = await fleet_of(request).papers.messages(reach_of(request), query)
    rows = (
        (
            Cell(f"#{line.id}", href=f"{QUARANTINE}/{line.id}"),
            moment(line.last_ms),
            Cell(t.or_raw("fleet.reason", line.reason)),
            Cell(t(f"fleet.fate.{line.fate}"), tone=FATE_TONES[line.fate]),
            number(t, line.times),
            box_cell(line.box),
            Cell(t.told(line.detail), wide=True),
        )
        for line in found.lines
    )
    return render(
        request,
        "fleet/quarantine.html",
        note=note_in(request, t),
        query=query,
        narrowed=query != MessageQuery(page=query.page),
        counts=found.counts,
        total=found.total,
        grid=grid(t, t("fleet.quarantine.title"), ("message", "last", "reason", "fate", "times", "box", "why"), rows),
        disputes=_disputes(t, found.disputes),
        open_disputes=found.disputes,
        place=place_of(request, more=found.total > query.page * ROWS_PER_PAGE),
        reasons=tuple(Reason),
        fates=tuple(Fate),
    )


async def message(request: Request) -> Response:
    t, found = words_for(request), await _message(request)
    opened = fleet_of(request).desk.opened(found.payload) if found.payload else None
    rows = (
        (moment(act.at_ms), Cell(t.or_raw("fleet_act", act.act)), Cell(act.who), text(act.why, wide=True))
        for act in found.acts
    )
    return render(
        request,
        "fleet/message.html",
        message=found,
        line=found.line,
        note=note_in(request, t),
        tone=FATE_TONES[found.line.fate],
        hex=list(_hex(found.payload[:HEX_BYTES_MAX])),
        cut=len(found.payload) > HEX_BYTES_MAX,
        envelope=list(_leaves(opened)) if isinstance(opened, Mapping) else (),
        unopened=opened if isinstance(opened, str) else None,
        acts=grid(t, t("fleet.message.acts"), ("at", "act", "who", "detail"), rows),
        open_still=found.line.fate == Fate.OPEN,
        here=f"{QUARANTINE}/{found.line.id}",
    )


async def message_bytes(request: Request) -> Response:
    found = await _message(request)
    headers = {
        "Content-Disposition": f'attachment; filename="message-{found.line.id}.bin"',
        "Cache-Control": "no-store",
    }
    return Response(found.payload, media_type="application/octet-stream", headers=headers)


async def act(request: Request) -> Response:
    """Release or drop one message."""
    found, form = await _message(request), await request.form()
    what = form.get("act")
    if what not in ACTS:
        raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, f"act: one of {', '.join(ACTS)}")
    wish = {"items": [found.line.id], "why": reason_in(form), "who": doer_of(request)}
    (answer,) = await fleet_of(request).desk.do(f"quarantine.{what}", wish)
    note = "refused_again" if answer.get("refused") else f"message_{what}"
    return done(f"{QUARANTINE}/{found.line.id}", note)


async def settle(request: Request) -> Response:
    """End a dispute about a store: its ledger's history goes on, or what came after stays out."""
    form = await request.form()
    what, box, store = form.get("act"), str(form.get("box", "")), str(form.get("store", ""))
    if what not in ENDINGS:
        raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, f"act: one of {', '.join(ENDINGS)}")
    if not await fleet_of(request).papers.sees_store(reach_of(request), box, store):
        raise HTTPException(HTTPStatus.NOT_FOUND)
    wish = {"box": box, "store": store, "why": reason_in(form), "who": doer_of(request)}
    await fleet_of(request).desk.do(f"quarantine.{what}", wish)
    return done(QUARANTINE, f"store_{what}")


async def _message(request: Request) -> MessageDetail:
    found = await fleet_of(request).papers.message(reach_of(request), request.path_params["number"])
    if found is None:
        raise HTTPException(HTTPStatus.NOT_FOUND)
    return found


def _disputes(t: Words, disputes: Sequence[DisputeLine]) -> Grid:
    rows = (
        (
            box_cell(each.box),
            Cell(each.store, code=True),
            battery_cell(each.battery),
            number(t, each.from_seq),
            moment(each.since_ms),
            number(t, each.held_out),
        )
        for each in disputes
    )
    return grid(t, t("fleet.quarantine.disputes"), ("box", "store", "battery", "from_record", "at", "held_out"), rows)


def _hex(payload: bytes) -> Iterator[tuple[str, str, str]]:
    """Offset, bytes, and what of them is printable."""
    for at in range(0, len(payload), HEX_ROW):
        row = payload[at : at + HEX_ROW]
        letters = "".join(chr(byte) if 32 <= byte < 127 else "·" for byte in row)
        yield f"{at:05x}", row.hex(" "), letters


def _leaves(told: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    """Names and values, nested ones by their path."""
    for name, value in told.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", str(value)
