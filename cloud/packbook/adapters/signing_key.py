"""An Ed25519 key in a file, the book's or the operator's: made once, never written over.

In:  a path. Out: `SigningKey`, a `ports.Signer`.
Refuses a file that others may read and a file that is not such a key. A broken key is never replaced: strangers who
kept its public half would take what the next one signs for somebody else's.
"""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from packbook.adapters.private_file import SECRET_MODE, write_atomically
from packbook.ports.trouble import PackbookError

OTHERS: Final = 0o077
KEY_FILE_BYTES_MAX: Final = 4096


class SigningKeyError(PackbookError):
    """The key file cannot be used as it is. Nothing was signed and the file was not touched."""


class SigningKey:
    """A `ports.Signer` whose key lies in a file."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self._public = private.public_key().public_bytes_raw()

    @property
    def public_key(self) -> bytes:
        return self._public

    def sign(self, data: bytes) -> bytes:
        return self._private.sign(data)


def read_key(path: Path) -> SigningKey:
    """Raises SigningKeyError, also when there is no file."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & OTHERS:
            raise SigningKeyError(
                f"{path}: mode {mode:04o} lets others at the key; set it right with: chmod 600 {path}"
            )
        with path.open("rb") as file:
            pem = file.read(KEY_FILE_BYTES_MAX)
    except OSError as problem:
        raise SigningKeyError(f"{path}: cannot be read ({problem.strerror})") from problem
    try:
        private = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as problem:
        raise SigningKeyError(f"{path}: not a readable private key; bring back a copy, it is not replaced") from problem
    if not isinstance(private, Ed25519PrivateKey):
        raise SigningKeyError(f"{path}: holds a {type(private).__name__}, expected an Ed25519 key")
    return SigningKey(private)


def make_key(path: Path) -> SigningKey:
    """Raises SigningKeyError when there is a file already or the disk refuses."""
    if path.exists():
        raise SigningKeyError(f"{path}: there is a key already; it is never written over")
    private = Ed25519PrivateKey.generate()
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    try:
        write_atomically(path, pem, SECRET_MODE)
    except OSError as problem:
        raise SigningKeyError(f"{path}: the key cannot be written ({problem.strerror})") from problem
    return SigningKey(private)


def read_or_make_key(path: Path) -> SigningKey:
    """At first use there is none yet. Raises SigningKeyError."""
    return read_key(path) if path.exists() else make_key(path)
