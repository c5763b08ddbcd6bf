"""A simulated car as a table of samples, for tests that break the table and ask what the estimator says then."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np

from packbox.adapters.sample_csv import Block
from packbox.app.estimate_feed import DayEnd, Feeder
from packbox.core.frames import FloatArray
from packbox.core.packs import Chemistry, PackFacts
from packbox.core.soh import panel
from packbox.core.soh.panel import Verdict
from packbox.sim import pack as sim_pack
from packbox.sim.car import LEAF_24, Awake, CarModel, SimCar

SOC: Final = np.linspace(0.0, 100.0, 41)
FIRST_DAY: Final = 20_000
LEAF: Final = replace(LEAF_24, bms=replace(LEAF_24.bms, offset_a=-0.3))


def curve(of: sim_pack.OcvCurve) -> tuple[tuple[float, float], ...]:
    return tuple(zip(SOC.tolist(), of.volts(SOC / 100.0).tolist(), strict=True))


PACK: Final = PackFacts(
    "simulated", Chemistry.LMO, 96, 65.4, "as built", 65.4, ocv=curve(sim_pack.LMO), ocv_source="as built"
)


class Driven(NamedTuple):
    """Ten-second rows, and what the pack really holds at the end of each day."""

    block: Block
    capacity_ah: tuple[float, ...]


@lru_cache(maxsize=4)
def driven(days: int = 60, model: CarModel = LEAF, seed: int = 4) -> Driven:
    one = SimCar(model, seed, FIRST_DAY)
    begins_ms = one.day_begins_ms(0)
    parts: list[FloatArray] = []
    for stretch in one.stretches(begins_ms):
        if stretch.start_ms >= one.day_begins_ms(days):
            break
        if isinstance(stretch, Awake):
            each = round(10.0 / stretch.step_s)
            rows = np.array([stretch.sensed_a, stretch.voltage_v, np.floor(stretch.soc_bms_pct), stretch.temp_degc])[
                :, ::each
            ]
            ohm = sim_pack.resistance_ohm(model.pack, stretch.truth, float(rows[3, 0]))
            on, off = (rows[:, [end]] for end in (0, -1))  # the key is turned: no current but the sensor's offset
            for key, amps in ((on, stretch.current_a[0]), (off, stretch.current_a[each * (rows.shape[1] - 1)])):
                key[:2, 0] = model.bms.offset_a, key[1, 0] - ohm * amps
            rows = np.concatenate((on, rows, off), axis=1)
            at_s = (stretch.start_ms - begins_ms) / 1000.0 + 10.0 * np.arange(rows.shape[1])
            parts.append(np.vstack((at_s, rows)))
    at_s, amps, volts, soc, temp = np.concatenate(parts, axis=1)
    at_s, kept = np.unique(np.round(at_s), return_index=True)
    values = {
        "pack_current_a": np.round(amps * 2.0)[kept] / 2.0,
        "pack_voltage_v": volts[kept],
        "soc_shown_pct": soc[kept],
        "pack_temp_mean_degc": temp[kept],
    }
    return Driven(Block(at_s, values, 2), tuple(one.truth(day + 1).capacity_ah for day in range(days)))


def changed(block: Block, quantity: str, change: Callable[[FloatArray], FloatArray]) -> Block:
    return replace(block, values=block.values | {quantity: change(block.values[quantity].copy())})


def ends(block: Block, pack: PackFacts = PACK) -> list[DayEnd]:
    feeder = Feeder(pack)
    return [*feeder.feed(block), *feeder.finish()]


def told(block: Block, pack: PackFacts = PACK) -> list[Verdict]:
    """One for the end of each day."""
    return [panel.verdict(end.state, end.at_s, pack) for end in ends(block, pack)]


def sessions(block: Block) -> list[FloatArray]:
    """The rows of each."""
    return np.split(np.arange(len(block.t_s)), np.flatnonzero(np.diff(block.t_s) > 300.0) + 1)
