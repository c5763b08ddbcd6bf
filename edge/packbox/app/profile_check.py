"""Prove a profile: its vectors, its ranges, its bits against cantools, and that it can only read.

In:  a profile folder.
Out: `Finding`s, one per examination, each with what was looked at and everything that is wrong.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from cantools.database import DecodeError
from cantools.database.can import Database
from cantools.database.can import Message as DbcMessage

from packbox.adapters.profile_dir import README_FILE, Catalogue, load_vectors, profiles_folder
from packbox.app.decode import LineDecoder, signals_json
from packbox.core.answers import NUMBER_BYTES
from packbox.core.decoding.plans import MessagePlan, plan
from packbox.core.frames import CLASSIC_BYTES
from packbox.core.layout import words
from packbox.core.profile import (
    EXTENDED_BIT,
    AnswerField,
    Profile,
    QuantityUse,
    SignalLayout,
    id_text,
    message_key,
    write_reason,
)
from packbox.core.quantities import QUANTITIES
from packbox.core.readings import UnreadableError
from packbox.ports import ProfileError

FRAMES_PER_MESSAGE: Final = 200
RANDOM_SEED: Final = 1  # a check gives the same answer twice
RELATIVE_TOLERANCE: Final = 1e-4
ABSOLUTE_TOLERANCE: Final = 1e-6  # vectors are rounded to six decimals


@dataclass(frozen=True, slots=True)
class Finding:
    """One examination of one profile. No problems = passed."""

    profile: str
    examined: str
    count: int
    problems: tuple[str, ...]


def check(
    catalogue: Catalogue, profile_id: str, folder: Path | None, vectors: Sequence[Mapping[str, Any]]
) -> list[Finding]:
    """All examinations of one profile; `vectors` are further lines to run, those of its vehicles are picked."""
    try:
        profile = catalogue.profile(profile_id)
    except ProfileError as cause:
        return [Finding(profile_id, "form", 1, (str(cause),))]
    home = profiles_folder(folder) / profile_id
    examinations: dict[str, Iterable[str | None]] = {
        "files": _files(home),
        "vectors": _vectors(catalogue, profile, _all_vectors(catalogue, profile, folder, vectors)),
        "ranges": _ranges(profile),
        "bits": _bits(profile, home),
        "only reads": _only_reads(profile),
    }
    findings = []
    for examined, results in examinations.items():
        try:
            results = list(results)
        except ProfileError as cause:
            results = [str(cause)]
        findings.append(Finding(profile_id, examined, len(results), tuple(r for r in results if r is not None)))
    return findings


def _files(home: Path) -> Iterator[str | None]:
    readme = home / README_FILE
    yield None if readme.is_file() and readme.read_text(encoding="utf-8").strip() else f"{readme}: missing or empty"


# -- vectors -----------------------------------------------------------------------------------------------------------


def _all_vectors(
    catalogue: Catalogue, profile: Profile, folder: Path | None, further: Sequence[Mapping[str, Any]]
) -> Iterator[Mapping[str, Any]]:
    yield from load_vectors(profile.id, folder)
    for vector in further:
        try:
            found, _ = catalogue.find(str(vector.get("vehicle", "")))
        except ProfileError:
            continue
        if found.id == profile.id:
            yield vector


def _vectors(catalogue: Catalogue, profile: Profile, vectors: Iterable[Mapping[str, Any]]) -> Iterator[str | None]:
    decoder = LineDecoder(catalogue)
    steps = _steps(profile)
    for number, vector in enumerate(vectors, 1):
        name = f"vector {vector.get('id', number)}"
        try:
            got = signals_json(decoder.readings(json.dumps(vector)))
        except UnreadableError as cause:
            yield f"{name}: {cause}"
            continue
        wrong = [
            text
            for key, want in vector.get("expected", {}).items()
            if (text := _differs(key, got.get(key), _our_sign(vector, key, want), steps))
        ]
        yield f"{name}: {'; '.join(wrong)}" if wrong else None


def _our_sign(vector: Mapping[str, Any], name: str, want: Mapping[str, Any]) -> Mapping[str, Any]:
    """A vector that states the car's own sign of its current as discharge expects the opposite of what we say."""
    turned = name == "pack_current" and vector.get("current_positive_means") == "discharge"
    return {**want, "value": -want["value"]} if turned and _is_number(want["value"]) else want


def _steps(profile: Profile) -> dict[str, float]:
    """The coarsest raw step of each signal name: half of it is nobody's error."""
    steps: dict[str, float] = {}
    for layout in _layouts(profile):
        steps[layout.name] = max(steps.get(layout.name, 0.0), abs(layout.scale))
    for field in _fields(profile):
        steps[field.name] = max(steps.get(field.name, 0.0), abs(field.factor))
    return steps


def _differs(
    name: str, got: Mapping[str, Any] | None, want: Mapping[str, Any], steps: Mapping[str, float]
) -> str | None:
    if got is None:
        return f"{name} is missing"
    if got["unit"] != want["unit"]:
        return f"{name} in {got['unit']!r}, expected {want['unit']!r}"
    a, b = got["value"], want["value"]
    if _is_number(a) and _is_number(b):
        allowed = max(RELATIVE_TOLERANCE * abs(b), steps.get(name, 0.0) / 2, ABSOLUTE_TOLERANCE)
        return None if abs(a - b) <= allowed else f"{name} {a}, expected {b}"
    return None if a == b else f"{name} {a!r}, expected {b!r}"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


# -- ranges ------------------------------------------------------------------------------------------------------------


def _ranges(profile: Profile) -> Iterator[str | None]:
    """Whatever feeds a quantity must be able to give a value that the quantity may have; void values must fit."""
    for layout in _layouts(profile):
        low, high = _raw_range(layout.bits, layout.signed)
        outside = [raw for raw in layout.void if not low <= raw <= high]
        if layout.void_from is not None and not low < layout.void_from <= high:
            outside = [layout.void_from]
        yield f"{layout.name}: void {outside[0]} does not fit {layout.bits} bits" if outside else None
        for use in layout.uses:
            yield _reachable(use, low * layout.scale + layout.offset, high * layout.scale + layout.offset)
    for field in _fields(profile):
        if field.kind in NUMBER_BYTES:
            low, high = _raw_range(NUMBER_BYTES[field.kind] * 8, field.kind.startswith("s"))
            for use in field.uses:
                yield _reachable(use, low * field.factor + field.offset, high * field.factor + field.offset)


def _raw_range(bits: int, signed: bool) -> tuple[int, int]:
    return (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)


def _reachable(use: QuantityUse, one_end: float, other_end: float) -> str | None:
    quantity = QUANTITIES[use.quantity]
    low, high = min(one_end, other_end), max(one_end, other_end)
    for step_low, step_high, meaning in use.steps:
        if not quantity.low <= meaning <= quantity.high:
            return f"{use.source}: {meaning:g} is outside {use.quantity} ({quantity.low:g} to {quantity.high:g})"
        if step_high < low or step_low > high:
            return f"{use.source}: never gets to {step_low:g}, its values go from {low:g} to {high:g}"
    if use.steps:
        return None
    ends = sorted((low * use.factor + use.offset, high * use.factor + use.offset))
    if ends[1] < quantity.low or ends[0] > quantity.high:
        return (
            f"{use.source}: {ends[0]:g} to {ends[1]:g} never is {use.quantity} ({quantity.low:g} to {quantity.high:g})"
        )
    return None


def _layouts(profile: Profile) -> Iterator[SignalLayout]:
    for message in dict.fromkeys(m for v in profile.variants for m in v.messages):
        yield from message.signals


def _fields(profile: Profile) -> Iterator[AnswerField]:
    for poll in profile.polls:
        for layout in poll.layouts:
            yield from layout.fields


# -- bits --------------------------------------------------------------------------------------------------------------


def _bits(profile: Profile, home: Path) -> Iterator[str | None]:
    """Random frames of every message of every DBC file, read by us and by cantools."""
    messages = {(m.file, message_key(m.can_id, m.extended)): m for v in profile.variants for m in v.messages}
    for path in sorted(home.glob("*.dbc")):
        database = Database()
        database.add_dbc_string(path.read_text(encoding="utf-8"))
        for oracle in database.messages:
            message = messages.get((path.name, message_key(oracle.frame_id, oracle.is_extended_frame)))
            if message is None:
                yield f"{path.name}: {id_text(oracle.frame_id, oracle.is_extended_frame)} is in no variant"
            else:
                yield from _message_bits(path.name, plan(message), oracle)


def _message_bits(file: str, ready: MessagePlan, oracle: DbcMessage) -> Iterator[str | None]:
    dice = random.Random(RANDOM_SEED)  # noqa: S311  (test frames, not secrets)
    for _ in range(FRAMES_PER_MESSAGE):
        problem = bits_differ(ready, oracle, dice.randbytes(oracle.length))
        yield None if problem is None else f"{file}: {problem}"


def bits_differ(ready: MessagePlan, oracle: DbcMessage, data: bytes) -> str | None:
    """What our columns make of one frame against what cantools makes of it, signal by signal."""
    frames = words(np.frombuffer(data.ljust(CLASSIC_BYTES, b"\0"), np.uint8).reshape(1, -1))
    selectors = ready.selector_values(frames)
    got: dict[str, float] = {}
    for signal in oracle.signals:
        column = ready.columns[signal.name]
        present = column.present(selectors)
        if present is None or present[0]:
            got[signal.name] = float(column.values(column.raw(frames))[0])
    try:
        want: Any = oracle.decode(data, decode_choices=False)
    except DecodeError:  # a selector has a value that the file does not know: cantools then reads nothing at all
        return None
    if got.keys() == want.keys() and all(
        abs(got[n] - v) <= ABSOLUTE_TOLERANCE * max(1.0, abs(v)) for n, v in want.items()
    ):
        return None
    return f"{ready.message.label} {data.hex().upper()}: {got}, cantools {want}"


# -- only reads --------------------------------------------------------------------------------------------------------


def _only_reads(profile: Profile) -> Iterator[str | None]:
    """Every byte string that this profile could make a box send. There are no others: polls are its only requests."""
    for poll in profile.polls:
        reason = write_reason(poll.request)
        yield None if reason is None else f"poll {poll.id}: {reason}"
        broadcast = {m.key for v in profile.variants for m in v.messages}
        yield (
            f"poll {poll.id}: asks on {id_text(poll.tx_key & ~EXTENDED_BIT, poll.extended)}, a broadcast id"
            if poll.tx_key in broadcast
            else None
        )
