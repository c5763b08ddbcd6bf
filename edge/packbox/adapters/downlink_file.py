"""What the operator sent and what became of it, in one file of the data folder: `downlink.msgpack`.

In:  a `Downlink`. Out: the same after a restart, also one by a power cut half way: the old one or the new one, whole.
A file that cannot be read is told, not believed: the box goes on with its own settings.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from packbox.adapters.durable import write_atomically
from packbox.ports import PackboxError

DOWNLINK_FILE: Final = "downlink.msgpack"
FILE_MODE: Final = 0o600
FILE_BYTES_MAX: Final = 262_144


class DownlinkFileError(PackboxError):
    """The file cannot be used. The box's own settings hold until the operator sends a newer configuration."""


class Accepted(msgspec.Struct, frozen=True, array_like=True):
    """A configuration as it travelled, and the key that it was believed by."""

    signed: bytes
    signer: bytes


class Downlink(msgspec.Struct, frozen=True, array_like=True):
    in_force: Accepted | None = None
    before: Accepted | None = None  # what holds again if the one on trial does not reach the book
    on_trial: bool = False
    trial_left_s: float = 0.0
    highest: int = 0  # version; what is not above it is old
    operator: bytes | None = None  # who follows the one whose key was set, by his own word
    operator_before: bytes | None = None
    key_set: bytes | None = None  # the setting that `operator` follows: another setting ends him
    done: tuple[tuple[bytes, int], ...] = ()  # id of a command, until when it could come again
    refused: tuple[bytes, ...] = ()  # digests: what was refused once is not told again
    unsaid: tuple[tuple[str, str], ...] = ()  # event and text that no record tells yet


def read_downlink(data_dir: Path) -> Downlink:
    """Empty where nothing was ever sent. Raises DownlinkFileError."""
    path = data_dir / DOWNLINK_FILE
    try:
        with path.open("rb") as file:
            return msgspec.msgpack.decode(file.read(FILE_BYTES_MAX), type=Downlink)
    except FileNotFoundError:
        return Downlink()
    except OSError as problem:
        raise DownlinkFileError(f"{path}: cannot be read ({problem.strerror})") from problem
    except msgspec.DecodeError as problem:
        raise DownlinkFileError(f"{path}: broken ({problem})") from problem


def write_downlink(data_dir: Path, downlink: Downlink) -> None:
    """On disk when this returns. Raises DownlinkFileError; then the old one is untouched."""
    path = data_dir / DOWNLINK_FILE
    try:
        write_atomically(path, msgspec.msgpack.encode(downlink), FILE_MODE)
    except OSError as problem:
        raise DownlinkFileError(f"{path}: cannot be written ({problem.strerror})") from problem
