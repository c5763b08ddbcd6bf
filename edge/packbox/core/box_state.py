"""What the fold works with: `BoxPlan`, known from outside, and `BoxState`, all that it remembers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from packbox.core import harm, usage
from packbox.core import sample as sampling
from packbox.core.cells import CellsState
from packbox.core.decode import Decoder, DecodeState
from packbox.core.frames import FrameBatch
from packbox.core.harm import HarmState
from packbox.core.outcome import Identity
from packbox.core.record import BatteryId, BoxId
from packbox.core.sample import SampleState
from packbox.core.seen import SeenState
from packbox.core.seen import start as start_seen
from packbox.core.segment import SegmentState
from packbox.core.signals import Refused
from packbox.core.soh import panel
from packbox.core.soh.panel import PanelState
from packbox.core.timeline import Timeline
from packbox.core.usage import UsageState

STATE_VERSION: Final = 3  # of `BoxState` and all within: raise it when a field changes, and bring a conversion


@dataclass(frozen=True, slots=True)
class Cadence:
    """How often what is always true is said again, at the end of a session."""

    usage_every_s: float = 86_400.0
    soh_every_s: float = 86_400.0


@dataclass(frozen=True, slots=True, eq=False)
class BoxPlan:
    """What a box knows from outside."""

    decoder: Decoder
    box: BoxId
    battery: BatteryId
    battery_source: str  # read configured provisional
    software: str
    vehicle: str | None = None  # the operator's own name; never a VIN
    cadence: Cadence = field(default_factory=Cadence)


@dataclass(frozen=True, slots=True, eq=False)
class BoxState:
    decode: DecodeState
    sample: SampleState
    segment: SegmentState
    usage: UsageState
    harm: HarmState
    soh: PanelState
    seen: SeenState
    line: Timeline | None = None  # None until the first input
    pending: FrameBatch | None = None  # frames of the unfinished second
    introduced: Identity | None = None
    first_s: int | None = None  # second of the first frame
    first_wall_ms: int | None = None
    frames: int = 0
    trial_s: int = 0  # seconds with frames before the profile was judged
    judged: bool = False
    refused: Refused = field(default_factory=Refused)
    usage_said_s: float | None = None
    soh_said_s: float | None = None
    time_back_said_s: float | None = None
    pack: str | None = None  # id of the last pack that was known
    swaps: int = 0  # of the decoder's, those that were said
    serials: int = 0
    packs_before: int = 0  # how many packs this store has seen go
    cells: CellsState = field(default_factory=CellsState)  # came later: older snapshots have none


def start(plan: BoxPlan | None = None) -> BoxState:
    """A box that has seen nothing yet; without a plan one that does not even know which car it is in."""
    return BoxState(
        decode=DecodeState("") if plan is None else plan.decoder.start(),
        sample=sampling.start(),
        segment=SegmentState(),
        usage=usage.start(),
        harm=harm.start(),
        soh=panel.start(),
        seen=start_seen(),
    )
