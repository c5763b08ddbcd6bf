"""The second step of signing in: six digits from an app (TOTP, RFC 6238), or a recovery code when the phone is gone.

In:  secrets and what was typed. Out: secrets sealed for the database, digests, the address for the app, which step of
time a code belongs to. The key lies in a file apart from the database (`AccountVault`): its backup alone opens nothing.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
import secrets
import stat
from pathlib import Path
from typing import Final

import pyotp
import segno
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from packbook.adapters.private_file import write_atomically
from packbook.ports.trouble import PackbookError

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
OTHERS: Final = 0o077
STEP_S: Final = 30
STEPS_BESIDE: Final = 1  # a phone's clock may be half a minute off
DIGITS: Final = 6
RECOVERY_CODES: Final = 10
RECOVERY_BYTES: Final = 10  # 80 bits: nothing to guess, so a plain digest keeps it
PURPOSE: Final = b"packbook/accounts/1"
ADDRESS_DIGITS: Final = 16


class VaultError(PackbookError):
    """The key of accounts' secrets cannot be used. Nothing was changed."""


class AccountVault:
    """One key file, made at first use. What it sealed is lost with it: sign-in then takes a new second step."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def seal(self, account: str, secret: str) -> bytes:
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + AESGCM(self._key(b"totp")).encrypt(nonce, secret.encode(), account.encode())

    def open(self, account: str, sealed: bytes) -> str:
        """Raises VaultError."""
        try:
            return (
                AESGCM(self._key(b"totp"))
                .decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], account.encode())
                .decode()
            )
        except (InvalidTag, ValueError) as problem:
            raise VaultError(f"{self._path}: does not open the second step of account {account}") from problem

    def address(self, address: str) -> str:
        """Tells one client's address from another, and not which it is."""
        return hmac.new(self._key(b"address"), address.encode(), hashlib.sha256).hexdigest()[:ADDRESS_DIGITS]

    def _key(self, use: bytes) -> bytes:
        return hmac.new(self._read(), PURPOSE + b" " + use, hashlib.sha256).digest()

    def _read(self) -> bytes:
        try:
            if not self._path.exists():
                write_atomically(self._path, secrets.token_bytes(KEY_BYTES))
            mode = stat.S_IMODE(self._path.stat().st_mode)
            if mode & OTHERS:
                raise VaultError(f"{self._path}: mode {mode:04o} lets others at the key; set it right with: chmod 600")
            key = self._path.read_bytes()
        except OSError as problem:
            raise VaultError(f"{self._path}: cannot be used ({problem.strerror})") from problem
        if len(key) != KEY_BYTES:
            raise VaultError(f"{self._path}: holds {len(key)} bytes, expected {KEY_BYTES}; bring back a copy")
        return key


def new_secret() -> str:
    return pyotp.random_base32()


def app_address(secret: str, login: str, book: str) -> str:
    """What the app's camera reads."""
    return pyotp.TOTP(secret).provisioning_uri(name=login, issuer_name=book)


def drawing(address: str) -> str:
    """As an SVG that a page carries within its text."""
    out = io.BytesIO()
    segno.make(address, error="m").save(
        out, kind="svg", xmldecl=False, svgns=True, scale=5, border=4, dark="#000", light="#fff", svgclass="qr"
    )
    return out.getvalue().decode()


def step_of(secret: str, typed: str, now_ms: int, after: int | None) -> int | None:
    """Which step of time this code belongs to; None: a wrong one, or of a step not after `after`, which was used."""
    code = "".join(typed.split())
    now = now_ms // 1000 // STEP_S
    app = pyotp.TOTP(secret)
    found = None
    for step in range(now - STEPS_BESIDE, now + STEPS_BESIDE + 1):
        if hmac.compare_digest(app.at(step * STEP_S).encode(), code.encode()) and (after is None or step > after):
            found = step
    return found


def recovery_codes() -> list[str]:
    """To be written down, once."""
    drawn = (base64.b32encode(secrets.token_bytes(RECOVERY_BYTES)).decode().lower() for _ in range(RECOVERY_CODES))
    return ["-".join(code[at : at + 4] for at in range(0, len(code), 4)) for code in drawn]


def recovery_digest(account: str, typed: str) -> bytes:
    """Spaces, dashes and case do not count."""
    plain = "".join(c for c in typed.casefold() if c.isalnum())
    return hashlib.sha256(f"{account} {plain}".encode()).digest()
