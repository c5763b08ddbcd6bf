"""Numbers of vehicles at rest: each under a key of its own, so that ending a relation is throwing a key away.

In:  a number and the association it belongs to. Out: sealed bytes for the database, and a keyed index to look it up by.
Keys lie in a folder of their own, apart from the database and its backups: AES-256-GCM, one key file per association,
bound to association and battery; and one key for the index (HMAC-SHA256), without which a list of all VINs tells nobody
which of them are here. Refuses a folder or file that others may read. Never logs or repeats a number.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from packbook.adapters.private_file import write_atomically
from packbook.core.vehicle import lookup_form
from packbook.ports.trouble import PackbookError

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
FOLDER_MODE: Final = 0o700
OTHERS: Final = 0o077
INDEX_KEY: Final = "index.key"
PURPOSE: Final = "packbook/vin/1"


class VaultError(PackbookError):
    """Keys of vehicle numbers cannot be used. Nothing was changed."""


class VinVault:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def seal(self, association: str, battery: str, number: str) -> bytes:
        """A new key for this association, and the number under it."""
        key = self._made(f"{association}.key")
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + AESGCM(key).encrypt(nonce, number.encode(), _bound(association, battery))

    def open(self, association: str, battery: str, sealed: bytes) -> str | None:
        """None when its key was thrown away. Raises VaultError when bytes and key do not belong together."""
        path = self._folder / f"{association}.key"
        if not path.exists():
            return None
        try:
            plain = AESGCM(self._read(path)).decrypt(
                sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], _bound(association, battery)
            )
        except InvalidTag as problem:
            raise VaultError(f"{path}: does not open the number of association {association}") from problem
        return plain.decode()

    def shred(self, association: str) -> None:
        """From here on nobody can read that number any more, from no backup of the database."""
        try:
            (self._folder / f"{association}.key").unlink(missing_ok=True)
            self._sync()
        except OSError as problem:
            raise VaultError(f"{self._folder}: a key cannot be thrown away ({problem.strerror})") from problem

    def index(self, number: str) -> bytes:
        """What the database looks a number up by."""
        path = self._folder / INDEX_KEY
        key = self._read(path) if path.exists() else self._made(INDEX_KEY)
        return hmac.new(key, f"{PURPOSE} {lookup_form(number)}".encode(), hashlib.sha256).digest()

    def _made(self, name: str) -> bytes:
        key = secrets.token_bytes(KEY_BYTES)
        try:
            self._folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
            _only_ours(self._folder)
            write_atomically(self._folder / name, key)
        except OSError as problem:
            raise VaultError(f"{self._folder / name}: cannot be written ({problem.strerror})") from problem
        return key

    def _read(self, path: Path) -> bytes:
        try:
            _only_ours(self._folder)
            _only_ours(path)
            key = path.read_bytes()
        except OSError as problem:
            raise VaultError(f"{path}: cannot be read ({problem.strerror})") from problem
        if len(key) != KEY_BYTES:
            raise VaultError(f"{path}: holds {len(key)} bytes, expected {KEY_BYTES}; bring back a copy")
        return key

    def _sync(self) -> None:
        if not self._folder.exists():
            return
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _bound(association: str, battery: str) -> bytes:
    return f"{PURPOSE} {association} {battery}".encode()


def _only_ours(path: Path) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & OTHERS:
        raise VaultError(f"{path}: mode {mode:04o} lets others at the keys; set it right with: chmod go= {path}")
