"""All parts of a running box, put together around a mind that is open. Nothing runs yet: `app.run` sets them going.

In:  settings in force, the box's key, what this start may do. Out: `Parts`.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from packbox.adapters.herald import Herald
from packbox.adapters.identity import FileKey
from packbox.adapters.key_store import FileKeyStore
from packbox.adapters.power_lines import LineReader, tell
from packbox.adapters.profile_dir import Catalogue
from packbox.app.ask import Asking, car_sight
from packbox.app.carry import LinkReport, Offload, new_report
from packbox.app.crash_guard import Care
from packbox.app.desk import Desk
from packbox.app.enrolled import Enrolling
from packbox.app.health import Gauge
from packbox.app.inbox import RECORDING_ROOM_FRAMES, ROOM_FRAMES, Inbox
from packbox.app.listen import Listener
from packbox.app.meet import Meeting
from packbox.app.mind import Mind
from packbox.app.sources import Opened, open_source
from packbox.app.think import Thinker
from packbox.app.watch_power import PowerWatch
from packbox.clock import SystemClock
from packbox.core.box import BoxPlan, Cadence
from packbox.core.courtesy import Consent, Signs
from packbox.core.decode import Decoder
from packbox.core.power import Limits
from packbox.core.profile import Profile
from packbox.core.record import BatteryId, BoxId
from packbox.core.stamp import Stamp
from packbox.ports import Journal
from packbox.settings import PowerSettings, Settings
from packwire import __version__

if TYPE_CHECKING:
    from packbox.app.keep_raw import KeepRaw

Named = tuple[Profile, str | None]  # a car that a person named, and its variant


@dataclass(frozen=True, slots=True)
class Base:
    """What was there before the parts: who we are, and the opened mind with its thread."""

    settings: Settings
    box: BoxId
    key: FileKey
    clock: SystemClock
    began: Stamp
    herald: Herald
    care: Care
    desk: Desk
    journal: Journal
    mind: Mind
    offload: Offload
    named: Named | None  # None: the car is to be recognised


@dataclass(frozen=True, slots=True)
class Parts:
    """`link` None: there is nobody to send to. `committed` is set when records went to disk."""

    base: Base
    source: Opened
    inbox: Inbox
    listener: Listener
    thinker: Thinker
    committed: asyncio.Event
    enrolling: Enrolling
    link: LinkReport | None
    meeting: Meeting
    gauge: Gauge
    watch: PowerWatch

    async def know_the_car(self) -> Profile | None:
        """None: the source ended before it was recognised."""
        named = self.base.named
        return self.meeting.named(*named) if named is not None else await self.meeting.meet(self.listener, self.inbox)

    def begin_asking(self, profile: Profile) -> Asking | None:
        """None where nothing can be sent. Consent and courtesy decide what is."""
        tester, watch, mind = self.source.tester, self.watch, self.base.mind
        if tester is None:
            return None
        asking = Asking(
            profile,
            self.base.desk.agreed.polling,
            tester,
            self.base.clock,
            lambda: car_sight(mind.state),
            signs=lambda: Signs(watch.lines.ignition_on, watch.lines.rail_v),
        )
        self.listener.hearers.append(asking.hear)
        self.base.desk.asking = asking
        return asking


def assemble(base: Base, raw: KeepRaw | None, speed: float | None) -> Parts:
    """`speed`: pace of a log; None: as fast as it goes. Raises SettingsError or what the source raises."""
    settings, mind, clock, desk = base.settings, base.mind, base.clock, base.desk
    source = open_source(
        settings.source,
        mind.bookmark,
        clock,
        None if base.named is None else base.named[0],
        speed,
        may_ask=desk.agreed.polling is not Consent.NEVER and base.care.may_ask,
    )
    inbox = Inbox(may_wait=not source.live, room_frames=ROOM_FRAMES if source.live else RECORDING_ROOM_FRAMES)
    listener = Listener(source.frames if raw is None else raw.along(source.frames), inbox, clock)
    committed = asyncio.Event()
    thinker = Thinker(mind, inbox, base.offload, committed, base.herald, settings.commit_every_s)
    enrolling = Enrolling(settings, FileKeyStore(settings.key_file.parent, base.key), clock, desk.begin_anew)
    may_send = settings.broker.host is not None or enrolling.invited
    link = new_report(mind.store) if may_send and base.care.may_send else None
    catalogue = Catalogue(settings.profiles_dir)
    meeting = Meeting(mind, catalogue, partial(_plan, settings, box=base.box), base.offload, base.herald)
    gauge = Gauge(
        settings.data_dir,
        clock,
        base.began,
        source.frames,
        inbox,
        mind,
        listener,
        thinker,
        link,
        source.tester,
        meeting,
        enrolling,
        desk,
        raw,
    )
    watch = _power_watch(settings.power, clock, mind, listener, link)
    return Parts(base, source, inbox, listener, thinker, committed, enrolling, link, meeting, gauge, watch)


def _plan(settings: Settings, decoder: Decoder, *, box: BoxId) -> BoxPlan:
    battery, source = (settings.battery, "configured") if settings.battery else (f"prov-{box}-1", "provisional")
    cadence = Cadence(settings.usage_every_s, settings.soh_every_s)
    return BoxPlan(decoder, box, BatteryId(battery), source, f"packbox {__version__}", settings.vehicle, cadence)


def _power_watch(
    power: PowerSettings, clock: SystemClock, mind: Mind, listener: Listener, link: LinkReport | None
) -> PowerWatch:
    return PowerWatch(
        clock,
        LineReader(power.ignition_file, power.ignition_command, power.rail_file, power.rail_v_per_unit),
        Limits(power.quiet_s, power.plugged_quiet_s, power.unfed_s, power.rail_low_v),
        None if power.command is None else partial(tell, power.command),
        state=lambda: mind.state,
        heard_ns=lambda: listener.heard_ns,
        sending=lambda: link is not None and link.connected and mind.outbox.waiting > 0,
    )
