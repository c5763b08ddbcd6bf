"""A car's day in words, for tests of the fold: frames that carry the truth, and a decoder that reads them.

`Day().drive(minutes=30).charge(minutes=60).frames()`: one frame per quantity and second; the id is the place of the
quantity in `NAMES`, the data its value as a little-endian double. So these tests need no profile.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np

from packbox.core import box
from packbox.core.box import BoxPlan, BoxState
from packbox.core.decode import Decoder, DecodeState
from packbox.core.frames import FrameBatch
from packbox.core.outcome import Outcome, Session, SessionClosed
from packbox.core.packs import Chemistry, PackFacts
from packbox.core.record import BatteryId, BoxId
from packbox.core.seen import NAMES
from packbox.core.signals import Decoded, Refused, Signal
from packbox.core.stamp import NS_PER_MS, NS_PER_S, BootId, Stamp, Tick

PLACE = {name: place for place, name in enumerate(NAMES)}
UNKNOWN_ID = 0x700
EVIDENCE_ID = 0x701  # the first of these tells the variant
BOOT = BootId("b0" * 8)
OTHER_BOOT = BootId("c0" * 8)
WALL_MS = 1_760_000_000_000  # of monotonic zero
PACK = PackFacts("test-60", Chemistry.NMC, 96, 60.0, "made up", 60.0, 21.6)


class ScriptDecoder:
    """Reads the frames of `Day`. Element by element, like the real one."""

    class profile:  # noqa: N801  stands for an attribute
        id = "script"
        digest = "00" * 32

    def __init__(self, pack: PackFacts | None = PACK, *, needs_evidence: bool = False) -> None:
        self._pack = pack
        self._needs_evidence = needs_evidence

    def start(self) -> DecodeState:
        return DecodeState("00" * 32, evidence=(0,))

    def variant(self, state: DecodeState) -> str | None:
        return "only" if state.evidence[0] or not self._needs_evidence else None

    def pack(self, state: DecodeState) -> PackFacts | None:
        return self._pack if self.variant(state) else None

    def knows(self, can_id: int) -> bool:
        return can_id < len(NAMES)

    def decode(self, state: DecodeState, batch: FrameBatch) -> tuple[DecodeState, Decoded]:
        value = np.ascontiguousarray(batch.data[:, :8]).view("<f8").reshape(-1)
        signals = {
            NAMES[can_id]: Signal(batch.mono_ns[batch.can_id == can_id], value[batch.can_id == can_id])
            for can_id in np.unique(batch.can_id).tolist()
            if can_id < len(NAMES)
        }
        evidence = int(np.count_nonzero(batch.can_id == EVIDENCE_ID))
        unknown = int(np.count_nonzero(batch.can_id == UNKNOWN_ID))
        after = replace(state, evidence=(min(1, state.evidence[0] + evidence),))
        return after, Decoded(signals, Refused(unknown_frames=unknown))


def plan(pack: PackFacts | None = PACK, *, needs_evidence: bool = False, **changes: Any) -> BoxPlan:
    decoder = cast("Decoder", ScriptDecoder(pack, needs_evidence=needs_evidence))
    made = BoxPlan(decoder, BoxId("ab" * 8), BatteryId("battery-1"), "configured", "0.0.test")
    return replace(made, **changes)


class Day:
    """Adds up what happens, second by second. Current positive into the pack."""

    def __init__(
        self, *, soc: float = 50.0, capacity_ah: float = 60.0, temp: float = 20.0, step: float = 0.1, ohm: float = 0.0
    ) -> None:
        self.now_s = 0.0
        self.soc = soc
        self.capacity_ah = capacity_ah
        self.temp = temp
        self.step = step  # resolution of the SoC as told
        self.odometer = 1000.0
        self.rows: list[tuple[int, int, float]] = []  # ns, id, value
        self.ohm = ohm

    # -- what may happen ---------------------------------------------------------------------------------------------

    def drive(self, minutes: float = 10, amps: float = -30.0, kmh: float = 50.0, **more: float) -> Day:
        return self._live(minutes * 60, amps, {"speed_kmh": kmh, "gear": 3, "car_on": 1, "plugged": 0} | more)

    def stop(self, minutes: float = 1, amps: float = -1.0) -> Day:
        """At a red light."""
        return self._live(minutes * 60, amps, {"speed_kmh": 0, "gear": 3, "car_on": 1, "plugged": 0})

    def charge(self, minutes: float = 60, amps: float = 15.0, kind: float | None = 1, **more: float) -> Day:
        said: dict[str, float] = {"speed_kmh": 0, "gear": 0, "plugged": 1}
        if kind is not None:
            said["charge_kind"] = kind
        return self._live(minutes * 60, amps, said | more)

    def plugged(self, minutes: float = 10) -> Day:
        """Plug in, charger waiting."""
        return self._live(minutes * 60, 0.0, {"speed_kmh": 0, "gear": 0, "plugged": 1, "charge_kind": 0})

    def idle(self, minutes: float = 1, amps: float = -0.5, **more: float) -> Day:
        """Awake and off, nothing plugged in."""
        said: dict[str, float] = {"speed_kmh": 0, "gear": 0, "car_on": 0, "plugged": 0, "charge_kind": 0}
        return self._live(minutes * 60, amps, said | more)

    def tell(self, seconds: float, amps: float, **values: float) -> Day:
        """Anything else."""
        return self._live(seconds, amps, values)

    def sleep(self, hours: float = 8) -> Day:
        """The bus is silent."""
        self.now_s += hours * 3600
        return self

    def power_cut(self, seconds: float, amps: float) -> Day:
        """The box is dead while charge flows."""
        self.soc += amps * seconds / 3600 / self.capacity_ah * 100
        self.now_s += seconds
        return self

    def say(self, name: str, value: float) -> Day:
        """One frame now."""
        self.rows.append((round(self.now_s * NS_PER_S), PLACE[name], value))
        return self

    def frame(self, can_id: int) -> Day:
        self.rows.append((round(self.now_s * NS_PER_S), can_id, 0.0))
        return self

    def _live(self, seconds: float, amps: float, said: dict[str, float]) -> Day:
        for _ in range(round(seconds)):
            self.soc += amps / 3600 / self.capacity_ah * 100
            self.odometer += said.get("speed_kmh", 0.0) / 3600
            values = {
                "pack_current_a": amps,
                "pack_voltage_v": 350.0 + self.ohm * amps,
                "soc_bms_pct": np.floor(self.soc / self.step + 1e-9) * self.step,
                "pack_temp_mean_degc": self.temp,
                "odometer_km": np.floor(self.odometer),
            } | said
            at_ns = round(self.now_s * NS_PER_S)
            self.rows += [(at_ns + k * NS_PER_MS, PLACE[name], value) for k, (name, value) in enumerate(values.items())]
            self.now_s += 1
        return self

    # -- as frames ---------------------------------------------------------------------------------------------------

    def frames(self, boot: BootId = BOOT, wall_ms: int | None = WALL_MS) -> FrameBatch:
        at_ns, can_id, value = (np.array(column) for column in zip(*self.rows, strict=True))
        n = len(at_ns)
        return FrameBatch(
            boot,
            wall_ms,
            at_ns.astype(np.int64),
            np.zeros(n, np.uint8),
            can_id.astype(np.uint32),
            np.zeros(n, np.uint8),
            np.full(n, 8, np.uint8),
            value.astype("<f8").view(np.uint8).reshape(n, 8),
        )


def run(
    items: Sequence[FrameBatch | Tick], the_plan: BoxPlan | None = None, *, finish: bool = True
) -> tuple[BoxState, list[Outcome]]:
    the_plan = the_plan or plan()
    state = box.start(the_plan)
    outcomes: list[Outcome] = []
    for item in items:
        state, new = box.advance(the_plan, state, item)
        outcomes += new
    if finish:
        state, new = box.finish(the_plan, state)
        outcomes += new
    return state, outcomes


def split(frames: FrameBatch, cuts: Sequence[int]) -> Iterator[FrameBatch]:
    """The same frames in batches that end at `cuts`."""
    bounds = [0, *sorted(set(cuts)), len(frames)]
    for low, high in itertools.pairwise(bounds):
        if high > low:
            yield frames.pick(slice(low, high))


def tick(at_s: float, boot: BootId = BOOT, wall_ms: int | None = WALL_MS) -> Tick:
    mono_ns = round(at_s * NS_PER_S)
    return Tick(Stamp(boot, mono_ns, None if wall_ms is None else wall_ms + mono_ns // NS_PER_MS))


def sessions(outcomes: Sequence[Outcome]) -> list[Session]:
    return [outcome.session for outcome in outcomes if isinstance(outcome, SessionClosed)]


def told(day: Day, the_plan: BoxPlan | None = None) -> list[Session]:
    """The sessions of a day."""
    return sessions(run([day.frames()], the_plan)[1])


def shape(day: Day) -> list[tuple[str, float]]:
    """Kinds and durations of a day's sessions."""
    return [(s.kind, s.duration_s) for s in told(day)]
