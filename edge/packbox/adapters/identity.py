"""The box's Ed25519 key in a file: made at first start, never made again.

In:  a path inside a folder that only this user may enter.
Out: `FileKey`, which signs.
Refuses a file that others may read and a file that is not such a key. A broken key is never replaced: with another
key this would be another box, and its history would not be believed.
"""

from __future__ import annotations

import base64
import secrets
import stat
from pathlib import Path
from typing import Final

from nacl.signing import SigningKey

from packbox.adapters.durable import sync_folder, write_atomically
from packbox.ports import PackboxError

PRIVATE_KEY_BYTES: Final = 32
FOLDER_MODE: Final = 0o700
FILE_MODE: Final = 0o600
OTHERS: Final = 0o077  # group and world: nobody but the owner may see a key
PEM_HEAD: Final = b"-----BEGIN PRIVATE KEY-----\n"
PEM_TAIL: Final = b"\n-----END PRIVATE KEY-----\n"
DER_HEAD: Final = bytes.fromhex("302e020100300506032b657004220420")  # RFC 8410 §7: PKCS #8, Ed25519, 32 bytes follow
KEY_FILE_BYTES_MAX: Final = 4096  # an Ed25519 key is 119 bytes of PEM


class KeyFileError(PackboxError):
    """The key file cannot be used as it is. It was not touched: repair it or bring back a copy."""


class FileKey:
    """A `ports.Signer` whose key lies in a file."""

    def __init__(self, private: bytes) -> None:
        """`private`: the 32 raw bytes (RFC 8032 §5.1.5)."""
        self._private = SigningKey(private)
        self._public = bytes(self._private.verify_key)

    @property
    def public_key(self) -> bytes:
        return self._public

    def sign(self, data: bytes) -> bytes:
        return self._private.sign(data).signature


def read_key(path: Path) -> FileKey:
    """Raises KeyFileError, also when there is no file."""
    try:
        only_ours(path.parent)
        only_ours(path)
        with path.open("rb") as file:
            pem = file.read(KEY_FILE_BYTES_MAX)
    except FileNotFoundError as problem:
        raise KeyFileError(f"{path}: there is no key here") from problem
    except OSError as problem:
        raise KeyFileError(f"{path}: cannot be read ({problem.strerror})") from problem
    raw = _raw(pem)
    return FileKey(_of_another_form(path, pem) if raw is None else raw)


def _pem(raw: bytes) -> bytes:
    """As RFC 5958 has it. By hand: the library that knows all forms costs a running box 9 MB (docs/budgets.md)."""
    return PEM_HEAD + base64.b64encode(DER_HEAD + raw) + PEM_TAIL


def _raw(pem: bytes) -> bytes | None:
    """None: not byte for byte as we write it."""
    try:
        raw = base64.b64decode(pem[len(PEM_HEAD) : -len(PEM_TAIL)])[len(DER_HEAD) :]
    except ValueError:
        return None
    return raw if len(raw) == PRIVATE_KEY_BYTES and _pem(raw) == pem else None


def _of_another_form(path: Path, pem: bytes) -> bytes:
    """Somebody brought it along, or it is broken."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    try:
        private = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError) as problem:
        raise KeyFileError(
            f"{path}: not a readable private key; bring back a copy. It is not replaced: a new key would be a new box"
        ) from problem
    if not isinstance(private, Ed25519PrivateKey):
        raise KeyFileError(f"{path}: holds a {type(private).__name__}, expected an Ed25519 key")
    return private.private_bytes_raw()


def make_key(path: Path) -> FileKey:
    """First start. Raises KeyFileError when a file is there already or the disk refuses."""
    if path.exists():
        raise KeyFileError(f"{path}: there is a key already; it is never written over")
    private = secrets.token_bytes(PRIVATE_KEY_BYTES)
    try:
        path.parent.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        path.parent.mkdir(mode=FOLDER_MODE, exist_ok=True)
        sync_folder(path.parent.parent)
        write_atomically(path, _pem(private), FILE_MODE)
    except OSError as problem:
        raise KeyFileError(f"{path}: the key cannot be written ({problem.strerror})") from problem
    return FileKey(private)


def only_ours(path: Path) -> None:
    """Raises KeyFileError when others may get at a key in this file or folder."""
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & OTHERS:
        wanted = FOLDER_MODE if path.is_dir() else FILE_MODE
        raise KeyFileError(
            f"{path}: mode {mode:04o} lets others at the key; set it right with: chmod {wanted:o} {path}"
        )
