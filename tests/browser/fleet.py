"""A book with the demo's three cars, a firm's fleet and people of each role, served by `packbook web` on SQLite.

In:  an empty folder. Out: where it answers, and a buyer's way in.
"""

from __future__ import annotations

import asyncio
import io
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import uvicorn
from starlette.types import ASGIApp

import lived_fleet
from packbook.__main__ import main
from packbook.adapters.store import open_writer
from packbook.adapters.store.histories import SqlHistories
from packbook.adapters.store.judging import judge
from packbook.adapters.store.ledger import Ledger
from packbook.app.alert_watch import alert_rules, look
from packbook.clock import now_ms
from packbook.core.intake import Arrival
from packbook.settings import Settings
from packbook.testing.filled_fleet import DAY_MS, FLEETS, HOUR_MS, beats, crowd
from packwire.topics import Leaf, topic

PROFILES: Final = Path(__file__).parents[2] / "can_profiles"
BATTERY: Final = "demo-leaf-24-1"  # with the longest story
OTHER: Final = "demo-leaf-62-1"
PUBLIC: Final = "https://book.example"
STRANGER: Final = "00c0ffee00c0ffee"  # a box that says what nobody can believe
PASSWORD: Final = "correct horse battery staple"
PEOPLE: Final = {
    "owner": ("Satsuki", ("--battery", BATTERY, "--battery", OTHER)),
    "operator": ("Haruto", ()),
    "admin": ("Aoi", ()),
}
CROWD: Final = 64  # batteries of a firm: two pages of its list
TOLD: Final = "told.json"
GOODBYE_WAIT_MAX_S: Final = 20.0


@dataclass(frozen=True)
class Served:
    address: str
    token: str  # of a share link for a buyer
    invitation: str  # of somebody who has no password yet
    session: str  # box, store and number of a charge
    box: str = lived_fleet.box_of(BATTERY)
    states: dict[str, Any] = field(default_factory=dict)  # cookies of those who signed in, by role


@contextmanager
def demo_like(folder: Path) -> Iterator[Served]:
    fill(folder)
    with serve(folder) as served:
        yield served


def fill(folder: Path) -> None:
    """The book, its authority and its people, in a folder that may be copied before it is served."""
    file, settings = _settings(folder)
    lived_fleet.fill(settings, PROFILES)
    session = asyncio.run(_prepare(settings))
    link = _packbook(file, "share", BATTERY, "new", "--no-qr")
    (folder / "passphrase").write_text(PASSWORD, encoding="utf-8")
    _packbook(file, "ca", "init", "--root", f"{folder / 'root.pem'}", "--passphrase-file", f"{folder / 'passphrase'}")
    for fleet in FLEETS:
        _packbook(file, "token", "new", "--count", "3", "--fleet", fleet)
    for role, (name, more) in PEOPLE.items():
        _packbook(file, "user", "add", role, "--name", name, "--role", role, *more, typed=f"{PASSWORD}\n")
    invitation = _packbook(file, "user", "add", "guest", "--role", "viewer", "--link")
    told = {"token": link.rsplit("/", 1)[-1], "invitation": invitation.rsplit("/", 1)[-1], "session": session}
    (folder / TOLD).write_text(json.dumps(told), encoding="utf-8")


@contextmanager
def serve(folder: Path) -> Iterator[Served]:
    """By a process of its own. What its readers do stays in this folder."""
    file, _ = _settings(folder)
    told = json.loads((folder / TOLD).read_text(encoding="utf-8"))
    serving = [sys.executable, "-m", "packbook", "web", "--settings", str(file)]
    with subprocess.Popen(serving, stdout=subprocess.PIPE, text=True) as web:
        assert web.stdout is not None
        try:
            address = web.stdout.readline().split()[-1].rstrip("/")
            yield Served(address, **told)
        finally:
            web.terminate()
            web.wait(GOODBYE_WAIT_MAX_S)


def _settings(folder: Path) -> tuple[Path, Settings]:
    """Written anew each time: they name the folder."""
    file, database = folder / "packbook.toml", f"sqlite:///{folder / 'book.db'}"
    written = {"database_url": database, "accounts": "on", "public_url": PUBLIC, "enrol_url": PUBLIC, "web_port": 0}
    written |= {"ca_dir": str(folder / "ca")}
    file.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in written.items()), encoding="utf-8")
    return file, Settings(database_url=database, public_url=PUBLIC)


async def _prepare(settings: Settings) -> str:
    """A firm's cars beside the three, a box with a past, messages for the quarantine, and promises and alerts as
    `packbook collect` makes them. Gives the newest charge's place.
    """
    now = now_ms()
    async with open_writer(settings.database_url.get_secret_value(), "test") as database:
        refused = [Arrival(topic(STRANGER, leaf), b"\x00", now - HOUR_MS) for leaf in (Leaf.RECORD, Leaf.HEARTBEAT)]
        refused += [Arrival(topic(lived_fleet.box_of(OTHER), Leaf.RECORD), bytes((each,)), now) for each in range(3)]
        await Ledger(database).take(refused)
        await judge(database, lived_fleet.LAST_MS)
        await crowd(database, CROWD, now)
        await beats(database, lived_fleet.box_of(BATTERY), 12, now)
        rules = alert_rules(settings)
        for at_ms in (now - DAY_MS, now):  # some causes have to last before anybody is told
            await look(database, rules, at_ms=at_ms)
        [charge] = await SqlHistories(database).sessions(BATTERY, "charge", 1, 0)
    return "/".join((charge.provenance.box, charge.provenance.store, str(charge.provenance.seq)))


@contextmanager
def serving(app: ASGIApp) -> Iterator[str]:
    """An application of the test's own, on a free port of this machine."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [door]}, name="pages")
        thread.start()
        try:
            yield f"http://127.0.0.1:{door.getsockname()[1]}"  # who asks early waits in the socket's queue
        finally:
            server.should_exit = True
            thread.join(GOODBYE_WAIT_MAX_S)


def _packbook(settings: Path, *arguments: str, typed: str = "") -> str:
    """What the command printed last, run within this process: starting another takes longer than most commands."""
    printed = io.StringIO()
    with redirect_stdout(printed), patch("sys.stdin", io.StringIO(typed)):
        assert main([*arguments, "--settings", str(settings)]) == 0
    return printed.getvalue().strip().rpartition("\n")[2]
