"""The mappings that ship, loaded once."""

from __future__ import annotations

from functools import cache

from packbook.adapters.rules import RuleBook, RuledT
from packbook.core.formats.aas import Nameplate
from packbook.core.formats.dpp_header import Header
from packbook.core.formats.groups import Model
from packbook.core.formats.load_spectrum import LoadSpectra
from packbook.core.formats.remaining_life import RemainingLife


def load(family: str, shape: type[RuledT], version: str) -> RuledT:
    return RuleBook().load(family, shape, version)


@cache
def condition(version: str = "1.0.1") -> Model:
    return load("idta-productcondition", Model, version)


@cache
def batterypass() -> Model:
    return load("batterypass", Model, "1.2.1")


@cache
def nameplate() -> Nameplate:
    return load("idta-nameplate", Nameplate, "1.0")


@cache
def header() -> Header:
    return load("dpp-metadata", Header, "1.0.0")


@cache
def remaining_life() -> RemainingLife:
    return load("remaining-life", RemainingLife, "2.0.0")


@cache
def load_spectra() -> LoadSpectra:
    return load("load-spectrum", LoadSpectra, "2.0.0")
