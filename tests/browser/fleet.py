"""A book with the demo's three cars and people of each role, served as an operator serves it: `packbook web` on SQLite.

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
from packbook.core.intake import Arrival
from packbook.settings import Settings
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
    file, database = folder / "packbook.toml", f"sqlite:///{folder / 'book.db'}"
    written = {"database_url": database, "accounts": "on", "public_url": PUBLIC, "enrol_url": PUBLIC, "web_port": 0}
    written |= {"ca_dir": str(folder / "ca")}
    file.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in written.items()), encoding="utf-8")
    settings = Settings(database_url=database, public_url=PUBLIC)
    lived_fleet.fill(settings, PROFILES)
    session = asyncio.run(_prepare(settings))
    link = _packbook(file, "share", BATTERY, "new", "--no-qr")
    (folder / "passphrase").write_text(PASSWORD, encoding="utf-8")
    _packbook(file, "ca", "init", "--root", f"{folder / 'root.pem'}", "--passphrase-file", f"{folder / 'passphrase'}")
    _packbook(file, "token", "new", "--count", "3", "--fleet", "lease")
    for role, (name, more) in PEOPLE.items():
        _packbook(file, "user", "add", role, "--name", name, "--role", role, *more, typed=f"{PASSWORD}\n")
    invitation = _packbook(file, "user", "add", "guest", "--role", "viewer", "--link")
    serving = [sys.executable, "-m", "packbook", "web", "--settings", str(file)]
    with subprocess.Popen(serving, stdout=subprocess.PIPE, text=True) as web:
        assert web.stdout is not None
        try:
            address = web.stdout.readline().split()[-1].rstrip("/")
            yield Served(address, link.rsplit("/", 1)[-1], invitation.rsplit("/", 1)[-1], session)
        finally:
            web.terminate()
            web.wait(GOODBYE_WAIT_MAX_S)


async def _prepare(settings: Settings) -> str:
    """Something for the quarantine, and promises as `packbook collect` judges them. Gives the newest charge's place."""
    async with open_writer(settings.database_url.get_secret_value(), "test") as database:
        await Ledger(database).take([Arrival(topic(STRANGER, Leaf.RECORD), b"\x00", lived_fleet.LAST_MS)])
        await judge(database, lived_fleet.LAST_MS)
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
