"""What a box was told when it enrolled, in its data folder; and what it shall do, on a new card's boot partition.

In:  `enrolment.toml` and `ca.pem` (ours), `packbox-enrol.toml` (of the operator).
Out: `Enrolment`, `Invitation`.
"""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from packbox.adapters.durable import write_atomically
from packbox.ports import EnrolDenied, EnrolError

ENROLMENT_FILE: Final = "enrolment.toml"
CA_FILE: Final = "ca.pem"
MODE: Final = 0o600
KEY_BYTES: Final = 32  # Ed25519, public
INVITATION_KEYS: Final = {"url", "token", "ca_fingerprint"}


@dataclass(frozen=True, slots=True)
class Invitation:
    """Where to enrol, with which code, and how the authority's root is known."""

    url: str
    code: str
    fingerprint: str | None = None  # None: the system's trust must do


@dataclass(frozen=True, slots=True)
class Enrolment:
    """Where this box enrolled, and what it was told."""

    url: str
    pinned: bool  # trust the authority's certificates only, also for the server
    broker_host: str | None
    broker_port: int | None
    operator_key: str | None = None  # 64 hex digits: whose configurations and commands to believe
    book_key: str | None = None  # the same of the book: whose checkpoints and bundles they are


def read_invitation(file: Path) -> Invitation:
    """Raises EnrolDenied with file, key and reason: a person must mend it."""
    try:
        told = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as problem:
        raise EnrolDenied(f"{file}: cannot be read ({problem.strerror})") from problem
    except ValueError as problem:  # not TOML, not UTF-8
        raise EnrolDenied(f"{file}: not TOML: {problem}") from problem
    unknown = sorted(set(told) - INVITATION_KEYS)
    if unknown:
        raise EnrolDenied(f"{file}: {unknown[0]}: there is no such key")
    for key, value in told.items():
        if not isinstance(value, str):
            raise EnrolDenied(f"{file}: {key}: expected text in quotes")
    for key in ("url", "token"):
        if key not in told:
            raise EnrolDenied(f"{file}: {key} is missing")
    return Invitation(told["url"], told["token"], told.get("ca_fingerprint"))


def read_enrolment(data_dir: Path) -> Enrolment | None:
    told = _told(data_dir / ENROLMENT_FILE)
    if told is None:
        return None
    broker, keys = told.get("broker", {}), (told.get("operator_key"), told.get("book_key"))
    try:
        if not all(key is None or len(bytes.fromhex(key)) == KEY_BYTES for key in keys):
            raise ValueError
        return Enrolment(
            told["url"],
            told["pinned"],
            broker.get("host"),
            broker.get("port"),
            *keys,
        )
    except (KeyError, AttributeError, TypeError, ValueError) as problem:
        raise EnrolError(f"{data_dir / ENROLMENT_FILE}: is not as we wrote it; enrol again") from problem


def write_enrolment(data_dir: Path, enrolment: Enrolment) -> None:
    """Raises EnrolError."""
    lines = [
        "# Written by packbox when it enrolled. Settings of your own go before these.",
        f"url = {_text(enrolment.url)}",
    ]
    lines.append(f"pinned = {'true' if enrolment.pinned else 'false'}")
    keys = {"operator_key": enrolment.operator_key, "book_key": enrolment.book_key}
    lines += [f"{name} = {_text(key)}" for name, key in keys.items() if key is not None]
    if enrolment.broker_host is not None:
        lines += ["[broker]", f"host = {_text(enrolment.broker_host)}", f"port = {enrolment.broker_port}"]
    _write(data_dir / ENROLMENT_FILE, "\n".join(lines).encode() + b"\n")


def read_authorities(data_dir: Path) -> bytes:
    try:
        return (data_dir / CA_FILE).read_bytes()
    except OSError as problem:
        raise EnrolError(f"{data_dir / CA_FILE}: cannot be read ({problem.strerror}); enrol again") from problem


def write_authorities(data_dir: Path, pem: bytes) -> None:
    _write(data_dir / CA_FILE, pem)


def broker_layer(data_dir: Path, tls_file: Path) -> dict[str, Any]:
    """Settings of the broker that follow from enrolment; empty before. Raises EnrolError."""
    enrolment = read_enrolment(data_dir)
    if enrolment is None or not tls_file.exists():
        return {}
    layer: dict[str, Any] = {"ca_file": data_dir / CA_FILE, "cert_file": tls_file, "key_file": tls_file}
    if enrolment.broker_host is not None:
        layer |= {"host": enrolment.broker_host, "port": enrolment.broker_port, "tls": True}
    return layer


def _told(file: Path) -> dict[str, Any] | None:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as problem:
        raise EnrolError(f"{file}: cannot be read: {problem}") from problem


def _text(value: str) -> str:
    """As a TOML basic string, whose escapes are those of JSON."""
    return json.dumps(value)


def _write(file: Path, data: bytes) -> None:
    try:
        write_atomically(file, data, MODE)
    except OSError as problem:
        raise EnrolError(f"{file}: cannot be written ({problem.strerror})") from problem
