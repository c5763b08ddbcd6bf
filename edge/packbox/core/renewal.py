"""When a certificate is renewed: at two thirds of its life, not all boxes of a fleet in the same hour."""

from __future__ import annotations

from typing import Final

SPREAD: Final = 1 / 30  # of its life: twelve days of a year's certificate, for boxes that enrolled on one afternoon
RETRY_FIRST_S: Final = 60.0
RETRY_MAX_S: Final = 21_600.0  # four times a day: months are left
WARN_MS: Final = 30 * 86_400_000  # time for a person to act
WARN_SHARE: Final = 6  # of a short life: renewal has failed for a sixth of it


def due_ms(from_ms: int, until_ms: int, jitter: float) -> int:
    """`jitter` within 0..1, the same for one box each time."""
    assert 0 <= jitter <= 1
    life_ms = until_ms - from_ms
    return from_ms + int(life_ms * (2 / 3 + SPREAD * jitter))


def retry_s(failures: int, jitter: float) -> float:
    """How long to wait after so many failures in a row: doubling, half of it by chance."""
    assert failures >= 1
    return min(RETRY_MAX_S, RETRY_FIRST_S * 2.0 ** min(failures - 1, 20)) * (0.5 + jitter / 2)


def nears_end(from_ms: int, until_ms: int, now_ms: int) -> bool:
    """Renewal should have happened long ago, but there is still time."""
    return until_ms - now_ms <= min(WARN_MS, (until_ms - from_ms) // WARN_SHARE)
