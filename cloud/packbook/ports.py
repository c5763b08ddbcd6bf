"""What the book needs from outside, as protocols: adapters fill them in production, fakes fill them in tests."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final, Protocol

from packbook.core.access import Read
from packbook.core.accounts import (
    EVERYWHERE,
    Account,
    AccountAct,
    ApiKey,
    ExternalIdentity,
    OpenSession,
    Reach,
    Role,
    Visit,
    Who,
)
from packbook.core.alerts import OPEN, Alert, Kind, Severity, State
from packbook.core.fleet import FleetModel
from packbook.core.fleet_boxes import BoxLife, BoxLine, BoxQuery, Fit
from packbook.core.fleet_papers import AuditQuery, AuditRow, CodeLine, MessageDetail, MessageQuery, Messages
from packbook.core.fleet_reports import Life
from packbook.core.fleet_row import Judged
from packbook.core.fleet_table import FleetQuery, FleetRow
from packbook.core.history import (
    Battery,
    BoxRow,
    CellsPoint,
    EventRow,
    HeartbeatRow,
    Provenance,
    SessionRow,
    SohPoint,
    UsageTotals,
)
from packbook.core.intake import Arrival, Reading
from packbook.core.labels import Label
from packbook.core.live import Look
from packbook.core.ouranos import PartEntry
from packbook.core.passport import Fact, Passport
from packbook.core.share import Ended, Link

_wall: Final[ContextVar[str | None]] = ContextVar("tenant's wall", default=None)


@contextmanager
def walled(tenant: str | None) -> Iterator[None]:
    """While open, a store that can shows no rows of other tenants: a second wall behind `Histories.within`.

    Ambient on purpose: it is there for the query that forgot to ask. None: no wall.
    """
    before = _wall.set(tenant)
    try:
        yield
    finally:
        _wall.reset(before)


def walled_in() -> str | None:
    """Behind whose wall we are."""
    return _wall.get()


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


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A message that could not be believed, kept with the reason."""

    id: int
    received_ms: int
    topic: str
    reason: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Holding:
    """What the book holds of one store, committed: 1..`upto`, and `beyond`, rising, past a hole.

    `head`: digest of record `upto`; a box that has another one there knows that its store has two histories.
    `resend_from`: the book misses records from here on, perhaps such as it held once.
    """

    box: str
    store: str
    upto: int
    beyond: tuple[int, ...]
    head: bytes | None = None
    resend_from: int | None = None


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of one batch of messages. All of it is on disk."""

    holdings: tuple[Holding, ...]  # of every store that a believed record named, duplicates included
    accepted: int
    duplicates: int
    unready: int
    quarantined: Mapping[str, int]  # reason -> how many


class Incoming(Protocol):
    """One message of a box, on its way into the ledger."""

    @property
    def topic(self) -> str:
        """The MQTT topic that the box published it on."""

    @property
    def payload(self) -> bytes: ...

    @property
    def qos(self) -> int:
        """0: it may be dropped where there are too many."""

    def acknowledge(self) -> None:
        """To whoever handed it over, once it is on disk. Else it comes again."""

    def pause(self) -> None:
        """No more for now: the inbox is full."""


class Source(Protocol):
    """Where messages of boxes come from, in place of a subscription at the broker."""

    @property
    def connected(self) -> bool: ...

    async def run(self, take: Callable[[Incoming], None]) -> None:
        """Until cancelled; trouble is waited out."""

    def resume(self) -> None:
        """There is room again."""


class Observer(Protocol):
    """Is told what the collector does. Must be quick, and never raises."""

    def committed(self, batch: Sequence[Arrival], taken: Taken) -> None:
        """All of it is on disk and acknowledged."""


class Unobserved:
    """Nobody looks."""

    def committed(self, batch: Sequence[Arrival], taken: Taken) -> None:
        pass


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether this process can do its work now; `checks`: each part, with a word for what is wrong. No secrets."""

    ready: bool
    checks: Mapping[str, str]


class Condition(Protocol):
    """How this process is, for programs that watch it."""

    async def readiness(self) -> Readiness: ...

    async def metrics(self) -> tuple[bytes, str]:
        """In Prometheus' format, and its content type."""


class Ledger(Protocol):
    """Write side of the store."""

    async def read(self, arrivals: Sequence[Arrival]) -> Sequence[Reading]:
        """What these are, while a batch before may still be on its way. Nothing is kept. Raises StoreError."""

    async def keep(self, readings: Sequence[Reading]) -> Taken:
        """Everything in one transaction. Raises StoreError: then nothing was kept and nothing may be acknowledged."""


class Histories(Protocol):
    """Read side of the store: what views and the API may ask. An unknown battery gives None or an empty list."""

    def within(self, reach: Reach) -> Histories:
        """The same questions, answered as if nothing outside the reach existed."""

    async def batteries(self, limit: int | None = None, offset: int = 0) -> Sequence[Battery]:
        """In the order of their ids. `limit` None: all."""

    async def battery(self, battery: str) -> Battery | None: ...

    async def has(self, battery: str) -> bool:
        """Whether `battery` would find it, for who needs nothing of its head."""

    async def version(self, battery: str) -> str | None:
        """Another one whenever something of this battery's history changed, or what its fleet taught. None: unknown."""

    async def soh_series(self, battery: str, limit: int | None = None, offset: int = 0) -> Sequence[SohPoint]:
        """Oldest first. `limit` None: all."""

    async def sessions(
        self,
        battery: str,
        kind: str | None = None,
        limit: int = 200,
        offset: int = 0,
        *,
        since_ms: int | None = None,
        until_ms: int | None = None,
    ) -> Sequence[SessionRow]:
        """Newest first. `kind`: charge, drive, rest or None for all.

        `since_ms`, `until_ms`: only those that began from then on, and before then; then no undated ones.
        """

    async def session(self, battery: str, source: Provenance) -> SessionRow | None:
        """The one that this record tells of."""

    async def usage(self, battery: str) -> UsageTotals | None:
        """Newest totals, the stores of all boxes of this battery added up."""

    async def events(self, battery: str, limit: int = 100, offset: int = 0) -> Sequence[EventRow]:
        """Newest first."""

    async def cells(self, battery: str, limit: int | None = None, offset: int = 0) -> Sequence[CellsPoint]:
        """How far the cells were apart in quiet. Oldest first, at most two a day. `limit` None: all."""

    async def fleet_model(self, family: str) -> FleetModel | None:
        """What batteries with this pack taught last; None: too few of them, or not learned yet."""

    async def purposes(self, battery: str) -> Mapping[str, Sequence[str] | None]:
        """What the owner agreed to, by the stores whose word counts now; for `core.consent.may_leave`."""

    async def boxes(self, limit: int | None = None, offset: int = 0) -> Sequence[BoxRow]:
        """In the order of their ids. `limit` None: all."""

    async def heartbeats(self, box: str, since_ms: int) -> Sequence[HeartbeatRow]:
        """The last of each hour, oldest first, as far back as they are kept."""

    async def quarantine(self, limit: int = 100) -> Sequence[Quarantined]:
        """Newest first."""


class Watch(Protocol):
    """Whether something changed: asked about once a second while somebody listens, so it reads little."""

    async def look(self) -> Look:
        """All of the book as it is now. Raises StoreError."""


class Enrolment(Protocol):
    """Where boxes get their certificates. Certificates and requests are DER."""

    @property
    def authorities(self) -> Sequence[bytes]:
        """Root first, then those that issue."""

    @property
    def addresses(self) -> Mapping[str, object]:
        """What a box is told besides: where its broker is."""

    async def enrol(self, request: bytes, code: str, address: str) -> bytes:
        """A certificate for a one-time code. Raises BadRequest, NoCertificate, StoreError or AuthorityError."""

    async def renew(self, request: bytes, shown: bytes | None, address: str) -> bytes:
        """The next certificate of a box that shows its present one, or whose present one has run out."""


class Signer(Protocol):
    """Holds the book's key: a file today, a secure element behind the same port later."""

    @property
    def public_key(self) -> bytes:
        """Raw 32-byte Ed25519 public key."""

    def sign(self, data: bytes) -> bytes:
        """Raw 64-byte Ed25519 signature."""


@dataclass(frozen=True, slots=True)
class SignedCheckpoint:
    """The book's signed word that it held records 1..`upto` of a store."""

    box: str
    store: str
    upto: int
    battery: str  # of record `upto`
    at_ms: int
    signed: bytes


class Evidence(Protocol):
    """What a stranger may take away to check a history without us."""

    @property
    def book_key(self) -> bytes:
        """Raw Ed25519 public key that checkpoints and bundles are signed with."""

    async def bundle(self, battery: str) -> bytes | None:
        """One file with everything about this battery. None: not in this book. Raises PackbookError."""

    async def checkpoints(
        self, battery: str | None = None, reach: Reach = EVERYWHERE, limit: int | None = None, offset: int = 0
    ) -> Sequence[SignedCheckpoint]:
        """The newest of every store, of one battery or all within the reach, by box and store. `limit` None: all."""


class Passports(Protocol):
    """The neutral record of each battery, put together when asked for."""

    async def passport(self, battery: str) -> Passport | None:
        """None: not in this book. Raises PackbookError."""

    async def said(self, battery: str) -> Mapping[str, tuple[Fact, ...]]:
        """What people declared and signed of it, by field: less than a passport, and at once. Raises PackbookError."""


class PartsRegister(Protocol):
    """A platform where batteries are registered as parts and given a trace id."""

    async def register(self, entry: PartEntry) -> str:
        """The trace id; the same when asked again. Raises PackbookError."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How a format for people is made: in which language, and which page it leads back to (a path, or an address)."""

    language: str = "en"
    page: str | None = None


PLAIN: Final = Manner()


class Exports(Protocol):
    """The formats that a passport leaves in, each made from a record already cut down to what its reader may see."""

    @property
    def suffixes(self) -> Mapping[str, str]:
        """Of the file, by the format's name."""

    async def make(self, name: str, passport: Passport, manner: Manner = PLAIN) -> bytes:
        """`name`: one of `suffixes`. Raises NotMade."""


class Gate(Protocol):
    """Share links, the names batteries are found by, and the record of who read what of one battery's own life."""

    async def link(self, digest: bytes) -> Link | None:
        """As it stands; it is not opened by that."""

    async def open(self, digest: bytes, read: Read) -> Ended | None:
        """Counted and put on record together, or neither. Else why it does not open. Raises PackbookError."""

    async def note(self, reads: Sequence[Read]) -> None:
        """Put on record. Raises PackbookError: then what was asked for must not be shown."""

    async def named(self, key: str) -> str | None:
        """The battery that has this identifier (`core.identifiers`), the one that got it last. None: none of ours."""

    async def reads(self, battery: str, limit: int, offset: int = 0) -> Sequence[Read]:
        """Newest first."""

    async def links_of(self, battery: str) -> Sequence[Link]:
        """All that were made for this battery, newest first."""

    async def keep_link(self, link: Link) -> None:
        """Raises PackbookError."""

    async def revoke_link(self, battery: str, link_id: str) -> None:
        """From now on it opens nothing. Raises PackbookError, also if this battery has no such link."""


class Credentials(Protocol):
    """What others need to check the credentials that this book signed. All of it is public."""

    def did_document(self) -> bytes | None:
        """None: the book has no public address."""

    async def status_list(self, number: int) -> bytes | None:
        """A signed list of revocations. None: there is no such list. Raises PackbookError."""

    def schema(self) -> bytes: ...


# --- operators' views ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FleetPage:
    """One page of the list; `number` is the page given, which may be the last one before that asked for."""

    rows: tuple[FleetRow, ...]
    total: int
    number: int


@dataclass(frozen=True, slots=True)
class Choices:
    """What there is to filter by."""

    families: tuple[str, ...]
    packs: tuple[str, ...]
    fleets: tuple[str, ...]


class FleetList(Protocol):
    """The operator's list of batteries. A fixed number of questions to the store, however many batteries there are."""

    async def page(self, reach: Reach, query: FleetQuery, now_ms: int) -> FleetPage: ...

    async def rows(self, reach: Reach, query: FleetQuery, now_ms: int) -> Sequence[FleetRow]:
        """All that the wish leaves, in its order, whatever page it names."""

    async def figures(
        self, reach: Reach, query: FleetQuery, now_ms: int
    ) -> Sequence[tuple[float | None, float | None]]:
        """SoH and coverage in percent, of all that the wish leaves."""

    async def judged(self, reach: Reach, query: FleetQuery, now_ms: int) -> Sequence[tuple[FleetRow, Judged]]:
        """With what the book makes of each; without those that it has not looked at yet."""

    async def choices(self, reach: Reach) -> Choices: ...

    async def lives(self, reach: Reach, batteries: Sequence[str]) -> Sequence[Life]:
        """In the order asked for. What lies outside the reach is left out."""


@dataclass(frozen=True, slots=True)
class BoxPage:
    lines: tuple[BoxLine, ...]
    total: int
    number: int


class FleetBoxes(Protocol):
    """Boxes, the codes they enrol with, and how well their profiles fit."""

    async def page(self, reach: Reach, query: BoxQuery, now_ms: int) -> BoxPage: ...

    async def rows(self, reach: Reach, query: BoxQuery, now_ms: int) -> Sequence[BoxLine]:
        """All that the wish leaves, in its order, whatever page it names."""

    async def fleets(self, reach: Reach) -> Sequence[str]: ...

    async def one(self, reach: Reach, box: str) -> BoxLife | None:
        """None: not in this book, or outside the reach."""

    async def codes(self, reach: Reach, limit: int, offset: int) -> Sequence[CodeLine]:
        """Newest first."""

    async def fits(self, reach: Reach) -> Sequence[Fit]:
        """The profile with the most boxes first."""


class FleetPapers(Protocol):
    """What was refused, and who did what."""

    async def messages(self, reach: Reach, query: MessageQuery) -> Messages: ...

    async def message(self, reach: Reach, number: int) -> MessageDetail | None:
        """None: not in this book, or outside the reach."""

    async def sees_store(self, reach: Reach, box: str, store: str) -> bool: ...

    async def audit(self, reach: Reach, query: AuditQuery, limit: int) -> Sequence[AuditRow]:
        """Newest first, from the query's page on."""


class FleetDesk(Protocol):
    """What operators do, by acts of the running book; and what only it can read."""

    @property
    def why_no_codes(self) -> str | None:
        """Why no codes can be made here, by the setting that lacks. None: they can."""

    async def do(self, act: str, wish: Mapping[str, Any]) -> Any:  # noqa: ANN401 - JSON
        """One of `app.acts`. Raises PackbookError: then it was not done."""

    async def new_codes(self, count: int, fleet: str, days: float, replaces: str | None, who: str) -> Sequence[Label]:
        """Kept by their digests alone: this answer is the only one that holds them. Raises PackbookError."""

    def label(self, code: str, fleet: str, expires_ms: int) -> Label:
        """Of a code that was made before, to print it again. Raises PackbookError for what is no code."""

    def opened(self, payload: bytes) -> Mapping[str, Any] | str:
        """A record's envelope and what it says, by name, not believed; or why it cannot be opened."""


# --- accounts -----------------------------------------------------------------------------------------------------


class AccountProblem(PackbookError):
    """Not done. `kind` names the words that pages say it with (`account.problem.*`)."""

    def __init__(self, kind: str, text: str, *, wait_s: int | None = None) -> None:
        super().__init__(text)
        self.kind = kind
        self.wait_s = wait_s


@dataclass(frozen=True, slots=True)
class Session:
    """Of a browser that gave a right password. `half`: the second step is still to come, and it opens nothing."""

    who: Who
    half: bool


@dataclass(frozen=True, slots=True)
class Begun:
    """A session that just began: its token goes to the browser and is kept nowhere."""

    token: str
    half: bool
    language: str | None


@dataclass(frozen=True, slots=True)
class Offer:
    """A second step to be set up: into the app, and back with the app's first code."""

    secret: str
    sealed: str  # the same, as only the book can read it: goes through the form
    drawing: str  # SVG


class Accounts(Protocol):
    """Who comes, and what people do about their own account and admins about others' of their tenant.

    Digests are SHA-256 of tokens: the store holds no token. All but the first two raise AccountProblem.
    """

    async def by_session(self, digest: bytes) -> Session | None:
        """None: ended, expired, or never begun. Being asked for keeps a session alive."""

    async def by_key(self, digest: bytes) -> Who | None:
        """None: revoked, expired, or never made."""

    async def exist(self) -> bool:
        """Somebody can sign in."""

    async def sign_in(self, login: str, password: str, visit: Visit, before: bytes | None = None) -> Begun:
        """`before`: the session that this browser had; it ends."""

    async def second_step(self, digest: bytes, typed: str, visit: Visit) -> Begun:
        """The half session becomes a whole one, with another token."""

    async def vouched(
        self, account: str, visit: Visit, by: str, before: bytes | None = None, *, sign_on: bool = False
    ) -> Begun:
        """Signs in whom somebody else identified: `by` goes on record.

        `sign_on`: an identity provider did: a second step that he has here is asked for, and the session is short.
        """

    async def known_as(self, issuer: str, subject: str) -> Account | None:
        """Whoever is known to that issuer by this name."""

    async def identities(self, who: Who) -> Sequence[ExternalIdentity]: ...

    async def prove(self, who: Who, password: str, visit: Visit) -> None:
        """Whoever sits here knows the password, too."""

    async def unbind(self, who: Who, issuer: str, password: str, visit: Visit, here: bytes | None) -> None:
        """From now on that issuer's word opens nothing of his; all other sessions end."""

    async def sign_out(self, digest: bytes, visit: Visit) -> None: ...

    async def invited(self, digest: bytes) -> Account | None: ...

    async def accept(self, digest: bytes, password: str, visit: Visit) -> None:
        """The invited one sets his password. Once."""

    async def account(self, who: Who) -> Account: ...

    async def sessions(self, who: Who) -> Sequence[OpenSession]: ...

    async def end_sessions(self, who: Who, visit: Visit, only: str | None, but: bytes | None) -> None: ...

    async def set_password(self, who: Who, old: str, new: str, visit: Visit, here: bytes | None) -> None:
        """All other sessions end."""

    async def set_language(self, who: Who, language: str) -> None: ...

    async def offer_totp(self, who: Who) -> Offer: ...

    async def set_totp(self, who: Who, sealed: str, typed: str, visit: Visit, here: bytes | None) -> Sequence[str]:
        """Gives the recovery codes, once. All other sessions end."""

    async def drop_totp(self, who: Who, password: str, visit: Visit) -> None: ...

    async def recovery_left(self, who: Who) -> int: ...

    async def keys(self, who: Who) -> Sequence[ApiKey]: ...

    async def new_key(self, who: Who, note: str, scopes: Sequence[str], days: int, visit: Visit) -> str:
        """The key, once."""

    async def revoke_key(self, who: Who, prefix: str, visit: Visit) -> None: ...

    async def others(self, who: Who) -> Sequence[Account]:
        """Of the tenant, for its admin, himself among them."""

    async def acts(self, who: Who, limit: int) -> Sequence[AccountAct]: ...

    async def invite(self, who: Who, login: str, name: str, role: Role, batteries: Sequence[str], visit: Visit) -> str:
        """The token of a link to set a password by; to be handed over, for it is not sent."""

    async def invite_again(self, who: Who, account: str, visit: Visit) -> str: ...

    async def set_role(self, who: Who, account: str, role: Role, batteries: Sequence[str], visit: Visit) -> None: ...

    async def set_disabled(self, who: Who, account: str, disabled: bool, visit: Visit) -> None: ...


class Alerts(Protocol):
    """What operators are alerted to, as far as somebody's reach goes (docs/alerts.md)."""

    async def list(
        self,
        reach: Reach,
        states: Collection[State] = OPEN,
        *,
        kind: Kind | None = None,
        severity: Severity | None = None,
        box: str | None = None,
        battery: str | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> Sequence[Alert]:
        """Newest first. Raises StoreError."""

    async def acknowledge(self, number: int, who: str, note: str, reach: Reach = EVERYWHERE) -> Alert | None:
        """As it stands then; the first who did stays. None: no such alert within the reach. Raises PackbookError."""

    async def counts(self, reach: Reach) -> Mapping[tuple[Kind, Severity, State], int]:
        """Of those that are open. Raises StoreError."""


@dataclass(frozen=True, slots=True)
class Departure:
    """To an identity provider: where the browser goes, and what it must bring back in a cookie."""

    address: str
    sealed: str


@dataclass(frozen=True, slots=True)
class Homecoming:
    """Back from there. `begun` None: the identity was bound to the account that is signed in already."""

    begun: Begun | None
    onward: str


class SignOn(Protocol):
    """Sign-in by the word of an identity provider. All raise AccountProblem."""

    @property
    def name(self) -> str:
        """On the button."""

    @property
    def issuer(self) -> str: ...

    @property
    def required(self) -> bool:
        """Passwords open nothing of who is bound to the issuer, and nobody unbinds himself."""

    async def depart(self, back: str, onward: str, *, prompt: str | None = None, bind: Who | None = None) -> Departure:
        """`back`: our address that the browser returns to. `bind`: to whose account the identity is to be bound."""

    async def arrive(
        self, sealed: str, told: Mapping[str, str], back: str, who: Who, visit: Visit, before: bytes | None
    ) -> Homecoming:
        """`told`: what the address says that the browser came back with."""

    async def ending(self, back: str) -> str | None:
        """Where to sign out over there, too; None: that is not offered."""
