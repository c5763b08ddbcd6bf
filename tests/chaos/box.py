"""Scripted boxes in a process of their own, which may be killed at any instant.

Usage: `python box.py FOLDER HOST PORT FIRST COUNT EVERY_S`
In:  a folder for their journal; a broker; which boxes these are.
Out: records, journalled (fsync) before they are sent, sent again until the book's ack names them.
What the newest ack says is believed, also when it takes back what an earlier one said: a restored book has forgotten.
SIGUSR1: make no more records; those that there are are sent on. They stay in the journal, where the judge reads them.
"""

from __future__ import annotations

import asyncio
import random
import signal
import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import aiomqtt

from packbook.testing.scripted_box import HOUR_MS, ScriptedBox
from packwire.ack import Ack, decode_ack
from packwire.presence import Standing, Status, encode_status
from packwire.seal import digest
from packwire.topics import Leaf, parse, topic

AGAIN_AFTER_S: Final = 3.0
AGAIN_MAX_S: Final = 24.0  # a book that is behind must not be given the same records again and again
STANDING_EVERY_S: Final = 5.0
WINDOW: Final = 40  # records on their way at once
STEP_MS: Final = 60_000  # of the box's clock, between two records: a run must not end in the future
ANSWER_WAIT_MAX_S: Final = 10


@dataclass
class Chaotic:
    """One box, what it made and what the book said of it."""

    box: ScriptedBox
    ack: Ack = field(init=False)
    sent_s: dict[int, float] = field(default_factory=dict)
    again_s: float = AGAIN_AFTER_S

    def __post_init__(self) -> None:
        self.ack = Ack(self.box.store)

    def hear(self, ack: Ack) -> None:
        if ack.upto != self.ack.upto:
            self.again_s = AGAIN_AFTER_S
        self.ack = ack

    def due(self, now_s: float) -> list[int]:
        waiting = (seq for seq in range(self.ack.upto + 1, len(self.box.sealed) + 1) if not self.ack.holds(seq))
        window = [seq for seq, _ in zip(waiting, range(WINDOW), strict=False)]
        due = [seq for seq in window if now_s - self.sent_s.get(seq, -AGAIN_MAX_S) >= self.again_s]
        if any(seq in self.sent_s for seq in due):
            self.again_s = min(2 * self.again_s, AGAIN_MAX_S)
        self.sent_s |= dict.fromkeys(due, now_s)
        return due


def journal_at(folder: Path) -> sqlite3.Connection:
    journal = sqlite3.connect(folder / "journal.db")
    journal.execute("PRAGMA journal_mode = WAL")
    journal.execute("PRAGMA synchronous = FULL")
    journal.execute(
        "CREATE TABLE IF NOT EXISTS record (box TEXT, store TEXT, seq INTEGER, sealed BLOB, PRIMARY KEY (box, seq))"
    )
    return journal


def woken(name: str, journal: sqlite3.Connection) -> ScriptedBox:
    """As it was when it died."""
    box = ScriptedBox(name=name)
    query = "SELECT sealed FROM record WHERE box = ? ORDER BY seq"
    box.sealed = [sealed for (sealed,) in journal.execute(query, (box.box,))]
    box.seq = box.sessions = len(box.sealed)
    box.mono_ms += STEP_MS * box.seq
    if box.sealed:
        box.previous = digest(box.sealed[-1])
    return box


def speak(box: ScriptedBox, journal: sqlite3.Connection) -> None:
    """One more record: durable here before anybody else sees it."""
    kinds: tuple[Callable[[], bytes], ...] = (
        box.drive, box.rest, box.charge, lambda: box.usage(charge_in_ah=float(box.seq)), box.soh, box.event,
    )  # fmt: skip
    sealed = box.hello(f"CHAOS-{box.name}") if box.seq == 0 else kinds[box.seq % len(kinds)]()
    box.mono_ms += STEP_MS - HOUR_MS
    with journal:
        journal.execute("INSERT INTO record VALUES (?, ?, ?, ?)", (box.box, box.store, box.seq, sealed))


async def live(boxes: list[Chaotic], journal: sqlite3.Connection, every_s: float) -> None:
    making = asyncio.Event()
    making.set()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, making.clear)
    dice = random.Random()  # which record comes when is luck in any case: the system's speed decides

    async def make(one: Chaotic) -> None:
        while True:
            await asyncio.sleep(dice.uniform(0.5, 1.5) * every_s)
            if not making.is_set():
                return
            speak(one.box, journal)

    async with asyncio.TaskGroup() as work:
        for one in boxes:
            work.create_task(make(one))
        while True:
            with suppress(aiomqtt.MqttError, TimeoutError):
                await connected(boxes)
            await asyncio.sleep(0.3)


async def connected(boxes: list[Chaotic]) -> None:
    """For as long as the connection lives."""
    by_id = {one.box.box: one for one in boxes}
    async with aiomqtt.Client(
        HOST, PORT, protocol=aiomqtt.ProtocolVersion.V5, timeout=ANSWER_WAIT_MAX_S, keepalive=10
    ) as client:

        async def hear() -> None:
            async for message in client.messages:
                address = parse(str(message.topic))
                assert address is not None
                assert isinstance(message.payload, bytes)
                ack = decode_ack(message.payload)
                one = by_id[address.box]
                if ack.store == one.box.store:
                    one.hear(ack)

        hearing = asyncio.create_task(hear())
        try:
            for one in boxes:
                one.sent_s.clear()
                await client.subscribe(topic(one.box.box, Leaf.ACK), qos=1)
            told_s = -STANDING_EVERY_S
            while not hearing.done():
                now_s = time.monotonic()
                if now_s - told_s >= STANDING_EVERY_S:
                    told_s = now_s
                    for one in boxes:
                        status = Status(online=True, standing=Standing(one.box.store, one.ack.upto))
                        await client.publish(topic(one.box.box, Leaf.STATUS), encode_status(status), qos=1, retain=True)
                for one in boxes:
                    for seq in one.due(now_s):
                        await client.publish(topic(one.box.box, Leaf.RECORD), one.box.sealed[seq - 1], qos=1)
                await asyncio.sleep(0.1)
            hearing.result()
        finally:
            hearing.cancel()
            await asyncio.gather(hearing, return_exceptions=True)


if __name__ == "__main__":
    FOLDER, HOST, PORT, FIRST, COUNT, EVERY_S = (
        Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]), float(sys.argv[6]),
    )  # fmt: skip
    with journal_at(FOLDER) as opened:
        fleet = [Chaotic(woken(f"{number}", opened)) for number in range(FIRST, FIRST + COUNT)]
        asyncio.run(live(fleet, opened, EVERY_S))
