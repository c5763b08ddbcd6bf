"""Sealed records for tests that need a journal with something in it, and a log for tests that need a car."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import msgspec

from packbox.adapters import snapshot
from packbox.adapters.identity import make_key
from packbox.adapters.journal import JOURNAL_FILE, SqliteJournal
from packbox.adapters.profile_dir import Catalogue
from packbox.app.mind import Bookmark, Saved
from packbox.core.box import BoxPlan, start
from packbox.core.decode import Decoder
from packbox.core.frames import FrameBatch
from packbox.core.record import BatteryId, BoxId, SealedRow
from packbox.core.signals import Refused
from packbox.sim.source import open_sim
from packbox.testing.sim_clock import SimClock
from packwire.ids import BootId, box_id_of, key_id_of
from packwire.messages import Message, Session
from packwire.seal import Envelope, digest, seal

BOOT = BootId("b007" * 4)
MINUTE_MS = 60_000
BEGIN_WALL_MS = 1_760_000_000_000  # 2025-10-09 08:53:20 UTC


def saved_state(box: str, refused: Refused) -> bytes:
    """What a box has in its journal that refused so much and saw nothing else."""
    plan = BoxPlan(Decoder(Catalogue().profile("generic-obd")), BoxId(box), BatteryId("test"), "configured", "test")
    return msgspec.msgpack.encode(Saved(Bookmark(), snapshot.dump(replace(start(plan), refused=refused))))


def fill(
    data_dir: Path, messages: Iterable[Message], *, wall: bool = True, refused: Refused | None = None
) -> SqliteJournal:
    """A box's data folder with these messages as records, a minute apart. The journal is left open."""
    key = make_key(data_dir / "key" / "box.pem")
    box = box_id_of(key.public_key)
    journal = SqliteJournal(data_dir / JOURNAL_FILE, BoxId(box), digest, SimClock())
    head = journal.open().head
    previous = head.previous
    state = saved_state(box, refused or Refused())
    for seq, message in enumerate(messages, head.next_seq):
        mono_ms = seq * MINUTE_MS
        wall_ms = BEGIN_WALL_MS + mono_ms if wall else None
        envelope = Envelope(box, head.store, seq, previous, BOOT, mono_ms, wall_ms)
        sealed = seal(message, envelope, key.sign, key_id_of(key.public_key))
        session = message.session if isinstance(message, Session) else None
        journal.commit(state, [SealedRow(seq, message.KIND, session, mono_ms, wall_ms, sealed)])
        previous = digest(sealed)
    return journal


def write_log(path: Path, spec: str) -> Path:
    """What a simulated car says, as a candump log."""

    async def lines() -> list[str]:
        said = []
        async for item in open_sim(spec, None).inputs():
            if isinstance(item, FrameBatch) and item.wall_offset_ms is not None:
                at_us = item.mono_ns // 1000 + item.wall_offset_ms * 1000
                for t, can_id, length, data in zip(
                    at_us.tolist(), item.can_id.tolist(), item.length.tolist(), item.data, strict=True
                ):
                    said.append(
                        f"({t // 10**6}.{t % 10**6:06}) can0 {can_id:03X}#{data[:length].tobytes().hex().upper()}"
                    )
        return said

    path.write_text("\n".join(asyncio.run(lines())) + "\n")
    return path
