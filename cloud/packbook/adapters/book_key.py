"""The book's Ed25519 key in a file: made at first use, never made again.

In:  a path. Out: `BookKey`, which signs checkpoints and bundles.
Refuses a file that others may read and a file that is not such a key. A broken key is never replaced: strangers who
kept its public half would take what the next one signs for another book's.
"""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from packbook.adapters.private_file import SECRET_MODE, write_atomically
from packbook.ports import PackbookError

OTHERS: Final = 0o077
KEY_FILE_BYTES_MAX: Final = 4096


class BookKeyError(PackbookError):
    """The key file cannot be used as it is. It was not touched."""


class BookKey:
    """A `ports.Signer` whose key lies in a file."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self._public = private.public_key().public_bytes_raw()

    @property
    def public_key(self) -> bytes:
        return self._public

    def sign(self, data: bytes) -> bytes:
        return self._private.sign(data)


def book_key(path: Path) -> BookKey:
    """The key in this file; a new one where there is no file yet. Raises BookKeyError."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & OTHERS:
            raise BookKeyError(f"{path}: mode {mode:04o} lets others at the key; set it right with: chmod 600 {path}")
        with path.open("rb") as file:
            pem = file.read(KEY_FILE_BYTES_MAX)
    except FileNotFoundError:
        return _make(path)
    except OSError as problem:
        raise BookKeyError(f"{path}: cannot be read ({problem.strerror})") from problem
    try:
        private = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as problem:
        raise BookKeyError(f"{path}: not a readable private key; bring back a copy, it is not replaced") from problem
    if not isinstance(private, Ed25519PrivateKey):
        raise BookKeyError(f"{path}: holds a {type(private).__name__}, expected an Ed25519 key")
    return BookKey(private)


def _make(path: Path) -> BookKey:
    private = Ed25519PrivateKey.generate()
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    try:
        write_atomically(path, pem, SECRET_MODE)
    except OSError as problem:
        raise BookKeyError(f"{path}: the key cannot be written ({problem.strerror})") from problem
    return BookKey(private)
