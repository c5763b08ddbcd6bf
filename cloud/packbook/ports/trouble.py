"""What may go wrong outside, by name: expected trouble, whose text says what is still safe."""

from __future__ import annotations


class PackbookError(Exception):
    """Expected trouble. The text names what and where; nothing acknowledged is lost."""


class StoreError(PackbookError):
    """The database cannot be used now (locked, full, wrong schema version). Nothing outside it was acknowledged."""


class BrokerError(PackbookError):
    """The broker cannot be reached or refused us. Boxes keep what it did not take."""


class SettingsError(PackbookError):
    """A setting cannot be used. The text names file, key and reason."""


class NotMade(PackbookError):
    """A format needs more than this record holds, or more than its reader may see. The text says what."""


class AuthorityError(PackbookError):
    """A key or certificate of the fleet's authority cannot be used. The text names the file; nothing was issued."""


class BadRequest(PackbookError):
    """A certificate request that no box of ours makes. The text says what is wrong with it."""


class NoCertificate(PackbookError):
    """Who asked gets none. The text is for the person at the box."""

    def __init__(self, reason: str, *, status: int, wait_s: int | None = None) -> None:
        """`status`: as HTTP numbers it. `wait_s`: when it may be tried again, after too many wrong tries."""
        super().__init__(reason)
        self.status = status
        self.wait_s = wait_s
