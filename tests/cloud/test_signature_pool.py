"""Signatures checked by other processes: the same readings as without them, whatever happens to a process."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from packbook.adapters.signature_pool import SHARE_LEAST, SignaturePool
from packbook.core import intake
from packbook.core.intake import Arrival, Entry, Quarantine, Reason, Unready
from packbook.testing.scripted_box import ScriptedBox
from packwire.ids import key_id_of
from processes import children_of

BOXES = 20


@pytest.fixture
async def pool() -> AsyncIterator[SignaturePool]:
    made = await asyncio.to_thread(SignaturePool, 2)
    yield made
    await asyncio.to_thread(made.close)


@pytest.fixture
def boxes() -> list[ScriptedBox]:
    made = [ScriptedBox(name=f"box-{number}") for number in range(BOXES)]
    for box in made:
        box.life()
    return made


def mixed(boxes: list[ScriptedBox]) -> list[Arrival]:
    return [message for step in zip(*(box.arrivals for box in boxes), strict=True) for message in step]


def forged(arrival: Arrival) -> Arrival:
    """The last byte of its signature is another one."""
    return replace(arrival, payload=arrival.payload[:-1] + bytes([arrival.payload[-1] ^ 1]))


async def test_processes_read_what_the_collector_would(pool: SignaturePool, boxes: list[ScriptedBox]) -> None:
    """Half of the boxes are known, the others' hellos are among the rest; forgeries, and what is no record at all."""
    known = {(box.box, key_id_of(box.public_key)): box.public_key for box in boxes[::2]}
    arrivals = mixed(boxes)
    arrivals[50:60] = [forged(arrival) for arrival in arrivals[50:60]]
    arrivals += [Arrival("somewhere/else", b"?", 0), replace(arrivals[0], payload=b"?"), arrivals[-1]]
    readings = await pool.read_all(arrivals, known)
    assert readings == intake.read_all(arrivals, known)
    refused = [reading.reason for reading in readings if isinstance(reading, Quarantine)]
    assert refused == [Reason.BAD_SIGNATURE] * 10 + [Reason.NOT_OURS, Reason.MALFORMED]
    assert not any(isinstance(reading, Unready) for reading in readings)


async def test_a_process_that_dies_costs_nobody_a_record(
    pool: SignaturePool, boxes: list[ScriptedBox], caplog: pytest.LogCaptureFixture
) -> None:
    """Memory ran out, an operator's mistake: the collector checks itself, and goes on with a new one."""
    known = {(box.box, key_id_of(box.public_key)): box.public_key for box in boxes}
    arrivals = mixed(boxes)
    before = set(children_of(os.getpid()))
    expected = intake.read_all(arrivals, known)
    assert await pool.read_all(arrivals, known) == expected
    begun = set(children_of(os.getpid())) - before
    for pid in begun:
        os.kill(pid, signal.SIGKILL)
    both = await asyncio.gather(pool.read_all(arrivals, known), pool.read_all(arrivals, known))
    assert both == [expected, expected]
    assert "another one begins" in caplog.text
    assert await pool.read_all(arrivals, known) == expected
    assert set(children_of(os.getpid())) - before - begun


async def test_few_records_begin_no_process(pool: SignaturePool) -> None:
    """A book of ten cars hears a record a minute: a process for its signatures would be memory for nothing."""
    box = ScriptedBox()
    box.life()
    assert len(box.arrivals) < SHARE_LEAST
    before = set(children_of(os.getpid()))
    readings = await pool.read_all(box.arrivals, {})
    assert all(isinstance(reading, Entry) for reading in readings)
    assert set(children_of(os.getpid())) == before
