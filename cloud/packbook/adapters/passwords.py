"""Passwords as they are kept: argon2id, with parameters that can be raised later without anybody noticing.

In:  a password. Out: a hash, or whether it belongs to one. As much work for an account that does not exist.
"""

from __future__ import annotations

import asyncio
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from packbook.core.password import normal

AT_ONCE: Final = 2  # each takes 64 MB and a core (RFC 9106 §4, second recommended option)


class Passwords:
    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher()
        self._turn = asyncio.Semaphore(AT_ONCE)
        self._nobodys: str | None = None

    async def hash(self, password: str) -> str:
        async with self._turn:
            return await asyncio.to_thread(self._hasher.hash, normal(password))

    async def belongs(self, password: str, kept: str | None) -> bool:
        """`kept` None: no such account, or none with a password; the answer takes as long."""
        if self._nobodys is None:
            self._nobodys = await self.hash("nobody's")
        async with self._turn:
            right = await asyncio.to_thread(self._verify, kept or self._nobodys, password)
        return right and kept is not None

    def is_old(self, kept: str) -> bool:
        """It was made with parameters of another time."""
        return self._hasher.check_needs_rehash(kept)

    def _verify(self, kept: str, password: str) -> bool:
        try:
            return self._hasher.verify(kept, normal(password))
        except (VerificationError, InvalidHashError):
            return False
