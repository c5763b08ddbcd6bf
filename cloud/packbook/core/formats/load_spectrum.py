"""Catena-X ClassifiedLoadSpectrum: the histograms of use, which no passport model has a place for.

In:  a record with histograms and an identifier of the battery that is a URI. Out: a JSON array, one aspect a histogram.
Classes count from 1 and those never visited are not listed. The model knows no open class: a band that is open in the
record is closed at a bound of the version's data, and the account says so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Final, Literal

from packbook.core.formats import CannotMake, LeftOut, Made
from packbook.core.formats.writing import Account, Json, as_json, day_utc, number, uri
from packbook.core.passport import Axis, Fact, Histogram, Passport

SUFFIX: Final = ".loadspectrum.json"
SECONDS_AN_HOUR: Final = 3600


@dataclass(frozen=True, slots=True)
class Spectrum:
    field: str
    record_unit: str
    method: Literal["TimeAtLevel", "RangeCount"]
    counted: str
    counts: str
    unit: str


@dataclass(frozen=True, slots=True)
class Channel:
    axis: str
    name: str
    unit: str
    lower: float
    upper: float


@dataclass(frozen=True, slots=True)
class LoadSpectra:
    family: str
    version: str
    source: str
    component: str
    route: str
    project: str
    spectra: tuple[Spectrum, ...]
    channels: tuple[Channel, ...]


MAPPING: Final = LoadSpectra


def make(passport: Passport, mapping: LoadSpectra) -> Made:
    target = uri(passport)
    if target is None:
        raise _refusal(mapping, (LeftOut("targetComponentID", "declare one of identifiers as a URI"),))
    account = Account(passport)
    aspects = [
        aspect for spectrum in mapping.spectra if (aspect := _aspect(account, mapping, spectrum, target)) is not None
    ]
    if not aspects:
        raise _refusal(mapping, tuple(account.unfilled))
    account.take_uri()
    return Made(as_json(aspects), account.left_out())


def _refusal(mapping: LoadSpectra, missing: tuple[LeftOut, ...]) -> CannotMake:
    return CannotMake(f"ClassifiedLoadSpectrum {mapping.version}", missing)


def _aspect(account: Account, mapping: LoadSpectra, spectrum: Spectrum, target: str) -> Json | None:
    fact = account.passport.first(spectrum.field)
    why = _unfit(fact, spectrum, mapping)
    if why or fact is None or fact.at_ms is None or not isinstance(fact.value, Histogram):
        account.lacks(spectrum.field, why or "not in the record given")
        return None
    account.take(spectrum.field)
    channels = [_channel(account, spectrum.field, axis, mapping) for axis in fact.value.axes]
    return {
        "targetComponentID": target,
        "metadata": {
            "componentDescription": mapping.component,
            "routeDescription": mapping.route,
            "projectDescription": mapping.project,
            "status": _status(account, fact, spectrum),
        },
        "header": {
            "countingMethod": spectrum.method,
            "countingValue": spectrum.counted,
            "countingUnit": spectrum.unit,
            "channels": channels,
        },
        "body": _body(fact.value, [str(channel["channelName"]) for channel in channels], spectrum.counts),
    }


def _unfit(fact: Fact | None, spectrum: Spectrum, mapping: LoadSpectra) -> str | None:
    """Why there is no aspect of this field."""
    if fact is None or not isinstance(fact.value, Histogram):
        return "not in the record given"
    if fact.unit != spectrum.record_unit:
        return f"its unit is {fact.unit}, the place wants {spectrum.record_unit}"
    if fact.at_ms is None:
        return "its day is not known"
    if not any(fact.value.counts) or min(fact.value.counts) < 0:
        return "nothing was counted"
    if math.prod(len(axis.edges) - 1 for axis in fact.value.axes) != len(fact.value.counts):
        return "its counts do not match its axes"
    return next((why for axis in fact.value.axes if (why := _strange(axis, mapping))), None)


def _strange(axis: Axis, mapping: LoadSpectra) -> str | None:
    channel = _known(axis, mapping)
    if channel is None:
        return f"the mapping knows no axis {axis.name}"
    if not all(low < high for low, high in pairwise(_edges(axis, channel))):
        return f"the edges of {axis.name} do not rise"
    return None


def _known(axis: Axis, mapping: LoadSpectra) -> Channel | None:
    return next((channel for channel in mapping.channels if channel.axis == axis.name), None)


def _edges(axis: Axis, channel: Channel) -> list[float]:
    """With the open ends closed."""
    ends = {0: channel.lower, len(axis.edges) - 1: channel.upper}
    return [float(ends.get(at, math.nan)) if edge is None else float(edge) for at, edge in enumerate(axis.edges)]


def _channel(account: Account, name: str, axis: Axis, mapping: LoadSpectra) -> Json:
    channel = _known(axis, mapping)
    assert channel is not None  # _unfit looked
    edges = _edges(axis, channel)
    if None in axis.edges:
        bounds = f"{edges[0]:g} and {edges[-1]:g} {axis.unit}"
        account.lacks(
            f"{name}: open ends of {axis.name}", f"the model has closed classes only: {bounds} stand for them"
        )
    return {
        "channelName": channel.name,
        "unit": channel.unit,
        "lowerLimit": edges[0],
        "upperLimit": edges[-1],
        "numberOfBins": len(edges) - 1,
        "binLimits": edges,
    }


def _status(account: Account, fact: Fact, spectrum: Spectrum) -> Json:
    assert fact.at_ms is not None
    assert isinstance(fact.value, Histogram)
    status: Json = {"date": day_utc(fact.at_ms)}
    odometer = account.passport.first("odometer_km")
    km = number(odometer) if odometer and odometer.unit == "km" else None
    if km is not None and km >= 0:
        status["mileage"] = math.floor(km)
        account.take("odometer_km")
    if spectrum.record_unit == "s":
        status["operatingHours"] = round(sum(fact.value.counts) / SECONDS_AN_HOUR, 1)
    return status


def _body(histogram: Histogram, names: list[str], counts_name: str) -> Json:
    """One list of classes an axis and the matching list of counts; counts are row-major."""
    classes = product(*(range(1, len(axis.edges)) for axis in histogram.axes))
    visited = [(where, count) for where, count in zip(classes, histogram.counts, strict=True) if count]
    return {
        "classes": [
            {"className": f"{name}-class", "classList": [where[at] for where, _ in visited]}
            for at, name in enumerate(names)
        ],
        "counts": {"countsName": counts_name, "countsList": [count for _, count in visited]},
    }
