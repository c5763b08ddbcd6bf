"""Read rule files: versioned data that says what a record holds, what is owed, which limits hold, how formats map.

In:  a family and a version (`fields`, `1`), and the shape the file must have: a frozen dataclass with family, version.
Out: a value of that shape.
Refuses an unknown version, unknown keys, wrong types and a file that says it is another, naming file, key and reason.
An operator's folder goes before the one that ships with the program.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from pydantic import TypeAdapter, ValidationError

from packbook.core.rules import Fields, Owed
from packbook.ports.trouble import PackbookError

OWN_FOLDER: Final = Path(__file__).parents[1] / "rules"
SUFFIX: Final = ".toml"
# What is in force unless an operator says otherwise (setting `rules`).
IN_FORCE: Final[Mapping[str, str]] = {
    "access": "1",
    "alerts": "1",
    "fields": "1",
    "lifecycle": "1",
    "owed": "2026-07",
    "limits": "gtr22",
    "idta-productcondition": "1.0.3",
    "idta-nameplate": "1.0",
    "batterypass": "1.2.1",
    "load-spectrum": "2.0.0",
    "remaining-life": "2.0.0",
    "dpp-metadata": "1.0.0",
    "gbt32960": "2025",
}


class RulesError(PackbookError):
    """A rule file cannot be used. The text names file, key and reason."""


class Ruled(Protocol):
    """What every rule file says of itself."""

    @property
    def family(self) -> str: ...

    @property
    def version(self) -> str: ...


RuledT = TypeVar("RuledT", bound=Ruled)


class RuleBook:
    def __init__(self, versions: Mapping[str, str] | None = None, folders: Sequence[Path] = ()) -> None:
        """`versions`: by family, over those in force. Raises RulesError for a family that nothing asks for."""
        strange = sorted((versions or {}).keys() - IN_FORCE.keys())
        if strange:
            raise RulesError(f"rules {strange[0]}: there is no such family; there are {', '.join(sorted(IN_FORCE))}")
        self._versions = {**IN_FORCE, **(versions or {})}
        self._folders = (*folders, OWN_FOLDER)
        self._loaded: dict[tuple[str, str], Ruled] = {}

    def version(self, family: str) -> str:
        """The one in force."""
        found = self._versions.get(family)
        if found is None:
            raise RulesError(f"rules {family}: no version is chosen; known are: {self._known(family)}")
        return found

    def load(self, family: str, shape: type[RuledT], version: str | None = None) -> RuledT:
        """Read once: what a program began with holds until it ends. Raises RulesError."""
        chosen = version or self.version(family)
        loaded = self._loaded.get((family, chosen))
        if isinstance(loaded, shape):
            return loaded
        name = f"{family}-{chosen}{SUFFIX}"
        path = next((folder / name for folder in self._folders if (folder / name).is_file()), None)
        if path is None:
            raise RulesError(f"rules {family}: version {chosen} is not known; known are: {self._known(family)}")
        ruled = _read(path, shape)
        if (ruled.family, ruled.version) != (family, chosen):
            raise RulesError(f"{path}: says it is {ruled.family} {ruled.version}, not {family} {chosen}")
        self._loaded[family, chosen] = ruled
        return ruled

    def fields(self) -> Fields:
        return self.load("fields", Fields)

    def owed(self) -> Owed:
        """Raises RulesError also when it asks for a field that does not exist or leaves a category out."""
        owed, fields = self.load("owed", Owed), self.fields()
        categories = set(fields.fields["category"].one_of)
        for row in owed.rows:
            unknown = [name for name in row.fields if name not in fields.fields]
            if unknown or set(row.verdicts) != categories:
                why = f"no field {unknown[0]}" if unknown else f"verdicts are for {', '.join(sorted(categories))}"
                raise RulesError(f"rules owed {owed.version}: {row.name}: {why} (fields {fields.version})")
        return owed

    def _known(self, family: str) -> str:
        files = {path.name for folder in self._folders for path in folder.glob(f"{family}-*{SUFFIX}")}
        return ", ".join(sorted(name.removeprefix(f"{family}-").removesuffix(SUFFIX) for name in files)) or "none"


def _read(path: Path, shape: type[RuledT]) -> RuledT:
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as problem:
        raise RulesError(f"{path}: cannot be read: {problem}") from problem
    except tomllib.TOMLDecodeError as problem:
        raise RulesError(f"{path}: not TOML: {problem}") from problem
    adapter = _adapter(shape)
    try:
        ruled: RuledT = adapter.validate_python(told)
    except ValidationError as problem:
        error = problem.errors(include_url=False)[0]
        key = ".".join(str(part) for part in error["loc"])
        raise RulesError(f"{path}: {key}: {error['msg'].removeprefix('Value error, ')}") from problem
    unknown = next(_unknown(told, adapter.dump_python(ruled, mode="json")), None)
    if unknown is not None:
        raise RulesError(f"{path}: {unknown}: there is no such key")
    return ruled


@cache
def _adapter(shape: type[Any]) -> TypeAdapter[Any]:
    return TypeAdapter(shape)


def _unknown(told: object, kept: object, at: str = "") -> Iterator[str]:
    """Keys of the file that the shape has no place for: a misspelt one would pass in silence."""
    if isinstance(told, dict) and isinstance(kept, dict):
        for key, value in told.items():
            if key in kept:
                yield from _unknown(value, kept[key], f"{at}{key}.")
            else:
                yield f"{at}{key}"
    elif isinstance(told, list) and isinstance(kept, list):
        for number, (value, same) in enumerate(zip(told, kept, strict=False)):
            yield from _unknown(value, same, f"{at}{number}.")
