"""What an operator can set: one frozen value, read and checked at start.

In:  a TOML file, then `PACKBOX_` environment variables over it, then secrets from the service manager's folder.
Out: `Settings`.
Refuses unknown keys, wrong types and half-given TLS, naming file, key and reason. Every setting is explained in
docs/box.md, and a test holds us to it.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import EnumType
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias, TypeVar, get_args

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import FieldInfo, fields

from packbox.clock import ClockTrust
from packbox.core.courtesy import Consent
from packbox.ports import SettingsError

DEFAULT_FILE: Final = Path("/etc/packbox/packbox.toml")
PREFIX: Final = "PACKBOX_"
BROKER_PASSWORD: Final = "broker_password"  # noqa: S105 - the name of the credential, not the secret

Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=63, pattern=r"\A[A-Za-z0-9][A-Za-z0-9._-]*\Z")]
Text: TypeAlias = Annotated[str, Meta(min_length=1)]
VehicleName: TypeAlias = Annotated[str, Meta(min_length=1, max_length=63)]
PublicKey: TypeAlias = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
Port: TypeAlias = Annotated[int, Meta(ge=1, le=65535)]


def says(description: str) -> Meta:
    return Meta(description=description)


class Secret:
    """Does not show when printed."""

    def __init__(self, text: str) -> None:
        self.text = text


class BrokerSettings(Struct, frozen=True, kw_only=True):
    """Where records go. Without `host` the box keeps its records until it has one."""

    host: Annotated[Text | None, says("Broker's name or address; absent: nothing is sent")] = None
    tls_given: Annotated[bool | None, says("Encrypt; on, unless the broker is on this machine")] = msgspec.field(
        default=None, name="tls"
    )
    port_given: Annotated[Port | None, says("MQTT's own ports")] = msgspec.field(default=None, name="port")
    protocol: Annotated[Literal["5", "3.1.1"], says("MQTT version; 3.1.1 for old brokers")] = "5"
    ca_file: Annotated[Path | None, says("Certificates that the broker's must descend from; absent: system's")] = None
    cert_file: Annotated[Path | None, says("This box's certificate, for a broker that asks for one")] = None
    key_file: Annotated[Path | None, says("The certificate's private key")] = None
    user: Annotated[str | None, says("User name, for a broker that asks for one")] = None
    password: Annotated[Secret | None, says("Only from the credentials folder, never from a file here")] = None
    keep_alive_s: Annotated[int, Meta(ge=10, le=1200), says("Silence after which the link is checked")] = 600

    @property
    def tls(self) -> bool:
        return not _is_this_machine(self.host) if self.tls_given is None else self.tls_given

    @property
    def port(self) -> int:
        return self.port_given or (8883 if self.tls else 1883)

    def __post_init__(self) -> None:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file go together: give both or none")
        if not self.tls and (self.ca_file or self.cert_file):
            raise ValueError("ca_file, cert_file and key_file need tls = true")
        if self.password is not None and self.user is None:
            raise ValueError("there is a password but no user")


class PowerSettings(Struct, frozen=True, kw_only=True):
    """When the machine may be switched off, and how to ask and tell. Without `command` the box switches nothing."""

    command: Annotated[Text | None, says("Shell command, called with phase and reason at each change")] = None
    ignition_file: Annotated[Path | None, says("File that says 1 or 0: ignition on or off")] = None
    ignition_command: Annotated[Text | None, says("Shell command that prints 1 or 0")] = None
    rail_file: Annotated[Path | None, says("File with the 12 V side's voltage")] = None
    rail_v_per_unit: Annotated[float, Meta(gt=0, le=100), says("Volts per unit of that file; hwmon says mV")] = 0.001
    rail_low_v: Annotated[float, Meta(ge=9, le=13), says("Below it for 60 s: switch off, whatever the car does")] = 11.8
    quiet_s: Annotated[float, Meta(ge=10, le=86_400), says("A silent bus keeps the box up this long")] = 300
    plugged_quiet_s: Annotated[float, Meta(ge=10, le=604_800), says("The same while plugged in")] = 3600
    unfed_s: Annotated[float, Meta(ge=60, le=604_800), says("Hard limit without the car feeding its 12 V side")] = (
        21_600
    )

    def __post_init__(self) -> None:
        if self.ignition_file is not None and self.ignition_command is not None:
            raise ValueError("ignition_file and ignition_command say the same: give one")


class Settings(Struct, frozen=True, kw_only=True):
    """Everything an operator can set. Units end the names."""

    data_dir: Annotated[Path, says("Journal and key live here")] = Path("/var/lib/packbox")
    source: Annotated[Text, says("Where frames come from; see Sources")] = "socketcan:can0"
    profile: Annotated[Text | None, says("Vehicle profile; absent or `auto`: recognised")] = None
    profiles_dir: Annotated[Path | None, says("Folder of profiles; absent: the ones that came along")] = None
    battery: Annotated[Name | None, says("Battery's name when its serial cannot be read")] = None
    vehicle: Annotated[VehicleName | None, says("Your name for the car; never a VIN")] = None
    polling: Annotated[Consent, says("What the owner agreed to: `never`, `standing`, or `agreed`")] = Consent.NEVER
    clock_trusted: Annotated[ClockTrust, says("`auto`: once synchronized; `always`: from the start")] = ClockTrust.AUTO
    operator_key: Annotated[
        PublicKey | None, says("Whose configurations and commands are believed; absent: nobody's")
    ] = None
    heartbeat_every_s: Annotated[float, Meta(ge=60, le=86_400), says("How often the box says how it is")] = 300.0
    usage_every_s: Annotated[float, Meta(ge=600, le=2_592_000), says("How often life so far is told")] = 86_400.0
    soh_every_s: Annotated[float, Meta(ge=600, le=2_592_000), says("How often SoH is told without news")] = 86_400.0
    commit_every_s: Annotated[float, Meta(ge=0.1, le=600), says("Longest stretch that a power cut can take")] = 10.0
    disk_budget_mb: Annotated[int, Meta(ge=16, le=1_000_000), says("What the data folder may hold; raw goes first")] = (
        256
    )
    raw_ring_mb: Annotated[int, Meta(ge=0, le=1_000_000), says("Newest raw frames kept, in MB; 0: none")] = 0
    enrol_file: Annotated[Path, says("Where a new card says how to enrol; see enrol.md")] = Path(
        "/boot/firmware/packbox-enrol.toml"
    )
    log_level: Annotated[Literal["debug", "info", "warning", "error"], says("How much is logged")] = "info"
    status_file: Annotated[Path | None, says("Where to say every 10 s how the box is, for other programs")] = None
    broker: Annotated[BrokerSettings, says("Where records go")] = msgspec.field(default_factory=BrokerSettings)
    power: Annotated[PowerSettings, says("When the machine may be switched off")] = msgspec.field(
        default_factory=PowerSettings
    )

    @property
    def key_file(self) -> Path:
        return self.data_dir / "key" / "box.pem"


TABLES: Final[Mapping[str, type[BrokerSettings | PowerSettings]]] = {"broker": BrokerSettings, "power": PowerSettings}


def load_settings(file: Path | None = None, overrides: Mapping[str, object] | None = None) -> Settings:
    """`file` None: the default file if there is one. `overrides`: the command line, stronger than the rest.

    Raises SettingsError with file or variable, key and reason.
    """
    where = file if file is not None else DEFAULT_FILE
    from_file = _read(where, must_exist=file is not None)
    from_environment = _from_environment()
    for origin, layer in ((str(where), from_file), (f"${_variable(('broker', 'password'))}", from_environment)):
        if "password" in _table(layer, "broker"):
            raise SettingsError(
                f"{origin}: broker.password: a secret does not belong here; "
                f"put it into a file named {BROKER_PASSWORD} in $CREDENTIALS_DIRECTORY"
            )
    from_command_line = {key: value for key, value in (overrides or {}).items() if value is not None}
    settings, problems = _built(_laid_over(from_file, from_environment, _secrets(), from_command_line))
    if settings is None:
        raise SettingsError("; ".join(_said(where, problem) for problem in problems))
    return settings


def settings_of(values: Mapping[str, Any]) -> Settings:
    """From plain values, as a settings file would say them. Raises SettingsError with key and reason."""
    settings, problems = _built(values)
    if settings is None:
        raise SettingsError("; ".join(f"{problem.key}: {problem.reason}" for problem in problems))
    return settings


def given(table: Settings | BrokerSettings | PowerSettings) -> dict[str, Any]:
    """What is not as it would be anyway, so that what follows from it can be worked out anew."""
    values = {field.encode_name: (getattr(table, field.name), field.default) for field in fields(table)}
    differing = {name: value for name, (value, default) in values.items() if value != default}
    return {name: given(value) if name in TABLES else value for name, value in differing.items()}


def every_setting() -> dict[str, str]:
    """What is said about each, by dotted name."""
    return {
        f"{table}.{name}" if table else name: next(
            mark.description for mark in field.type.__metadata__ if mark.description
        )
        for table, model in {"": Settings, **TABLES}.items()
        for name, field in _fields(model).items()
        if name not in TABLES
    }


@dataclass(frozen=True, slots=True)
class _Problem:
    location: tuple[str, ...]
    reason: str

    @property
    def key(self) -> str:
        return ".".join(self.location)


def _built(values: Mapping[str, Any]) -> tuple[Settings | None, list[_Problem]]:
    problems: list[_Problem] = []
    settings = _table_of(Settings, values, (), problems)
    return (None if problems else settings), problems


T = TypeVar("T", bound=Struct)


def _table_of(model: type[T], values: Mapping[str, Any], place: tuple[str, ...], problems: list[_Problem]) -> T | None:
    """Key by key, to tell everything that is wrong at once."""
    known = _fields(model)
    good: dict[str, Any] = {}
    for key, value in values.items():
        location = (*place, key)
        if key not in known:
            problems.append(_Problem(location, "there is no such setting"))
        elif key in TABLES and isinstance(value, Mapping):
            good[key] = _table_of(TABLES[key], value, location, problems)
        else:
            try:
                good[known[key].name] = msgspec.convert(value, known[key].type, strict=False, dec_hook=_converted)
            except msgspec.ValidationError as problem:
                problems.append(_Problem(location, _reason(str(problem), known[key])))
    if any(problem.location[: len(place)] == place for problem in problems):
        return None
    try:
        return model(**good)
    except ValueError as problem:
        problems.append(_Problem(place, str(problem)))
        return None


def _fields(model: type[Struct]) -> dict[str, FieldInfo]:
    """By the name that an operator writes."""
    return {field.encode_name: field for field in fields(model)}


def _converted(wanted: type, value: object) -> object:
    """What msgspec does not know by itself: paths and secrets. Raises ValueError."""
    if isinstance(value, wanted):
        return value
    if not isinstance(value, str):
        raise ValueError(f"Expected `str`, got `{type(value).__name__}`")
    return wanted(value)


def _reason(said: str, field: FieldInfo) -> str:
    if not said.startswith("Invalid enum value"):
        return said
    choice = get_args(field.type)[0]
    words = tuple(choice.__members__.values()) if isinstance(choice, EnumType) else get_args(choice)
    return f"Expected one of {', '.join(repr(str(word)) for word in words)}"


def _read(file: Path, *, must_exist: bool) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as problem:
        if must_exist:
            raise SettingsError(f"{file}: there is no such file") from problem
        return {}
    except (OSError, UnicodeDecodeError) as problem:
        raise SettingsError(f"{file}: cannot be read: {problem}") from problem
    except tomllib.TOMLDecodeError as problem:
        raise SettingsError(f"{file}: not TOML: {problem}") from problem


def _secrets() -> dict[str, Any]:
    """systemd's LoadCredential= puts each secret into a file of a folder that only we can read."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    path = Path(folder) / BROKER_PASSWORD if folder else None
    if path is None or not path.is_file():
        return {}
    try:
        return {"broker": {"password": path.read_text(encoding="utf-8").strip()}}
    except (OSError, UnicodeDecodeError) as problem:
        raise SettingsError(f"{path}: cannot be read: {problem}") from problem


def _laid_over(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Later layers win, key by key also inside a table."""
    merged: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            old = merged.get(key)
            merged[key] = _laid_over(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _is_this_machine(host: str | None) -> bool:
    try:
        return host == "localhost" or ip_address(host or "").is_loopback
    except ValueError:
        return False


def _table(layer: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = layer.get(key)
    return value if isinstance(value, Mapping) else {}


def _variable(location: Sequence[object]) -> str:
    return PREFIX + "__".join(str(part) for part in location).upper()


def _from_environment() -> dict[str, Any]:
    """Every PACKBOX_ variable. By hand: pydantic-settings would cost a running box 9 MB and pydantic beside it."""
    known = {_variable(name.split(".")): name for name in every_setting()}
    tables = {_variable([table]): table for table in TABLES}
    layers: list[dict[str, Any]] = []
    for variable in sorted(name for name in os.environ if name.upper().startswith(PREFIX)):
        text = os.environ[variable]
        if variable.upper() in tables:
            layers.insert(0, {tables[variable.upper()]: _json_table(variable, text)})
        elif variable.upper() in known:
            table, _, name = known[variable.upper()].rpartition(".")
            layers.append({table: {name: text}} if table else {name: text})
        else:
            raise SettingsError(f"${variable}: there is no such setting")
    return _laid_over(*layers)


def _json_table(variable: str, text: str) -> dict[str, Any]:
    try:
        table = json.loads(text)
    except ValueError as problem:
        raise SettingsError(f"${variable}: not JSON; give each setting its own variable") from problem
    if not isinstance(table, dict):
        raise SettingsError(f"${variable}: not JSON; give each setting its own variable")
    return table


def _said(file: Path, problem: _Problem) -> str:
    variable = _variable(problem.location)
    origin = f"${variable}" if variable in os.environ else str(file)
    return f"{origin}: {problem.key}: {problem.reason}"
