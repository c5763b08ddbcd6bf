"""What the box needs from outside, as protocols: adapters fill them in the car, fakes fill them in tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from packbox.core.exchange import OutFrame, Reply
from packbox.core.frames import FrameBatch
from packbox.core.profile import Poll
from packbox.core.record import ChainHead, SealedRow, StoreId
from packbox.core.stamp import Stamp, Tick

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey


class PackboxError(Exception):
    """Expected trouble. The text names what and where; nothing recorded is lost."""


class LinkDownError(PackboxError):
    """The broker did not take the record. It stays in the outbox; try again later."""


class RefusedError(LinkDownError):
    """The broker answered that it will not take this record (not authorised, quota). It stays in the outbox."""


class StoreEndedError(PackboxError):
    """The book holds another history under this store's name. All is kept; started again, a new store begins."""


class BusDownError(PackboxError):
    """The interface went away or down. Nothing was missed that was on the bus before; open it again later."""


class BusBusyError(PackboxError):
    """A frame could not be sent: queue full, nobody acknowledges, bus off. Listening goes on; slow down."""


class LogFormatError(PackboxError):
    """A recorded log cannot be read at all: missing, empty, or of no format we know. The file was not touched."""


class JournalError(PackboxError):
    """The journal could not be written (disk full, read-only, broken). What was committed before is safe."""


class JournalBrokenError(JournalError):
    """The journal's file is damaged. Opened again it is set aside, kept, and a new store begins."""


class JournalDiskError(JournalError):
    """The disk refuses: full, read-only, failing. It may be well again later, and then everything goes on."""


class ProfileError(PackboxError):
    """A profile folder cannot be used. The text names file, key and reason."""


class SettingsError(PackboxError):
    """A settings file cannot be used. The text names file, key and reason."""


class EnrolError(PackboxError):
    """No certificate this time. Nothing was changed: the one in force, if any, stays; the same may be asked again."""


class EnrolDenied(EnrolError):
    """Whoever gives certificates answered no, and says why. Asking again the same helps only when he changes it."""


class Clock(Protocol):
    def now(self) -> Stamp: ...


class FrameClock(Clock, Protocol):
    """A clock that can also be read as the kernel stamps frames with it."""

    def system_ns(self) -> int:
        """CLOCK_REALTIME, whether or not anybody has set it: only good for differences to a frame's kernel time."""


class FrameSource(Protocol):
    """A bus, a recorded log or a simulated car. Ends when the source ends; a live bus never does.

    Raises BusDownError; may be iterated again afterwards.
    """

    def inputs(self) -> AsyncIterator[FrameBatch | Tick]: ...


class FrameLink(Protocol):
    """A way to put single frames onto the bus and to hear answers at once, beside the source that gathers batches."""

    async def send(self, frame: OutFrame) -> None:
        """Raises BusBusyError, or BusDownError when there is no bus."""

    def overhear(self, keys: Sequence[int], heard: Callable[[int, bytes], None]) -> AbstractContextManager[None]:
        """While open, `heard` gets every frame of these ids (key: `core.profile.message_key`, data), on the loop."""


class Tester(Protocol):
    """Puts single questions to the car. The only thing in the box that makes it send."""

    @property
    def frames_sent(self) -> int:
        """Everything put onto the bus since this start, flow control too."""

    async def ask(self, poll: Poll) -> Reply:
        """One question to its end, at most `exchange.OVER_WITHIN_NS`. Raises BusBusyError, BusDownError."""


class Signer(Protocol):
    """Holds the box's key: a file today, a secure element behind the same port later."""

    @property
    def public_key(self) -> bytes:
        """Raw 32-byte Ed25519 public key."""

    def sign(self, data: bytes) -> bytes:
        """Raw 64-byte Ed25519 signature."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a restart continues from."""

    state: bytes | None  # snapshot of the fold's state; None in a new store
    head: ChainHead
    begun_after: str | None = None  # why an older file was set aside, told until this store holds a record
    trouble: str | None = None  # why nothing can be saved for now: all that is written stands in memory alone


@dataclass(frozen=True, slots=True)
class Outbox:
    """How much waits for the book, for health and doctor."""

    waiting: int
    oldest_wall_ms: int | None  # of the records whose wall time is known
    journal_bytes: int


@dataclass(frozen=True, slots=True)
class HeldCertificate:
    """The certificate in force, as far as others need it."""

    from_ms: int
    until_ms: int
    chain: bytes  # PEM, the box's own first


class KeyStore(Protocol):
    """Where the box's keys live: files today, a TPM or an ATECC608 behind the same port. No key is ever handed out.

    A TLS key is an object that signs; what the TLS library loads are `tls_files`, which may hold a handle of a chip.
    """

    @property
    def records(self) -> Signer:
        """The key that signs records, for life."""

    @property
    def tls_files(self) -> tuple[Path, Path]:
        """Certificate chain and key in force, as the TLS library reads them."""

    def next_tls_key(self) -> EllipticCurvePrivateKey:
        """The key that waits for its certificate (P-256): made if there is none, the same one until `keep`."""

    def keep(self, chain: bytes) -> None:
        """The next key has its certificate (PEM chain): both are in force from now on, in one step."""

    def held(self) -> HeldCertificate | None: ...


class Journal(Protocol):
    """The durable memory of the box. Blocking: call it through one worker thread. Every method raises JournalError."""

    def open(self) -> Checkpoint:
        """Where the disk refuses, what it holds stands in memory until a `commit` finds the disk well again."""

    def commit(self, state: bytes, rows: Sequence[SealedRow]) -> None:
        """State and the records it produced, in one transaction, on disk when this returns."""

    def waiting(self, after_seq: int, limit: int) -> Sequence[SealedRow]:
        """Records the book does not hold yet, in order."""

    def release(self, upto: int, ranges: Sequence[tuple[int, int]]) -> int:
        """The book holds these: take them out of the outbox (history keeps them). Returns how many were waiting."""

    def take_back(self, from_seq: int, upto: int, ranges: Sequence[tuple[int, int]]) -> int:
        """The book holds these, and of what was released from `from_seq` on nothing else any more: it goes again.

        Returns how many records came back into the outbox.
        """

    def digest_of(self, seq: int) -> bytes | None:
        """Of one record; None where there is none."""

    def end_store(self, reason: str) -> bool:
        """Nothing may follow here: the next `open` sets the file aside, tells why, and begins a new store.

        False: so many were set aside already that somebody must be lying; nothing was changed.
        """

    def outbox(self) -> Outbox: ...

    def close(self) -> None: ...


class Uplink(Protocol):
    """The way to the broker, as an async context manager around one connection. Raises LinkDownError."""

    @property
    def wire_bytes(self) -> int:
        """What this connection cost so far, both ways, with MQTT and TLS; also readable when it is over."""

    async def publish(self, sealed: bytes) -> None:
        """Hand one record to the broker (QoS 1). Returning means the broker took it, not that the book holds it.

        Raises RefusedError when the broker answers no; the link is still up then.
        """

    async def beat(self, heartbeat: bytes) -> None:
        """Send one heartbeat (QoS 0). It may be lost."""

    async def present(self, store: StoreId, held: int) -> None:
        """Say that we are here, and that the book holds records 1..`held` of this store for all we know (QoS 1).

        Raises RefusedError as `publish` does.
        """

    def acks(self) -> AsyncIterator[bytes]:
        """Application acks as they come, the retained one first. Never ends; raises LinkDownError with the link."""
