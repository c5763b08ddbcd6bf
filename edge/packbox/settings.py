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
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from packbox.clock import ClockTrust
from packbox.core.courtesy import Consent
from packbox.ports import SettingsError

DEFAULT_FILE: Final = Path("/etc/packbox/packbox.toml")
PREFIX: Final = "PACKBOX_"
BROKER_PASSWORD: Final = "broker_password"  # noqa: S105 - the name of the credential, not the secret

Name = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


class BrokerSettings(BaseModel):
    """Where records go. Without `host` the box keeps its records until it has one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str | None = Field(None, min_length=1, description="Broker's name or address; absent: nothing is sent")
    tls: bool = Field(
        default_factory=lambda known: not _is_this_machine(known.get("host")),
        description="Encrypt; on, unless the broker is on this machine",
    )
    port: int = Field(
        default_factory=lambda known: 8883 if known.get("tls") else 1883, ge=1, le=65535, description="MQTT's own ports"
    )
    protocol: Literal["5", "3.1.1"] = Field("5", description="MQTT version; 3.1.1 for old brokers")
    ca_file: Path | None = Field(None, description="Certificates that the broker's must descend from; absent: system's")
    cert_file: Path | None = Field(None, description="This box's certificate, for a broker that asks for one")
    key_file: Path | None = Field(None, description="The certificate's private key")
    user: str | None = Field(None, description="User name, for a broker that asks for one")
    password: SecretStr | None = Field(None, description="Only from the credentials folder, never from a file here")
    keep_alive_s: int = Field(600, ge=10, le=1200, description="Silence after which the link is checked")

    @model_validator(mode="after")
    def _belong_together(self) -> BrokerSettings:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file go together: give both or none")
        if not self.tls and (self.ca_file or self.cert_file):
            raise ValueError("ca_file, cert_file and key_file need tls = true")
        if self.password is not None and self.user is None:
            raise ValueError("there is a password but no user")
        return self


class PowerSettings(BaseModel):
    """When the machine may be switched off, and how to ask and tell. Without `command` the box switches nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    command: str | None = Field(
        None, min_length=1, description="Shell command, called with phase and reason at each change"
    )
    ignition_file: Path | None = Field(None, description="File that says 1 or 0: ignition on or off")
    ignition_command: str | None = Field(None, min_length=1, description="Shell command that prints 1 or 0")
    rail_file: Path | None = Field(None, description="File with the 12 V side's voltage")
    rail_v_per_unit: float = Field(0.001, gt=0, le=100, description="Volts per unit of that file; hwmon says mV")
    rail_low_v: float = Field(11.8, ge=9, le=13, description="Below it for 60 s: switch off, whatever the car does")
    quiet_s: float = Field(300, ge=10, le=86_400, description="A silent bus keeps the box up this long")
    plugged_quiet_s: float = Field(3600, ge=10, le=604_800, description="The same while plugged in")
    unfed_s: float = Field(21_600, ge=60, le=604_800, description="Hard limit without the car feeding its 12 V side")

    @model_validator(mode="after")
    def _one_ignition(self) -> PowerSettings:
        if self.ignition_file is not None and self.ignition_command is not None:
            raise ValueError("ignition_file and ignition_command say the same: give one")
        return self


class Settings(BaseModel):
    """Everything an operator can set. Units end the names."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data_dir: Path = Field(Path("/var/lib/packbox"), description="Journal and key live here")
    source: str = Field("socketcan:can0", min_length=1, description="Where frames come from; see Sources")
    profile: str | None = Field(None, min_length=1, description="Vehicle profile; absent or `auto`: recognised")
    profiles_dir: Path | None = Field(None, description="Folder of profiles; absent: the ones that came along")
    battery: Name | None = Field(None, description="Battery's name when its serial cannot be read")
    vehicle: str | None = Field(None, min_length=1, max_length=63, description="Your name for the car; never a VIN")
    polling: Consent = Field(Consent.NEVER, description="What the owner agreed to: `never`, `standing`, or `agreed`")
    clock_trusted: ClockTrust = Field(
        ClockTrust.AUTO, description="`auto`: once synchronized; `always`: from the start"
    )
    operator_key: str | None = Field(
        None, pattern=r"^[0-9a-f]{64}$", description="Whose configurations and commands are believed; absent: nobody's"
    )
    heartbeat_every_s: float = Field(300.0, ge=60, le=86_400, description="How often the box says how it is")
    usage_every_s: float = Field(86_400.0, ge=600, le=2_592_000, description="How often life so far is told")
    soh_every_s: float = Field(86_400.0, ge=600, le=2_592_000, description="How often SoH is told without news")
    commit_every_s: float = Field(10.0, ge=0.1, le=600, description="Longest stretch that a power cut can take")
    disk_budget_mb: int = Field(256, ge=16, le=1_000_000, description="What the data folder may hold; raw goes first")
    raw_ring_mb: int = Field(0, ge=0, le=1_000_000, description="Newest raw frames kept, in MB; 0: none")
    enrol_file: Path = Field(
        Path("/boot/firmware/packbox-enrol.toml"), description="Where a new card says how to enrol; see enrol.md"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="How much is logged")
    status_file: Path | None = Field(None, description="Where to say every 10 s how the box is, for other programs")
    broker: BrokerSettings = Field(default_factory=BrokerSettings, description="Where records go")
    power: PowerSettings = Field(default_factory=PowerSettings, description="When the machine may be switched off")

    @property
    def key_file(self) -> Path:
        return self.data_dir / "key" / "box.pem"


TABLES: Final[Mapping[str, type[BaseModel]]] = {"broker": BrokerSettings, "power": PowerSettings}


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
    try:
        return Settings(**_laid_over(from_file, from_environment, _secrets(), from_command_line))
    except ValidationError as problem:
        raise SettingsError("; ".join(_said(where, error) for error in problem.errors(include_url=False))) from problem


def every_setting() -> dict[str, FieldInfo]:
    """All settings by dotted name, for the documentation's test."""
    own = {name: field for name, field in Settings.model_fields.items() if name not in TABLES}
    return own | {
        f"{table}.{name}": field for table, model in TABLES.items() for name, field in model.model_fields.items()
    }


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
    """Every PACKBOX_ variable. By hand: pydantic-settings would cost a running box 9 MB (docs/budgets.md)."""
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


def _said(file: Path, error: ErrorDetails) -> str:
    location = error["loc"]
    variable = _variable(location)
    origin = f"${variable}" if variable in os.environ else str(file)
    reason = "there is no such setting" if error["type"] == "extra_forbidden" else error["msg"]
    return f"{origin}: {'.'.join(str(part) for part in location)}: {reason.removeprefix('Value error, ')}"
