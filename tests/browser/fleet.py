"""A book with the demo's three cars, served as an operator serves it: `packbook web` over SQLite.

In:  an empty folder. Out: where it answers, and a buyer's way in.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import lived_fleet
from packbook.settings import Settings

PROFILES: Final = Path(__file__).parents[2] / "can_profiles"
BATTERY: Final = "demo-leaf-24-1"  # with the longest story
PUBLIC: Final = "https://book.example"
GOODBYE_WAIT_MAX_S: Final = 20.0


@dataclass(frozen=True)
class Served:
    address: str
    token: str  # of a share link for a buyer


@contextmanager
def demo_like(folder: Path) -> Iterator[Served]:
    settings = folder / "packbook.toml"
    database = f"sqlite:///{folder / 'book.db'}"
    settings.write_text(f'database_url = "{database}"\npublic_url = "{PUBLIC}"\nweb_port = 0\n', encoding="utf-8")
    lived_fleet.fill(Settings(database_url=database, public_url=PUBLIC), PROFILES)
    link = _packbook("share", BATTERY, "new", "--no-qr", "--settings", str(settings))
    serving = [sys.executable, "-m", "packbook", "web", "--settings", str(settings)]
    with subprocess.Popen(serving, stdout=subprocess.PIPE, text=True) as web:
        assert web.stdout is not None
        try:
            yield Served(web.stdout.readline().split()[-1].rstrip("/"), link.rsplit("/", 1)[-1])
        finally:
            web.terminate()
            web.wait(GOODBYE_WAIT_MAX_S)


def _packbook(*arguments: str) -> str:
    done = subprocess.run([sys.executable, "-m", "packbook", *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()
