"""What the owner decided, purpose by purpose, in one file of the data folder: `consent.json`.

In:  a decision. Out: all decisions.
Refuses with ConsentFileError a file that is not one of ours: then nothing is taken for agreed.
Only somebody at the box writes it: nothing that comes over the network does.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from packbox.adapters.durable import write_atomically
from packbox.ports import PackboxError

CONSENT_FILE: Final = "consent.json"
FILE_MODE: Final = 0o644  # no secret, and root may write what the service reads
FILE_BYTES_MAX: Final = 65_536
FORMAT: Final = 1


class ConsentFileError(PackboxError):
    """The file of decisions cannot be used. Until it can, nothing counts as agreed."""


class Decision(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    given: bool
    by: str  # owner keeper operator: a role, no name
    at_ms: int | None
    text_version: str


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: int
    decisions: dict[str, Decision]


def read_decisions(data_dir: Path) -> dict[str, Decision]:
    """Empty where nobody has decided anything yet. Raises ConsentFileError."""
    path = data_dir / CONSENT_FILE
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX)
    except FileNotFoundError:
        return {}
    except OSError as problem:
        raise ConsentFileError(f"{path}: cannot be read ({problem.strerror})") from problem
    try:
        found = msgspec.json.decode(data, type=_File)
    except msgspec.DecodeError as problem:
        raise ConsentFileError(f"{path}: not a file of decisions: {problem}") from problem
    if found.format != FORMAT:
        raise ConsentFileError(f"{path}: has format {found.format}, this software knows {FORMAT}")
    return found.decisions


def write_decisions(data_dir: Path, decisions: Mapping[str, Decision]) -> None:
    """On disk when this returns. Raises ConsentFileError; then what was decided before still holds."""
    path = data_dir / CONSENT_FILE
    try:
        write_atomically(path, msgspec.json.encode(_File(FORMAT, dict(sorted(decisions.items())))) + b"\n", FILE_MODE)
    except OSError as problem:
        raise ConsentFileError(f"{path}: cannot be written ({problem.strerror})") from problem
