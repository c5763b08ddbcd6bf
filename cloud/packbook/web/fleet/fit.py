"""How well profiles fit the cars they read: by family, from what boxes count of data that cannot be right."""

from __future__ import annotations

from typing import Final

from fastapi import Request, Response

from packbook.core.fleet_boxes import DOUBTS, Fit
from packbook.core.words import Words
from packbook.web.fleet.room import DASH, Cell, csv_answer, fleet_of, grid, number, reach_of, text
from packbook.web.render import render, words_for

SHOWN: Final = (
    "implausible_values",
    "cells_not_sum",
    "wrong_length",
    "unknown_mux",
    "bad_checksum",
    "stuck_counter",
    "broken_answers",
    "foreign_answers",
)
LEAST_PPM: Final = 0.1
CSV_NAMES: Final = ("profile", "variant", "pack", "boxes", "read", "provisional", "wrong_profile", "frames", *DOUBTS)


async def fit(request: Request) -> Response:
    t = words_for(request)
    fits = await fleet_of(request).boxes.fits(reach_of(request))
    columns = ("profile", "verdict", "pack", "boxes", "named_read", "provisional", *SHOWN)
    table = grid(t, t("fleet.fit.title"), columns, (_cells(t, each) for each in fits))
    return render(request, "fleet/fit.html", grid=table)


async def fit_csv(request: Request) -> Response:
    fits = await fleet_of(request).boxes.fits(reach_of(request))
    rows = (
        (
            each.profile,
            each.variant,
            each.pack,
            each.boxes,
            each.read,
            each.provisional,
            each.wrong_profile,
            *(each.counts[name] for name in ("frames", *DOUBTS)),
        )
        for each in fits
    )
    return csv_answer(CSV_NAMES, rows, "profile-fit.csv")


def _cells(t: Words, each: Fit) -> tuple[Cell, ...]:
    return (
        Cell(" · ".join(filter(None, (each.profile, each.variant)))),
        _verdict(t, each),
        text(each.pack),
        number(t, each.boxes),
        number(t, each.read),
        number(t, each.provisional),
        *(_rate(t, each, name) for name in SHOWN),
    )


def _verdict(t: Words, each: Fit) -> Cell:
    if each.wrong_profile:
        return Cell(t.count("fleet.fit.wrong", each.wrong_profile), tone="bad")
    if not each.counts["frames"]:
        return Cell(t("fleet.fit.unknown"), tone="quiet")
    if each.doubtful:
        return Cell(t("fleet.fit.doubts"), tone="warn")
    return Cell(t("fleet.fit.good"), tone="good")


def _rate(t: Words, each: Fit, name: str) -> Cell:
    rate = each.rate(name)
    if rate is not None and 0.0 < rate < LEAST_PPM:
        return Cell(f"< {t.number(LEAST_PPM, 1, 'ppm')}", number=True)
    return DASH if rate is None else number(t, rate, 1 if 0.0 < rate < 10.0 else 0, "ppm")
