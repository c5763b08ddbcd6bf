"""Traction battery codes of GB/T 34014-2017: what the 24 (or, for second use, 19) characters say.

In:  a code as it stands on a pack, module or cell. Out: `BatteryCode`.
Refuses with `NotABatteryCode` naming the position. Dates are strict: the letters I, O, Q, U and Z mean nothing in them,
and the day must exist. What a manufacturer writes into its own fields is kept as it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Final

LENGTH: Final = 24
SECOND_USE_LENGTH: Final = 19
SECOND_USE_MARK: Final = "R"
_LETTERS: Final = "ABCDEFGHJKLMNPRSTVWXY"  # in date fields; no I O Q U Z
YEARS: Final = {str(n): 2010 + n for n in range(1, 10)} | {letter: 2020 + n for n, letter in enumerate(_LETTERS)}
MONTHS: Final = {character: n for n, character in enumerate("123456789ABC", 1)}
DAYS: Final = {character: n for n, character in enumerate("123456789" + _LETTERS + "0", 1)}


class NotABatteryCode(ValueError):
    """The text is no GB/T 34014 code. It says which position is wrong."""


class Thing(StrEnum):
    PACK = "P"
    MODULE = "M"
    CELL = "C"


# B and E were seen on real products; the others follow common readings of the standard.
CHEMISTRIES: Final = {
    "A": "NiMH",
    "B": "LFP",
    "C": "LMO",
    "D": "LCO",
    "E": "NMC/NCA",
    "F": "supercapacitor",
    "G": "LTO",
    "Z": "other",
}


@dataclass(frozen=True, slots=True)
class BatteryCode:
    manufacturer: str
    thing: Thing
    chemistry: str  # one letter, a key of CHEMISTRIES
    specification: str
    trace: str | None  # the maker's own seven characters; second-use codes have none
    made_on: date
    serial: str  # of that day
    second_use: Thing | None  # what a used product was made into

    def __str__(self) -> str:
        head = self.manufacturer + self.thing + self.chemistry + self.specification
        tail = _of(YEARS, self.made_on.year) + _of(MONTHS, self.made_on.month) + _of(DAYS, self.made_on.day)
        tail += self.serial
        if self.second_use is not None:
            return head + tail + SECOND_USE_MARK + self.second_use
        return head + (self.trace or "") + tail


def parse_code(text: str) -> BatteryCode:
    """Raises NotABatteryCode. Small letters are not taken for capitals: a code is kept as it was given."""
    if len(text) not in (LENGTH, SECOND_USE_LENGTH):
        raise NotABatteryCode(f"{len(text)} characters: a code has {LENGTH}, or {SECOND_USE_LENGTH} for second use")
    if not re.fullmatch(r"[A-Z0-9]+", text):
        raise NotABatteryCode("a code has capital letters and digits alone")
    if text[4] not in CHEMISTRIES:
        raise NotABatteryCode(f"position 5: '{text[4]}' is no kind of battery")
    second_use = len(text) == SECOND_USE_LENGTH
    day_at = 7 if second_use else 14
    serial = text[day_at + 3 : day_at + 10]
    if not serial.isdigit():
        raise NotABatteryCode(f"position {day_at + 4}: the serial has seven digits, not '{serial}'")
    if second_use and text[17] != SECOND_USE_MARK:
        raise NotABatteryCode(f"position 18: '{text[17]}', but a second-use code has '{SECOND_USE_MARK}' there")
    return BatteryCode(
        manufacturer=text[:3],
        thing=_thing(text, 3),
        chemistry=text[4],
        specification=text[5:7],
        trace=None if second_use else text[7:14],
        made_on=_date(text, day_at),
        serial=serial,
        second_use=_thing(text, 18) if second_use else None,
    )


def _thing(text: str, at: int) -> Thing:
    try:
        return Thing(text[at])
    except ValueError:
        raise NotABatteryCode(f"position {at + 1}: '{text[at]}' is neither P (pack), M (module) nor C (cell)") from None


def _date(text: str, at: int) -> date:
    fields = []
    for n, (name, table) in enumerate((("year", YEARS), ("month", MONTHS), ("day", DAYS))):
        character = text[at + n]
        if character not in table:
            raise NotABatteryCode(f"position {at + n + 1}: '{character}' is no {name}")
        fields.append(table[character])
    try:
        return date(*fields)
    except ValueError:
        raise NotABatteryCode(f"position {at + 1}: there is no {fields[0]}-{fields[1]:02}-{fields[2]:02}") from None


def _of(table: dict[str, int], number: int) -> str:
    return next(character for character, n in table.items() if n == number)
