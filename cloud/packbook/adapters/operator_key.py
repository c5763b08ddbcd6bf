"""The operator's Ed25519 key in a file: what he signs configurations and commands with.

In:  a path. Out: the key; a new one where there is none.
Refuses a file that others may read, one that is not such a key, and to write over one that is there.
"""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from packbook.adapters.private_file import write_atomically
from packbook.ports import PackbookError

OTHERS: Final = 0o077
FILE_BYTES_MAX: Final = 4096


class OperatorKeyError(PackbookError):
    """The operator's key cannot be used. Nothing was signed and the file was not touched."""


def read_operator_key(path: Path) -> Ed25519PrivateKey:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & OTHERS:
            raise OperatorKeyError(
                f"{path}: mode {mode:04o} lets others at the key; set it right with: chmod 600 {path}"
            )
        with path.open("rb") as file:
            key = serialization.load_pem_private_key(file.read(FILE_BYTES_MAX), password=None)
    except OSError as problem:
        raise OperatorKeyError(f"{path}: cannot be read ({problem.strerror})") from problem
    except (ValueError, TypeError) as problem:
        raise OperatorKeyError(f"{path}: not a readable private key") from problem
    if not isinstance(key, Ed25519PrivateKey):
        raise OperatorKeyError(f"{path}: holds a {type(key).__name__}, expected an Ed25519 key")
    return key


def make_operator_key(path: Path) -> Ed25519PrivateKey:
    if path.exists():
        raise OperatorKeyError(f"{path}: there is a key already; it is never written over")
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    try:
        write_atomically(path, pem)
    except OSError as problem:
        raise OperatorKeyError(f"{path}: cannot be written ({problem.strerror})") from problem
    return key
