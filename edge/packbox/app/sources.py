"""Turn a source as a person writes it into a frame source.

In:  `socketcan:can0[,can1]`, `can:INTERFACE:CHANNEL`, `log:PATH`, `sim:SPEC`, and how far an earlier run got.
Out: `Opened`.
Refuses anything else with SettingsError, a log that cannot be read with LogFormatError.
What each kind needs is imported when it is asked for: a box in a car loads no simulator and no python-can.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from packbox.app.mind import Bookmark
from packbox.core.profile import EXTENDED_BIT, FUNCTIONAL_KEYS, GROUP_BIT, GROUP_MASK, Profile
from packbox.ports import FrameClock, FrameSource, SettingsError, Tester

FORMS: Final = "socketcan:can0[,can1], can:INTERFACE:CHANNEL, log:PATH, sim:SPEC"
BITRATE: Final = 500_000  # of nearly every car's diagnostic bus (facts/vehicles.md 3 to 12)
SIM: Final = "sim"  # its timeline goes on by the wall clock, whatever the spec says about days


@dataclass(frozen=True, slots=True)
class Opened:
    """`name`: the same after a restart exactly when going on where we were makes sense."""

    name: str
    frames: FrameSource
    live: bool  # cannot wait for us
    tester: Tester | None = None  # only where it was asked for, and only a live bus has one


def open_source(
    spec: str,
    bookmark: Bookmark,
    clock: FrameClock,
    profile: Profile | None,
    speed: float | None,
    *,
    may_ask: bool = False,
) -> Opened:
    """`profile` None: the car is not known yet, every frame comes. `speed`: of a log, None as fast as it is taken.

    Without `may_ask` nothing that could send is made.
    """
    kind, _, rest = spec.partition(":")
    match kind:
        case "socketcan" if rest:
            return _socketcan(spec, rest.split(","), clock, profile, may_ask=may_ask)
        case "can" if rest:
            return _python_can(spec, rest, clock, profile, may_ask=may_ask)
        case "log" if rest:
            return _log(Path(rest), bookmark, speed)
        case "sim" if rest:
            from packbox.sim.source import open_sim

            resume_wall_ms = bookmark.wall_ms if bookmark.source == SIM else None
            return Opened(SIM, open_sim(rest, resume_wall_ms), live=False)
    raise SettingsError(f"source: {spec!r} is none of {FORMS}")


def _log(path: Path, bookmark: Bookmark, speed: float | None) -> Opened:
    from packbox.adapters.log_source import LogSource, log_boot

    boot = log_boot(path)
    name = f"log:{boot}"
    return Opened(name, LogSource(path, boot, speed, bookmark.frames if bookmark.source == name else 0), live=False)


def _socketcan(spec: str, names: list[str], clock: FrameClock, profile: Profile | None, *, may_ask: bool) -> Opened:
    from packbox.adapters.can_bus import SocketCanSource
    from packbox.adapters.can_filters import IdFilter, exactly
    from packbox.adapters.can_socket import Interface

    def filter_of(key: int) -> IdFilter:
        if key & GROUP_BIT:
            return IdFilter(key & GROUP_MASK, GROUP_MASK, extended=True)
        return exactly(key & ~EXTENDED_BIT, extended=bool(key & EXTENDED_BIT))

    keys = frozenset() if profile is None else _keys(profile)
    keys |= FUNCTIONAL_KEYS if may_ask else frozenset()  # another tester asks everybody first
    filters = tuple(filter_of(key) for key in sorted(keys))
    if profile is None or (may_ask and not any(variant.messages for variant in profile.variants)):
        filters = ()  # only the car's own traffic tells that it is awake, and we do not know its ids
    frames = SocketCanSource([Interface(name, filters) for name in names], clock)
    if not may_ask:
        return Opened(spec, frames, live=True)
    from packbox.adapters.isotp import ManyTester
    from packbox.adapters.isotp_socketcan import socketcan_tester

    testers = [socketcan_tester(name) for name in names]
    return Opened(spec, frames, live=True, tester=testers[0] if len(testers) == 1 else ManyTester(testers))


def _python_can(spec: str, rest: str, clock: FrameClock, profile: Profile | None, *, may_ask: bool) -> Opened:
    from packbox.adapters.can_any import PythonCanSource

    interface, _, channel = rest.partition(":")
    if not interface or not channel:
        raise SettingsError(f"source: {spec!r}: expected can:INTERFACE:CHANNEL, for example can:slcan:/dev/ttyUSB0")
    options = {"bitrate": BITRATE if profile is None else profile.buses[0].bitrate}
    frames = PythonCanSource(interface, channel, clock, options=options, may_send=may_ask)
    if not may_ask:
        return Opened(spec, frames, live=True)
    from packbox.adapters.isotp import FrameTester

    return Opened(spec, frames, live=True, tester=FrameTester(frames))


def _keys(profile: Profile) -> frozenset[int]:
    """Every frame that says anything to this profile, on whatever bus."""
    sent = {message.key for variant in profile.variants for message in variant.messages}
    asked = {key for poll in profile.polls for key in (poll.tx_key, poll.rx_key)}
    shown = {key for evidence in profile.evidence for key in evidence.seen}
    return frozenset(sent | asked | shown | set(profile.detect))
