"""A gate, passports and formats in memory, so that pages can be looked at and tested without a database.

It does what the real ones do: counts, refuses, keeps what was read. `broken`: every write fails, as on a full disk.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

from packbook.clock import now_ms
from packbook.core.access import ALL_BATTERIES, AccessTable, Read
from packbook.core.passport import Fact, Histogram, Passport, Source
from packbook.core.share import Ended, Link
from packbook.ports.passports import PLAIN, Manner
from packbook.ports.trouble import StoreError
from packbook.web.access import Access


@dataclass(slots=True)
class MemoryGate:
    links: dict[bytes, Link] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    noted: list[Read] = field(default_factory=list)
    broken: bool = False

    async def link(self, digest: bytes) -> Link | None:
        return self.links.get(digest)

    async def open(self, digest: bytes, read: Read) -> Ended | None:
        self._refuse()
        link = self.links[digest]
        ended = link.ended(read.at_ms)
        if ended is None:
            self.links[digest] = replace(link, reads=link.reads + 1)
            self.noted.append(read)
        return ended

    async def note(self, reads: Sequence[Read]) -> None:
        self._refuse()
        self.noted += reads

    async def named(self, key: str) -> str | None:
        return self.names.get(key)

    async def reads(self, battery: str, limit: int, offset: int = 0) -> Sequence[Read]:
        found = [read for read in self.noted if read.battery == battery or read.battery.startswith(ALL_BATTERIES)]
        return found[::-1][offset:][:limit]

    async def links_of(self, battery: str) -> Sequence[Link]:
        of_battery = [link for link in self.links.values() if link.battery == battery]
        return sorted(of_battery, key=lambda link: (-link.made_ms, link.digest))

    async def keep_link(self, link: Link) -> None:
        self._refuse()
        self.links[link.digest] = link

    async def revoke_link(self, battery: str, link_id: str) -> None:
        self._refuse()
        for link in await self.links_of(battery):
            if link.id == link_id:
                self.links[link.digest] = replace(link, revoked_ms=link.revoked_ms or now_ms())
                return
        raise StoreError(f"battery {battery} has no link {link_id}")

    def _refuse(self) -> None:
        if self.broken:
            raise StoreError("database: disk full")


@dataclass(slots=True)
class MemoryPassports:
    kept: Mapping[str, Passport] = field(default_factory=dict)

    async def passport(self, battery: str) -> Passport | None:
        return self.kept.get(battery)

    async def said(self, battery: str) -> Mapping[str, tuple[Fact, ...]]:
        passport = self.kept.get(battery)
        facts = {} if passport is None else passport.facts
        return {name: tuple(f for f in some if f.source is Source.DECLARED) for name, some in facts.items()}


class PlainExports:
    """Field names and values, nothing signed."""

    suffixes: Mapping[str, str] = {"neutral": ".json", "sheet": ".sheet.pdf"}

    async def make(self, name: str, passport: Passport, manner: Manner = PLAIN) -> bytes:
        facts = {
            field: [list(fact.value.counts) if isinstance(fact.value, Histogram) else fact.value for fact in found]
            for field, found in passport.facts.items()
        }
        return json.dumps(
            {"format": name, "battery": passport.battery, "facts": facts, "manner": asdict(manner)}
        ).encode()


def memory_access(
    table: AccessTable, gate: MemoryGate | None = None, passports: Mapping[str, Passport] | None = None
) -> Access:
    return Access(table, gate or MemoryGate(), MemoryPassports(passports or {}), PlainExports())
