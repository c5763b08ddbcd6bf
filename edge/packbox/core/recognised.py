"""Which car this is, where nobody named it, and how we know: what a restart goes on with.

In:  a `Detection` that found a family. Out: `Recognised`, kept with the fold's state; later, whether it still holds.
Refuses to doubt on little: a few seconds of a car that wakes up may lack half of its frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from packbox.core.detect import TRY_BITS, Detection, Finding
from packbox.core.wiring import Wiring

DOUBT_FRAMES: Final = 500  # fewer prove nothing against a family


@dataclass(frozen=True, slots=True)
class Recognised:
    profile: str
    variant: str | None  # for people; the fold goes by behaviour and may notice a swapped pack
    evidence: tuple[str, ...]
    wiring: Wiring


def recognised(finding: Finding) -> Recognised:
    return Recognised(finding.profile, finding.variant, finding.evidence, finding.wiring)


def fits_still(detection: Detection, known: Recognised) -> bool:
    """Whether what is on the bus now shows the family again."""
    return any(f.profile == known.profile and f.fits for f in detection.findings)


def doubt(detection: Detection, known: Recognised) -> str | None:
    """Why this is no longer the car that was recognised; None: it is, or too little was heard to say."""
    if fits_still(detection, known):
        return None
    found = detection.found
    if found is not None:
        return f"recognised was {known.profile}, but now it is {found.profile}: {'; '.join(found.evidence)}"
    finding = next((f for f in detection.findings if f.profile == known.profile), None)
    if detection.frames < DOUBT_FRAMES or (finding is not None and finding.bits >= TRY_BITS):
        return None
    lacks = "it is not installed" if finding is None else "; ".join(finding.lacks)
    return f"recognised was {known.profile}, but now {lacks}"
