"""All formats of this room behind one call, for tests that hold for each of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from packbook.core.formats import CannotMake, Made, aas, batterypass, dpp_header, idta, load_spectrum, remaining_life
from packbook.core.passport import Passport
from passport import mappings

MAKERS: Final[Mapping[str, Callable[[Passport], Made]]] = {
    "idta": lambda passport: idta.make(passport, mappings.condition()),
    "idta-1.0.3": lambda passport: idta.make(passport, mappings.condition("1.0.3")),
    "aas": lambda passport: aas.make(passport, mappings.condition(), mappings.nameplate()),
    "batterypass": lambda passport: batterypass.make(passport, mappings.batterypass()),
    "load-spectrum": lambda passport: load_spectrum.make(passport, mappings.load_spectra()),
    "remaining-life": lambda passport: remaining_life.make(passport, mappings.remaining_life()),
    "dpp": lambda passport: dpp_header.make(passport, mappings.header()),
}


def made_or_why(name: str, passport: Passport) -> Made | str:
    try:
        return MAKERS[name](passport)
    except CannotMake as lacking:
        return str(lacking)


def all_made(passport: Passport) -> dict[str, Made | str]:
    """Each format's file, or why there is none."""
    return {name: made_or_why(name, passport) for name in MAKERS}
