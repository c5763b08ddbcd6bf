"""`packbox decode`: single frames and diagnostic answers, JSON lines in, JSON lines out, in order.

In:  a line is `{"kind": "frame", "can_id": "0x1DB", "data_hex": "..."}` or `{"kind": "uds-response", "tx": "0x79B",
     "rx": "0x7BB", "request_hex": "2101", "data_hex": "..."}`; without --profile its `vehicle` picks the profile.
Out: `{"signals": {name: {"value": v, "unit": u}}}` per line, or `{"error": "..."}`. A line that cannot be decoded is an
     answer like any other, so the exit code stays 0.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.functional_validators import BeforeValidator

from packbox.adapters.profile_dir import Catalogue
from packbox.core.answers import Reading, Value
from packbox.core.readings import Reader, UnreadableError
from packbox.ports import ProfileError

HIGHEST_11_BIT_ID: Final = 0x7FF
HIGHEST_29_BIT_ID: Final = 0x1FFFFFFF
DECIMALS: Final = 6  # finer than any signal, coarse enough to hide binary fractions

USAGE_ERROR: Final = 2


def _id_from(given: object) -> object:
    """0x1DB, 1DB (hex, as every CAN tool writes it) or a JSON number."""
    return int(given, 16) if isinstance(given, str) else given


def _bytes_from(given: object) -> object:
    return bytes.fromhex(given.removeprefix("0x")) if isinstance(given, str) else given


CanId = Annotated[int, BeforeValidator(_id_from), Field(ge=0, le=HIGHEST_29_BIT_ID)]
HexBytes = Annotated[bytes, BeforeValidator(_bytes_from)]


class _Line(BaseModel):
    """What else a line holds (source, notes, expected values) is not our business."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    vehicle: str | None = None
    extended: bool | None = None

    def is_extended(self, can_id: int) -> bool:
        """Raises UnreadableError."""
        if self.extended is None:
            return can_id > HIGHEST_11_BIT_ID
        if not self.extended and can_id > HIGHEST_11_BIT_ID:
            raise UnreadableError(f"extended: false, but {can_id:X} has more than 11 bits")
        return self.extended


class FrameLine(_Line):
    kind: Literal["frame"]
    can_id: CanId
    data_hex: Annotated[HexBytes, Field(max_length=64)]


class AnswerLine(_Line):
    kind: Literal["uds-response"]
    tx: CanId
    rx: CanId
    request_hex: HexBytes
    data_hex: Annotated[HexBytes, Field(max_length=4095)]


LINE: Final[TypeAdapter[FrameLine | AnswerLine]] = TypeAdapter(
    Annotated[FrameLine | AnswerLine, Field(discriminator="kind")]
)


class LineDecoder:
    """Decodes lines one by one; profiles are read when a line first needs them."""

    def __init__(self, catalogue: Catalogue, profile: str | None = None) -> None:
        self._catalogue = catalogue
        self._readers: dict[tuple[str, tuple[str, ...]], Reader] = {}
        self._fixed = None if profile is None else self._reader(profile)

    def decode(self, line: bytes | str) -> dict[str, Any]:
        try:
            return {"signals": signals_json(self.readings(line))}
        except (UnreadableError, ProfileError) as cause:
            return {"error": str(cause)}

    def readings(self, line: bytes | str) -> Mapping[str, Reading]:
        """Raises UnreadableError or ProfileError."""
        parsed = _parse(line)
        if self._fixed is not None:
            reader = self._fixed
        elif parsed.vehicle is not None:
            reader = self._reader(parsed.vehicle)
        else:
            raise UnreadableError("vehicle: missing, and no --profile was given")
        if isinstance(parsed, FrameLine):
            return reader.frame(parsed.can_id, parsed.data_hex, parsed.is_extended(parsed.can_id))
        extended = parsed.is_extended(parsed.rx)
        return reader.answer(parsed.tx, parsed.rx, parsed.request_hex, parsed.data_hex, extended)

    def _reader(self, name: str) -> Reader:
        profile, variants = self._catalogue.candidates(name)
        key = (profile.id, variants)
        if key not in self._readers:
            self._readers[key] = Reader(profile, variants)
        return self._readers[key]


def _parse(line: bytes | str) -> FrameLine | AnswerLine:
    try:
        return LINE.validate_python(json.loads(line))
    except ValidationError as cause:
        first = cause.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part not in ("frame", "uds-response"))
        reason = first["msg"].removeprefix("Value error, ")
        raise UnreadableError(f"{where}: {reason}" if where else reason) from cause
    except (ValueError, RecursionError) as cause:
        raise UnreadableError(f"not a JSON object: {cause}") from cause


def signals_json(readings: Mapping[str, Reading]) -> dict[str, dict[str, Value]]:
    return {name: {"value": _number(reading.value), "unit": reading.unit} for name, reading in readings.items()}


def _number(value: Value) -> Value:
    if not isinstance(value, float):
        return value
    return int(value) if value.is_integer() else round(value, DECIMALS)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--profile", metavar="P", help="family, family:variant or vehicle name; without it each line's vehicle decides"
    )
    parser.add_argument("--profiles-folder", type=Path, metavar="DIR", help="profiles other than those installed")
    parser.add_argument("--json", action="store_true", help="accepted for uniformity: the output is always JSON lines")


def main(args: argparse.Namespace) -> int:
    try:
        decoder = LineDecoder(Catalogue(args.profiles_folder), args.profile)
    except ProfileError as cause:
        print(f"packbox decode: {cause}", file=sys.stderr)
        return USAGE_ERROR
    for line in sys.stdin.buffer:
        # Flushed line by line: the other end may be a person or a program that waits for each answer.
        print(json.dumps(decoder.decode(line), ensure_ascii=False), flush=True)
    return 0
