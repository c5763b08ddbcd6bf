"""A book with an authority and an open enrolment door, and boxes that enrol there: real TLS on a free port."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from empty_book import empty_book
from packbook.adapters import authority
from packbook.adapters.authority import Authority, fingerprint_of
from packbook.adapters.enrolment import Desk
from packbook.adapters.store import enrolment as shelf
from packbook.adapters.store import open_writer
from packbook.adapters.store.database import Database
from packbook.app.enrolment import told_to_boxes
from packbook.app.serve_est import est_door, serve_est
from packbook.clock import now_ms
from packbook.core.enrolment import MS_PER_DAY, Code
from packbook.settings import Settings
from packbox.adapters.enrolment_file import Invitation
from packbox.adapters.identity import make_key
from packbox.adapters.key_store import FileKeyStore
from packbox.core.stamp import BootId, Stamp
from packwire.enrolment import code_digest, new_code
from packwire.ids import box_id_of

HOST = "127.0.0.1"
OPERATOR = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OPERATOR_KEY = OPERATOR.public_key().public_bytes_raw()
BOOK_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33))).public_key().public_bytes_raw()


class SetClock:
    """A box's clock that the test sets; None: not set yet."""

    def __init__(self) -> None:
        self.wall_ms: int | None = now_ms()

    def now(self) -> Stamp:
        return Stamp(BootId("00" * 8), 0, self.wall_ms)


@dataclass
class Box:
    """What one box has: a data folder with a record key, a key store, a clock."""

    data_dir: Path
    keys: FileKeyStore = field(init=False)
    clock: SetClock = field(default_factory=SetClock)

    def __post_init__(self) -> None:
        key = make_key(self.data_dir / "key/box.pem")
        self.keys = FileKeyStore(self.data_dir / "key", key)

    @property
    def id(self) -> str:
        return box_id_of(self.keys.records.public_key)


@dataclass
class Book:
    """`ahead_ms`: how far the test set the book's clock ahead."""

    settings: Settings
    database: Database
    authority: Authority
    root: authority.Root
    url: str = ""
    ahead_ms: int = 0
    desk: Desk = field(init=False)

    def __post_init__(self) -> None:
        told = told_to_boxes(self.settings, BOOK_KEY)
        self.desk = Desk(self.database, self.authority, self.now_ms, days=365, addresses=told)

    def now_ms(self) -> int:
        return now_ms() + self.ahead_ms

    @property
    def fingerprint(self) -> str:
        return fingerprint_of(self.root.certificate)

    async def code(self, *, days: float = 30, fleet: str = "default", replaces: str | None = None) -> str:
        code = new_code()
        kept = Code(code_digest(code), fleet, self.now_ms(), self.now_ms() + int(days * MS_PER_DAY), replaces)
        async with self.database.transaction() as connection:
            await shelf.add_codes(connection, [kept])
        return code

    async def invitation(self, url: str | None = None, **asked: object) -> Invitation:
        return Invitation(url or self.url, await self.code(**asked), self.fingerprint)  # type: ignore[arg-type]  # the test's own

    async def boxes(self) -> dict[str, object]:
        async with self.database.transaction() as connection:
            return {box.box: box for box in await shelf.boxes(connection)}


@pytest.fixture(scope="session")
def ceremony(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, authority.Root]:
    folder = tmp_path_factory.mktemp("ca")
    root = authority.make_root("Test fleet", now_ms())
    authority.add_issuer(root, folder, now_ms())
    Authority(folder).write_revoked([], now_ms())
    authority.make_server(root, [HOST, "localhost"], folder, now_ms())
    return folder, root


@pytest.fixture
async def book(tmp_path: Path, ceremony: tuple[Path, authority.Root]) -> AsyncIterator[Book]:
    folder, root = ceremony
    settings = Settings(
        database_url=empty_book(tmp_path / "book.db"),
        ca_dir=folder,
        enrol_host=HOST,
        enrol_port=0,
        enrol_cert_file=folder / f"server-{HOST}.pem",
        enrol_key_file=folder / f"server-{HOST}.key",
        box_broker="mqtts://broker.test:8883",
        box_operator_key=OPERATOR_KEY.hex(),
    )
    async with open_writer(settings.database_url.get_secret_value(), "test") as database:
        running = Book(settings, database, Authority(folder), root)
        with est_door(settings) as door:
            running.url = f"https://{HOST}:{door.getsockname()[1]}"
            serving = asyncio.create_task(serve_est(settings, running.desk, door))
            yield running
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path / "box")


@pytest.fixture
def other_box(tmp_path: Path) -> Box:
    return Box(tmp_path / "other")
