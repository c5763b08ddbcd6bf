"""A small file that says how the box is, replaced every ten seconds: for the doctor, a display, a fleet's own agent.

In:  what the parts of a running box tell about themselves.
Out: one JSON object (docs/box.md lists its fields). A reader sees the old file or the new one, never half of one.
It belongs on a file system in memory: nothing waits for a disk here, and a file that cannot be written stops nobody.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Never

from packbox.app.ask import car_sight
from packbox.app.health import Gauge
from packbox.app.watch_power import PowerWatch
from packbox.core.stamp import NS_PER_MS, NS_PER_S, Stamp

log = logging.getLogger(__name__)

STATUS_VERSION: Final = 1  # raised when the meaning of a field changes; fields are only added
WRITE_EVERY_S: Final = 10.0
STALE_AFTER_S: Final = 60.0  # an older file is that of a box that is gone


@dataclass(frozen=True, slots=True)
class Who:
    """What does not change while the box runs."""

    box: str
    store: str
    source: str
    profile: str
    careful: str | None = None  # why it runs without what it does not need


class StatusFile:
    def __init__(self, path: Path, who: Who, gauge: Gauge, watch: PowerWatch) -> None:
        self._path = path
        self._who = who
        self._gauge = gauge
        self._watch = watch
        self._warned = False

    async def run(self) -> Never:
        """Until cancelled; the file goes with us, so that nobody takes it for a running box."""
        try:
            while True:
                self._write()
                await asyncio.sleep(WRITE_EVERY_S)
        finally:
            with suppress(OSError):
                self._path.unlink()

    def _write(self) -> None:
        beside = self._path.with_name(self._path.name + ".new")
        try:
            beside.write_text(json.dumps(self.report(), ensure_ascii=False) + "\n", encoding="utf-8")
            beside.chmod(0o644)
            beside.replace(self._path)
        except OSError as problem:
            if not self._warned:
                log.warning("the status file cannot be written: %s", problem)
            self._warned = True
            return
        self._warned = False

    def report(self) -> dict[str, Any]:
        gauge = self._gauge
        now = gauge.clock.now()
        health = asdict(gauge.at(now))
        del health["stamp"]
        return {
            "version": STATUS_VERSION,
            "boot": now.boot,
            "mono_ms": now.mono_ns // NS_PER_MS,
            "wall_ms": now.wall_ms,
            **asdict(self._who),
            "health": health,
            "bus": _bus(gauge, now),
            "journal": {"trouble": gauge.thinker.trouble, "newest_seq": gauge.mind.newest_seq},
            "raw": _raw(gauge),
            "link": _link(gauge),
            "car": _car(gauge),
            "power": _power(self._watch, now),
        }


def read_status(path: Path, now: Stamp) -> dict[str, Any] | None:
    """What a box that runs now has written, else None."""
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        age_s = (now.mono_ns // NS_PER_MS - said["mono_ms"]) / 1000
        fresh = said["version"] == STATUS_VERSION and said["boot"] == now.boot and age_s <= STALE_AFTER_S
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return dict(said) if fresh and isinstance(said, Mapping) else None


def _bus(gauge: Gauge, now: Stamp) -> dict[str, Any]:
    errors = gauge.bus_errors
    return {
        "down": gauge.bus_down,
        "quiet_s": _ago_s(gauge.listener.heard_ns, now),
        "errors": None if errors is None else asdict(errors),
    }


def _raw(gauge: Gauge) -> dict[str, Any] | None:
    raw = gauge.raw
    return None if raw is None else {"dropped_frames": raw.dropped_frames, "trouble": raw.trouble}


def _link(gauge: Gauge) -> dict[str, Any] | None:
    link = gauge.link
    if link is None:
        return None
    loop_s = asyncio.get_running_loop().time()
    return {
        "connected": link.connected,
        "trouble": link.trouble or None,
        "unheard": link.unheard,
        "last_ack_age_s": None if link.acked_s is None else round(loop_s - link.acked_s, 1),
        "acked": link.delivery.counts.acked,
    }


def _car(gauge: Gauge) -> dict[str, Any]:
    sight = car_sight(gauge.mind.state)
    known, meeting = gauge.mind.recognised, gauge.meeting
    return {
        "state": None if sight.state is None else sight.state.value,
        "aux_voltage_v": sight.aux_voltage_v,
        "recognised": None if known is None else known.profile,
        "trouble": None if meeting is None else meeting.trouble,
    }


def _power(watch: PowerWatch, now: Stamp) -> dict[str, Any]:
    state = watch.power
    return {
        "phase": None if state is None else state.phase.value,
        "why": None if state is None else state.why,
        "for_s": None if state is None else _ago_s(state.since_ns, now),
        **asdict(watch.lines),
    }


def _ago_s(then_ns: int | None, now: Stamp) -> float | None:
    return None if then_ns is None else round((now.mono_ns - then_ns) / NS_PER_S, 1)
