"""What the box knows of itself, gathered from where each figure lives.

Called from the loop (heartbeat) and from the journal's thread (daily record): it only reads plain values.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, runtime_checkable

from packbox.adapters.can_errors import BusErrors
from packbox.adapters.machine import cpu_temp_degc, disk_free_bytes
from packbox.app.carry import LinkReport
from packbox.app.desk import Desk
from packbox.app.enrolled import Enrolling
from packbox.app.inbox import Inbox
from packbox.app.listen import Listener
from packbox.app.meet import Meeting
from packbox.app.mind import Mind
from packbox.app.think import Thinker
from packbox.core.outcome import BoxHealth
from packbox.core.signals import Refused
from packbox.core.stamp import NS_PER_S, Stamp
from packbox.core.summary import message_of
from packbox.ports import Clock, FrameSource, Tester
from packwire import __version__
from packwire.messages import Health

if TYPE_CHECKING:
    from packbox.app.keep_raw import KeepRaw

REFUSALS: Final = tuple({f.name for f in fields(Refused)} & {f.name for f in fields(BoxHealth)})
TROUBLE_CHARS: Final = 80  # health is small; `doctor` tells the rest


class Counts(Protocol):
    @property
    def dropped(self) -> int: ...
    @property
    def error_frames(self) -> int: ...
    @property
    def errors(self) -> BusErrors: ...


@runtime_checkable
class Counting(Protocol):
    """A live source: it knows what it lost before we saw it, and what keeps it from giving frames."""

    @property
    def counts(self) -> Counts: ...
    @property
    def trouble(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Gauge:
    """All the places to look at. Counts are since this start.

    `link` None: there is no broker to talk to. `tester` None: the box only listens.
    """

    data_dir: Path
    clock: Clock
    began: Stamp
    source: FrameSource
    inbox: Inbox
    mind: Mind
    listener: Listener
    thinker: Thinker
    link: LinkReport | None
    tester: Tester | None = None
    meeting: Meeting | None = None
    enrolling: Enrolling | None = None
    desk: Desk | None = None
    raw: KeepRaw | None = None

    @property
    def bus_errors(self) -> BusErrors | None:
        """By class; None for a source that does not know."""
        return self.source.counts.errors if isinstance(self.source, Counting) else None

    def at(self, stamp: Stamp) -> BoxHealth:
        """As a record: `stamp` is on the source's timeline, as are the records that wait."""
        now = self.clock.now()
        lost = self.source.counts if isinstance(self.source, Counting) else None
        outbox = self.mind.outbox
        return BoxHealth(
            stamp,
            uptime_s=(now.mono_ns - self.began.mono_ns) / NS_PER_S,
            frames=self.mind.frames,
            frames_bad=self.mind.frames_bad,
            frames_unknown=self.mind.frames_unknown,
            frames_dropped=self.inbox.dropped_frames + (lost.dropped if lost else 0),
            frames_sent=self.tester.frames_sent if self.tester else 0,
            bus_errors=lost.error_frames if lost else 0,
            outbox_waiting=outbox.waiting,
            oldest_waiting_s=_age_s(outbox.oldest_wall_ms, stamp.wall_ms),
            journal_bytes=outbox.journal_bytes,
            disk_free_bytes=disk_free_bytes(self.data_dir),
            clock="unset" if now.wall_ms is None else "set",
            uplink_bytes=self.link.wire_bytes if self.link else 0,
            uplink_refused=self.link.delivery.counts.refused_publishes if self.link else 0,
            cpu_temp_degc=cpu_temp_degc(),
            software=__version__,
            config_version=self.desk.version if self.desk else 0,
            text=self._trouble(),
            **refusals(self.mind.refused),
        )

    @property
    def bus_down(self) -> str | None:
        """Why there is no bus: the source is gone, or is there and gives nothing, as a link that is down does."""
        return self.listener.down or (self.source.trouble if isinstance(self.source, Counting) else None)

    def _trouble(self) -> str | None:
        car = self.meeting.trouble if self.meeting else None
        troubles = (
            ("no bus", self.bus_down),
            ("cannot save", self.thinker.trouble),
            ("car", car),
            ("certificate", self.enrolling.trouble if self.enrolling else None),
            ("operator", self.desk.trouble if self.desk else None),
            ("raw frames", self.raw.trouble if self.raw else None),
        )
        return "; ".join(f"{what}: {why}"[:TROUBLE_CHARS] for what, why in troubles if why) or None

    def heartbeat(self) -> Health:
        message = message_of(self.at(self.clock.now()), b"")
        assert isinstance(message, Health)
        return message


def refusals(refused: Refused) -> dict[str, Any]:
    """The counts that health tells one by one."""
    return {name: getattr(refused, name) for name in REFUSALS}


def _age_s(since_ms: int | None, now_ms: int | None) -> float | None:
    return None if since_ms is None or now_ms is None else max(0.0, (now_ms - since_ms) / 1000)
