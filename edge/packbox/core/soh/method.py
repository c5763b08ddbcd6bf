"""What a method that estimates capacity looks like, and what it says.

In:  every sample, and the end of every session, in order.
Out: an `Estimate`: a capacity with its sigma, what it rests on, or the reason why there is none.
A method keeps O(1) state, a frozen dataclass that survives a restart, and knows nothing of its siblings.
What it concludes from follows from the readings it *used* alone, so that whoever has those can conclude it again.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NewType, Protocol, TypeVar

from packbox.core.packs import PackFacts
from packbox.core.sample import Samples

MethodId = NewType("MethodId", str)  # name/version

EVIDENCE_KEPT: Final = 16  # session numbers named with an estimate
YEAR_S: Final = 365.25 * 86_400
RATED_NOW: Final = 0.93  # of the rating, where nobody says what a pack still holds, give or take
RATED_SIGMA: Final = 0.07
DRIFT_PER_YEAR: Final = 0.022  # packs lose so much (facts/soh.md §6), give or take
DRIFT_SIGMA_PER_ROOT_YEAR: Final = 0.02
BALANCING_C: Final = (
    0.02  # a charge that flows more slowly into full cells goes through their resistors (facts/soh.md §7)
)
BALANCING_FROM_PCT: Final = 90.0  # of the SoC: batteries balance near full, and a slow charge lower down is a charge


class Basis(StrEnum):
    OCV = "ocv"
    BMS_SOC = "bms-soc"
    BMS_VALUE = "bms-value"


@dataclass(frozen=True, slots=True)
class Estimate:
    """One method's opinion. Either a capacity with its sigma, or why there is none."""

    method: MethodId
    basis: Basis
    capacity_ah: float | None = None
    sigma_ah: float | None = None
    n: int = 0  # readings it rests on
    evidence: tuple[int, ...] = ()  # newest session numbers, oldest first
    newest_s: float | None = None  # when on the line the newest reading was taken
    restarted: bool = False  # the method began anew because readings and its opinion no longer agreed
    why: str | None = None
    first_ah: float | None = None  # what it was at the end of its first months
    contradicted: bool = False  # the data and the facts of the pack exclude each other: nobody's value may stand

    def __post_init__(self) -> None:
        assert (self.capacity_ah is None) == (self.sigma_ah is None)
        assert self.capacity_ah is not None or self.why


@dataclass(frozen=True, slots=True)
class SessionEnd:
    """A session ended: its number, when on the line, and whether charge moved through the plug."""

    number: int
    at_s: int


State = TypeVar("State")
Reading = TypeVar("Reading")


class Method(Protocol[State, Reading]):
    @property
    def id(self) -> MethodId: ...

    def start(self) -> State: ...

    def watch(self, state: State, samples: Samples, pack: PackFacts | None) -> State:
        """Take in samples. How they are cut into calls must not matter."""

    def take(self, state: State, pack: PackFacts | None) -> tuple[State, tuple[Reading, ...]]:
        """A session ended after the samples seen so far: what there is to read, rounded as it is sent."""

    def use(self, state: State, reading: Reading, end: SessionEnd, pack: PackFacts | None) -> State:
        """Conclude from a reading of that session. Looks at nothing that `watch` or `take` left in the state."""

    def estimate(self, state: State, at_s: float, pack: PackFacts | None) -> Estimate:
        """What the readings used so far say."""
