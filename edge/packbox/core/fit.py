"""Does this profile fit what is on the bus? Told once, when there are frames enough to tell."""

from __future__ import annotations

from typing import Final

from packbox.core.seen import SeenState
from packbox.core.signals import Refused

TRIAL_S: Final = 30  # seconds with frames after which a wrong profile is told from a right one
TRIAL_FRAMES: Final = 500  # fewer prove nothing
TRIAL_BAD_SHARE: Final = 0.2  # of known frames; real logs of the right car have none (facts/vehicles.md §2)
TRIAL_UNKNOWN_SHARE: Final = (
    0.85  # of all frames; real logs: at most 0.83 with the right profile, from 0.91 on with another
)


def misfit(frames: int, refused: Refused, seen: SeenState) -> str | None:
    """Why this looks like the log of another car, or None."""
    decodable = frames - refused.error_frames
    if decodable < TRIAL_FRAMES:
        return None
    known = decodable - refused.unknown_frames
    bad = refused.bad_checksum + refused.wrong_length
    unknown_share = refused.unknown_frames / decodable
    text = f"{100 * unknown_share:.0f} % of frames unknown, {bad} bad: is this the right profile?"
    mute = not (seen.has("pack_current_a") or seen.has("pack_voltage_v"))
    alien = mute and unknown_share > TRIAL_UNKNOWN_SHARE
    return text if alien or bad > TRIAL_BAD_SHARE * max(known, 1) else None
