"""A box's last days as small lines: drawn on the server, read without script.

In:  its heartbeats, in any order.
Out: one `HealthLine` for each figure that it told at least twice: between which values, and path data.
A line breaks where nothing was heard: what nobody saw is not drawn.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

from packbook.core.fleet_boxes import BoxLife, BoxLine
from packbook.core.words import Words

WIDTH: Final = 240.0
HEIGHT: Final = 32.0
GAP_STEPS: Final = 3.0  # silence of so many usual steps between two heartbeats breaks the line
GIGABYTE: Final = 1e9

Figure = Callable[[BoxLine], float | None]


@dataclass(frozen=True, slots=True)
class HealthLine:
    label: str
    low: str
    high: str
    path: str


def health_lines(t: Words, life: BoxLife) -> tuple[HealthLine, ...]:
    kinds: tuple[tuple[str, Figure, int, str], ...] = (
        ("waiting_count", lambda line: line.figure("outbox_waiting"), 0, ""),
        ("dropped", lambda line: line.dropped_per_million, 0, "ppm"),
        ("disk", free_gb, 1, "GB"),
        ("temperature", lambda line: line.figure("cpu_temp_degc"), 0, "°C"),
    )
    beats = sorted(life.beats, key=lambda beat: beat.at_ms)
    told = [(beat.at_ms, replace(life.line, health=beat.health)) for beat in beats]
    found = []
    for name, figure, digits, unit in kinds:
        points = [(at_ms, value) for at_ms, line in told if (value := figure(line)) is not None]
        if len(points) > 1:
            low, high = min(value for _, value in points), max(value for _, value in points)
            words = (t.number(low, digits, unit), t.number(high, digits, unit))
            found.append(HealthLine(t(f"fleet.column.{name}"), *words, drawn(points)))
    return tuple(found)


def drawn(points: Sequence[tuple[int, float]]) -> str:
    """SVG path data in a field of WIDTH by HEIGHT. `points`: times in ms, rising, and values; at least two."""
    begin, end = points[0][0], points[-1][0]
    low, high = min(value for _, value in points), max(value for _, value in points)
    gap_ms = GAP_STEPS * statistics.median(after - before for (before, _), (after, _) in pairwise(points))
    path, before = "", None
    for at_ms, value in points:
        x = WIDTH * (at_ms - begin) / max(1, end - begin)
        y = HEIGHT / 2.0 if high == low else HEIGHT * (high - value) / (high - low)
        path += f"{'M' if before is None or at_ms - before > gap_ms else 'L'}{x:.1f} {y:.1f}"
        before = at_ms
    return path


def free_gb(line: BoxLine) -> float | None:
    free = line.figure("disk_free_bytes")
    return None if free is None else free / GIGABYTE
