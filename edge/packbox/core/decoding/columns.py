"""Believable values of many signals at once.

In:  sifted frames, and what a view wants of their ids.
Out: `Series`, one for each use of a signal that has values; void and implausible values are left out and counted.

The columns of all signals lie end to end, so that a batch of few frames per id takes a few steps and not a few for each
signal. The extremes of a column tell that every value in it is good, which is so nearly always; only where they do not
is it looked at value by value.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, groupby, pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from packbox.core.answers import CELLS_TOLERANCE
from packbox.core.decoding.meaning import CELL_QUANTITIES, as_quantity
from packbox.core.decoding.sorting import Group, Sorted
from packbox.core.decoding.sources import Series
from packbox.core.decoding.tally import Tally
from packbox.core.decoding.view import Claim, View, Wanted
from packbox.core.frames import BoolArray, FloatArray, IntArray
from packbox.core.layout import Words, among, count, every, raws, values
from packbox.core.packs import PackFacts


class _Strip(NamedTuple):
    """A claim, and the words of its group's frames that tell its signal. A tuple: dozens are made for each batch."""

    claim: Claim
    group: Group
    words: npt.NDArray[np.uint64]
    told: BoolArray | None  # which of the group's frames these are; None = all


def series_of(frames: Sorted, view: View, tally: Tally) -> list[Series]:
    """In the order of the groups, and of the signals within each."""
    strips: list[_Strip] = []
    for group in frames.groups:
        wanted = view.wanted[group.slot]
        if wanted is not None and wanted.claims:
            strips += _strips(frames.frames.pick(group.span), group, wanted, tally)
    series: list[Series] = []
    for group, of_frame in _granted(strips, frames, tally) if strips else ():
        wanted = view.wanted[group.slot]
        fitting = wanted is not None and wanted.cells_beside_pack
        series += _fitting_cells(of_frame, view.pack, tally) if fitting else of_frame
    return series


def _strips(frames: Words, group: Group, wanted: Wanted, tally: Tally) -> list[_Strip]:
    if wanted.whole:
        return [_Strip(claim, group, claim.column.word(frames), None) for claim in wanted.claims]
    selectors = wanted.plan.selector_values(frames)
    for name, known in wanted.plan.message.mux_known:
        if name in selectors:
            tally.add("unknown_mux", len(frames) - count(among(selectors[name], known)))
    silent = wanted.plan.silent(frames)
    strips: list[_Strip] = []
    for claim in wanted.claims:
        word = claim.column.word(frames)
        told = claim.column.present(selectors)
        if silent is not None:
            if not claim.again:
                tally.add("void_values", count(silent if told is None else silent & told))
            told = ~silent if told is None else told & ~silent
        if told is None or every(told):
            strips.append(_Strip(claim, group, word, None))
        elif told.any():
            strips.append(_Strip(claim, group, word[told], told))
    return strips


def _granted(strips: Sequence[_Strip], frames: Sorted, tally: Tally) -> Iterator[tuple[Group, list[Series]]]:
    """The believable values of each group's claims."""
    columns = [strip.claim.column for strip in strips]
    words = [strip.words for strip in strips]
    raw = raws(columns, words)
    lengths = [len(word) for word in words]
    bounds = list(accumulate(lengths, initial=0))
    value = values(columns, raw, lengths)
    lowest = np.minimum.reduceat(raw, bounds[:-1]).tolist()
    highest = np.maximum.reduceat(raw, bounds[:-1]).tolist()
    places = zip(pairwise(bounds), lowest, highest, strict=True)
    for group, of_group in groupby(zip(strips, places, strict=True), key=lambda both: both[0].group):
        index, mono_ns = frames.index[group.span], frames.mono_ns[group.span]
        series: list[Series] = []
        for (claim, _, _, told), ((begin, end), low, high) in of_group:
            good, kept = value[begin:end], None
            if claim.good is None or low < claim.good[0] or high > claim.good[1]:
                good, kept = _value_by_value(claim, raw[begin:end], good, tally)
            if claim.use is None or not len(good):
                continue
            one = Series(claim.use, group.bus, index, mono_ns, good)
            series.append(one if told is None and kept is None else _where(one, told, kept))
        yield group, series


def _where(one: Series, told: BoolArray | None, kept: BoolArray | None) -> Series:
    """The times of the frames that tell the signal (None = all), and of those the ones whose values were kept."""
    place, mono_ns = one.place, one.mono_ns
    for which in (told, kept):
        if which is not None:
            place, mono_ns = place[which], mono_ns[which]
    return Series(one.use, one.bus, place, mono_ns, one.value)


def _value_by_value(
    claim: Claim, raw: IntArray, value: FloatArray, tally: Tally
) -> tuple[FloatArray, BoolArray | None]:
    """Good values of a column, and which of its values they are (None = all)."""
    if claim.lookup is not None:
        place = raw - claim.lookup.first
        if every(claim.lookup.fine[place]):
            return claim.lookup.value[place], None
    keep = np.ones(raw.shape, np.bool_)
    nothing = claim.column.says_nothing(raw)
    if nothing is not None:
        keep = ~nothing
        if not claim.again:
            tally.add("void_values", count(nothing))
    if claim.use is not None and not claim.use.is_plain:
        value, known = as_quantity(claim.use, value)
        tally.add("void_values", count(keep & ~known))
        keep &= known
    believable = (value >= claim.low) & (value <= claim.high)
    tally.add("implausible_values", count(keep & ~believable))
    keep &= believable
    return value[keep], keep


def _fitting_cells(series: list[Series], pack: PackFacts | None, tally: Tally) -> list[Series]:
    """Highest and lowest cell of a frame are dropped where the pack voltage beside them does not lie between."""
    by_quantity = {one.use.quantity: one for one in series}
    three = [by_quantity.get(name) for name in ("pack_voltage_v", *CELL_QUANTITIES)]
    if pack is None or pack.cells_in_series is None or None in three:
        return series
    voltage, lowest, highest = (one for one in three if one is not None)
    index = np.intersect1d(np.intersect1d(voltage.place, lowest.place), highest.place)
    mean, low, high = (one.value[np.searchsorted(one.place, index)] for one in (voltage, lowest, highest))
    mean = mean / pack.cells_in_series
    wrong = index[(mean < low * (1 - CELLS_TOLERANCE)) | (mean > high * (1 + CELLS_TOLERANCE))]
    if not len(wrong):
        return series
    tally.add("cells_not_sum", len(wrong))
    left = (o.keep(~np.isin(o.place, wrong)) if o.use.quantity in CELL_QUANTITIES else o for o in series)
    return [one for one in left if len(one.place)]
