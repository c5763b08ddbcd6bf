"""An inspection with consent asks each thing once, and no more."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from packbox.adapters.isotp import FrameTester
from packbox.adapters.profile_dir import Catalogue
from packbox.app.attend import ask_once
from packbox.core.frames import FrameBatch
from packbox.core.inspection import CELL_ROWS, Collector
from packbox.sim.units import SimUnits
from packbox.testing.sim_clock import LoopClock
from packbox.testing.sim_ecu import BOX, SimBus, SimBusSource, SimLink

pytestmark = pytest.mark.looptime

TRUTH = {"aux_voltage_v": 14.2, "capacity_reported_ah": 55.5, "cell_voltage_min_v": 3.71, "cell_voltage_max_v": 3.74}
SEND_ALL = 0x30


def awake(from_s: float, to_s: float) -> FrameBatch | None:
    """One frame of the car's own a batch shows that it is awake."""
    del from_s
    return FrameBatch(
        LoopClock().now().boot,
        None,
        np.array([round((to_s - 0.01) * 1e9)], np.int64),
        np.zeros(1, np.uint8),
        np.array([0x1DB], np.uint32),
        np.zeros(1, np.uint8),
        np.array([8], np.uint8),
        np.zeros((1, 8), np.uint8),
    )


async def test_each_question_is_asked_once() -> None:
    """A minute in a yard: everything the profile knows, then silence."""
    leaf = Catalogue().profile("nissan-leaf")
    bus = SimBus()
    SimUnits(bus, leaf, lambda: TRUTH, lengths={"lbc-state": 41})
    tester = FrameTester(SimLink(bus))
    source = SimBusSource(bus, asyncio.get_running_loop().time() + 60, awake)
    heard = await ask_once(leaf, source, tester, LoopClock(), 120.0)
    questions = [frame for frame in bus.sent_by(BOX) if frame.data[0] != SEND_ALL]
    asked = [(frame.key, frame.data[1 : 1 + frame.data[0]]) for frame in questions]
    assert len(asked) == len(set(asked))
    assert {request for _, request in asked} == {poll.request for poll in leaf.polls}
    collector = Collector(leaf)
    for batch in heard:
        collector.hear(batch)
    assert len(collector.rows(CELL_ROWS)) == 96
    assert collector.trouble_codes()
    assert tester.frames_sent == len(bus.sent_by(BOX))
