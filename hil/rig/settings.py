"""What a real rig is made of: `rig.toml`, as `rig.example.toml` explains it.

In:  the file. Out: `BenchSettings`, checked.
Refuses with `SettingsTrouble`, all that is wrong at once: file, field, reason.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from .machine import RigError

INTERFACE: Final = r"[A-Za-z0-9_.-]{1,15}"  # IFNAMSIZ of the kernel
# Not at the beginning: ssh would take it for an option.
WORD: Final = r"[A-Za-z0-9_][A-Za-z0-9_.:%-]*"


class SettingsTrouble(RigError):
    """The file of a rig cannot be used. Nothing was touched."""


def _there(path: Path) -> Path:
    path = path.expanduser()
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file")
    return path


File = Annotated[Path, AfterValidator(_there)]
Interface = Annotated[str, Field(pattern=f"^{INTERFACE}$")]
Command = Annotated[str, Field(min_length=1)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BoxSettings(_Table):
    """The Pi: reached by ssh, as root or as somebody who may `sudo` without a password."""

    host: str = Field(pattern=f"^{WORD}$")
    port: int = Field(default=22, ge=1, le=65535)
    user: str = Field(default="root", pattern=f"^{WORD}$")
    key_file: File
    known_hosts_file: File
    can: Interface = "can0"
    may_install: bool = False  # packages may be put on and taken back
    may_set_clock: bool = False
    boot_within_s: float = Field(default=90.0, gt=0)


class CarSettings(_Table):
    """The adapter at this computer."""

    can: Interface = "can0"
    up: Command | None = None  # run when the interface is not up


class GpioSettings(_Table):
    """A line that, while it is driven, opens a relay's closed contact: undriven, the box has power."""

    chip: str = Field(pattern=f"^{WORD}$")
    line: int = Field(ge=0)
    active_low: bool = False


class PowerSettings(_Table):
    off: Command | None = None
    on: Command | None = None
    gpio: GpioSettings | None = None
    off_for_s: float = Field(default=3.0, ge=0)  # until the supply's capacitors are empty

    @model_validator(mode="after")
    def _one_way(self) -> PowerSettings:
        if (self.off is None) != (self.on is None):
            raise ValueError("off and on belong together")
        if (self.off is None) == (self.gpio is None):
            raise ValueError("either off and on, or gpio")
        return self


class BenchSettings(_Table):
    name: str = Field(default="bench", min_length=1)
    slow_factor: float = Field(default=1.0, gt=0)
    box: BoxSettings
    car: CarSettings = CarSettings()
    power: PowerSettings | None = None  # none: power cannot be cut


def read_settings(file: Path) -> BenchSettings:
    """Paths in it are relative to it. Raises SettingsTrouble."""
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as problem:
        raise SettingsTrouble(f"{file}: there is no such file; hil/rig.example.toml is one to begin with") from problem
    except (OSError, UnicodeDecodeError) as problem:
        raise SettingsTrouble(f"{file}: cannot be read: {problem}") from problem
    except tomllib.TOMLDecodeError as problem:
        raise SettingsTrouble(f"{file}: no TOML: {problem}") from problem
    try:
        return BenchSettings.model_validate(_beside(file, values))
    except ValidationError as problem:
        raise SettingsTrouble("\n".join(f"{file}: {_said(error)}" for error in problem.errors())) from problem


def _beside(file: Path, values: dict[str, Any]) -> dict[str, Any]:
    box = values.get("box")
    if not isinstance(box, dict):
        return values
    paths = {key: box[key] for key in ("key_file", "known_hosts_file") if isinstance(box.get(key), str)}
    placed = {key: str(file.parent / Path(path).expanduser()) for key, path in paths.items()}
    return {**values, "box": {**box, **placed}}


def _said(error: Any) -> str:
    where = ".".join(map(str, error["loc"])) or "the whole file"
    reasons = {"missing": "is missing", "extra_forbidden": "there is no such setting"}
    return f"{where}: {reasons.get(error['type'], error['msg'].removeprefix('Value error, '))}"
