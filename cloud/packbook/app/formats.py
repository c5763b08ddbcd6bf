"""Every shape that the neutral record of a battery leaves this book in, under one name each.

In:  a passport, already cut down to what its reader may see; a format's name; the rules in force.
Out: `Made`: the bytes, and what the format had to leave out.
A pure format is a module with `SUFFIX`, `MAPPING` (the frozen shape of its mapping file, or None) and
`make(passport, mapping)`. One that needs a key or a place of the settings is a module of this room with `SUFFIX` and
`make(settings, passport, rules)`, which may be a coroutine; one `for_people` gets a `Manner`, too.
Only the one asked for is imported.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
from dataclasses import dataclass
from typing import Final

from packbook.adapters.rules import RuleBook
from packbook.app.evidence import ExportError
from packbook.core.formats import CannotMake, Made
from packbook.core.passport import Passport
from packbook.ports.passports import PLAIN, Manner
from packbook.settings import Settings


@dataclass(frozen=True, slots=True)
class Format:
    module: str
    summary: str
    mapping: str | None = None  # family of the rule files that map it
    for_people: bool = False  # it speaks a language and leads back to a page

    @property
    def pure(self) -> bool:
        return self.module.startswith("packbook.core.")

    @property
    def suffix(self) -> str:
        suffix: str = importlib.import_module(self.module).SUFFIX
        return suffix


FORMATS: Final[dict[str, Format]] = {
    "neutral": Format("packbook.app.export_neutral", "the record itself as JSON, two parts, each signed"),
    "idta": Format("packbook.core.formats.idta", "IDTA ProductCondition, value-only JSON", "idta-productcondition"),
    "aas": Format("packbook.app.export_aas", "AAS environment with ProductCondition and nameplate, JSON"),
    "batterypass": Format("packbook.core.formats.batterypass", "Battery Pass batteryCondition, JSON", "batterypass"),
    "load-spectrum": Format("packbook.core.formats.load_spectrum", "Catena-X load spectra, JSON", "load-spectrum"),
    "remaining-life": Format("packbook.core.formats.remaining_life", "Catena-X remaining life, JSON", "remaining-life"),
    "dpp": Format("packbook.core.formats.dpp_header", "header of a product passport (EN 18223), JSON", "dpp-metadata"),
    "credential": Format("packbook.app.export_credential", "W3C credentials, identity and condition, each signed"),
    "gtr22": Format("packbook.core.formats.gtr22", "durability as UN GTR 22 and Euro 7 look at it, JSON", "limits"),
    "gbt32960": Format("packbook.core.formats.gbt32960", "GB/T 32960 data blocks, to hold against a car's", "gbt32960"),
    "dossier": Format("packbook.app.export_dossier", "what second life and recycling ask for, JSON"),
    "csv": Format("packbook.core.formats.table_csv", "every fact a row, for spreadsheets"),
    "sheet": Format("packbook.app.export_sheet", "condition sheet for people, PDF (--lang, --link)", for_people=True),
    "parquet": Format("packbook.core.formats.table_parquet", "the same, with typed columns"),
}


async def make(name: str, passport: Passport, rules: RuleBook, settings: Settings, manner: Manner = PLAIN) -> Made:
    """Raises PackbookError; KeyError for a name that is not in FORMATS."""
    chosen = FORMATS[name]
    module = importlib.import_module(chosen.module)
    made: Made
    try:
        if chosen.pure:
            mapping = None if chosen.mapping is None else rules.load(chosen.mapping, module.MAPPING)
            made = await asyncio.to_thread(module.make, passport, mapping)
        elif chosen.for_people:
            made = await asyncio.to_thread(module.make, settings, passport, rules, manner)
        elif inspect.iscoroutinefunction(module.make):
            made = await module.make(settings, passport, rules)
        else:
            made = await asyncio.to_thread(module.make, settings, passport, rules)
    except CannotMake as lacking:
        raise ExportError(f"battery {passport.battery}: nothing was made. {lacking}") from lacking
    return made
