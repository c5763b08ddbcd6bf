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
from packbox.core.profile import EXTENDED_BIT, GROUP_BIT, GROUP_MASK, Profile
from packbox.ports import FrameClock, FrameSource, SettingsError

FORMS: Final = "socketcan:can0[,can1], can:INTERFACE:CHANNEL, log:PATH, sim:SPEC"
SIM: Final = "sim"  # its timeline goes on by the wall clock, whatever the spec says about days


@dataclass(frozen=True, slots=True)
class Opened:
    """`name`: the same after a restart exactly when going on where we were makes sense."""

    name: str
    frames: FrameSource
    live: bool  # cannot wait for us


def open_source(spec: str, bookmark: Bookmark, clock: FrameClock, profile: Profile, speed: float | None) -> Opened:
    """`speed`: of a log, None as fast as it is taken."""
    kind, _, rest = spec.partition(":")
    match kind:
        case "socketcan" if rest:
            return Opened(spec, _socketcan(rest.split(","), clock, profile), live=True)
        case "can" if rest:
            return Opened(spec, _python_can(spec, rest, clock, profile), live=True)
        case "log" if rest:
            return _log(Path(rest), bookmark, speed)
        case "sim" if rest:
            from packbox.testing.sim_source import open_sim

            resume_wall_ms = bookmark.wall_ms if bookmark.source == SIM else None
            return Opened(SIM, open_sim(rest, resume_wall_ms), live=False)
    raise SettingsError(f"source: {spec!r} is none of {FORMS}")


def _log(path: Path, bookmark: Bookmark, speed: float | None) -> Opened:
    from packbox.adapters.log_source import LogSource, log_boot

    boot = log_boot(path)
    name = f"log:{boot}"
    return Opened(name, LogSource(path, boot, speed, bookmark.frames if bookmark.source == name else 0), live=False)


def _socketcan(names: list[str], clock: FrameClock, profile: Profile) -> FrameSource:
    from packbox.adapters.can_bus import IdFilter, Interface, SocketCanSource, exactly

    def filter_of(key: int) -> IdFilter:
        if key & GROUP_BIT:
            return IdFilter(key & GROUP_MASK, GROUP_MASK, extended=True)
        return exactly(key & ~EXTENDED_BIT, extended=bool(key & EXTENDED_BIT))

    filters = tuple(filter_of(key) for key in sorted(_keys(profile)))
    return SocketCanSource([Interface(name, filters) for name in names], clock)


def _python_can(spec: str, rest: str, clock: FrameClock, profile: Profile) -> FrameSource:
    from packbox.adapters.can_any import PythonCanSource

    interface, _, channel = rest.partition(":")
    if not interface or not channel:
        raise SettingsError(f"source: {spec!r}: expected can:INTERFACE:CHANNEL, for example can:slcan:/dev/ttyUSB0")
    return PythonCanSource(interface, channel, clock, options={"bitrate": profile.buses[0].bitrate})


def _keys(profile: Profile) -> set[int]:
    """Every frame that says anything to this profile, on whatever bus."""
    sent = {message.key for variant in profile.variants for message in variant.messages}
    asked = {key for poll in profile.polls for key in (poll.tx_key, poll.rx_key)}
    shown = {key for evidence in profile.evidence for key in evidence.seen}
    return sent | asked | shown | set(profile.detect)
