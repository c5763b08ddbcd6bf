"""`packbox run`: the box. Puts the parts together and keeps the tasks going: listen, think, carry, ask if agreed.

Listening never stops for the others: a journal that cannot be written and a broker out of reach are waited for.
SIGTERM and SIGINT save and leave.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import TYPE_CHECKING, Final, Never, TypeVar

from packbox.adapters.herald import Herald, herald_from
from packbox.adapters.journal import JOURNAL_FILE, SqliteJournal
from packbox.adapters.key_store import FileKeyStore
from packbox.adapters.power_lines import LineReader, tell
from packbox.adapters.profile_apart import find_apart
from packbox.adapters.profile_dir import Catalogue
from packbox.adapters.snapshot import SnapshotError
from packbox.app.ask import Asking, car_sight
from packbox.app.box_key import box_key
from packbox.app.carry import LinkReport, Offload, carry, new_report
from packbox.app.crash_guard import CAREFUL_MAX_S, IN_FULL, Care, CrashGuard
from packbox.app.desk import Desk
from packbox.app.enrolled import Enrolling, with_enrolment
from packbox.app.health import Gauge
from packbox.app.inbox import RECORDING_ROOM_FRAMES, ROOM_FRAMES, Inbox
from packbox.app.listen import Listener
from packbox.app.log_tail import kept_tail
from packbox.app.logging_setup import is_journal, set_up_logging
from packbox.app.meet import Meeting
from packbox.app.mind import Mind
from packbox.app.options import add_settings_options, settings_from
from packbox.app.recognise import AUTO, UnknownCarError
from packbox.app.sources import FORMS, open_source
from packbox.app.status import StatusFile, Who
from packbox.app.think import Thinker
from packbox.app.watch_power import PowerWatch
from packbox.clock import SystemClock
from packbox.core.box import BoxPlan, Cadence
from packbox.core.courtesy import Consent, Signs
from packbox.core.decode import Decoder
from packbox.core.power import Limits
from packbox.core.record import BatteryId, BoxId
from packbox.ports import Journal, LinkDownError, PackboxError, SettingsError, Uplink
from packbox.settings import BrokerSettings, PowerSettings, Settings
from packwire import __version__
from packwire.ids import box_id_of
from packwire.seal import digest

if TYPE_CHECKING:
    from packbox.app.keep_raw import KeepRaw

log = logging.getLogger(__name__)

STUCK_S: Final = 120.0  # --until-sent: a broker that restarts and a back-off that grew are over by then
LOOK_EVERY_S: Final = 0.2
AGAIN: Final = -1  # not an exit code: start anew, other settings are in force
GOODBYE_S: Final = 1.0  # SIGTERM to exit within two seconds, whatever the link does

T = TypeVar("T")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_settings_options(parser)
    parser.add_argument("--source", metavar="SOURCE", help=f"where frames come from: {FORMS} (setting source)")
    parser.add_argument("--profile", metavar="NAME", help="vehicle profile, or auto (setting profile)")
    parser.add_argument(
        "--speed", type=_speed, default=1.0, metavar="FACTOR", help="pace of a log: times faster than recorded, or max"
    )
    parser.add_argument(
        "--until-sent", action="store_true", help="when the source ends, stay until the book holds every record"
    )


def main(args: argparse.Namespace) -> int:
    code = 0
    try:
        settings = with_enrolment(settings_from(args))
        set_up_logging(settings.log_level, to_journal=is_journal(os.environ.get("JOURNAL_STREAM")))
        code = _guarded(settings, herald_from(os.environ), speed=args.speed, until_sent=args.until_sent)
    except* SettingsError as problems:
        code = _said(problems, 2)
    except* PackboxError as problems:
        code = _said(problems, 1)
    return code


def _guarded(settings: Settings, herald: Herald, *, speed: float | None, until_sent: bool) -> int:
    """With an eye on crash loops, if there is somebody who starts us again."""
    if not herald.is_heard:
        return _in_turns(partial(_run, settings, herald, speed=speed, until_sent=until_sent))
    guard = CrashGuard(settings.data_dir / JOURNAL_FILE, SystemClock(settings.clock_trusted))
    try:
        code = _in_turns(partial(_run, settings, herald, speed=speed, until_sent=until_sent, care=guard.begin()))
    except* SnapshotError:
        raise  # of newer software: no restart helps, a new store does
    except* PackboxError:
        guard.left()  # trouble that we know, and that what we leave out has no part in
        raise
    guard.left()
    return code


def _in_turns(turn: Callable[[], Coroutine[object, object, int]]) -> int:
    while (code := asyncio.run(turn())) == AGAIN:
        pass
    return code


def _said(problems: BaseExceptionGroup[PackboxError], code: int) -> int:
    for problem in problems.exceptions:
        if isinstance(problem, BaseExceptionGroup):
            _said(problem, code)
        else:
            print(f"packbox run: {problem}", file=sys.stderr)
    return code


def _speed(text: str) -> float | None:
    if text == "max":
        return None
    try:
        factor = float(text)
    except ValueError:
        factor = 0.0
    if not 0 < factor < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r}: expected how many times faster, above 0, or max")
    return factor


async def _run(
    settings: Settings, herald: Herald, *, speed: float | None, until_sent: bool, care: Care = IN_FULL
) -> int:
    if until_sent and settings.broker.host is None:
        raise SettingsError("--until-sent needs somebody to send to: set broker.host")
    clock = SystemClock(settings.clock_trusted)
    began = clock.now()
    key = box_key(settings)
    box = BoxId(box_id_of(key.public_key))
    desk = await asyncio.to_thread(Desk, settings, box, crashed=care.why is not None)
    settings = desk.settings  # from here on those in force
    catalogue = Catalogue(settings.profiles_dir)
    named = None if settings.profile in (None, AUTO) else find_apart(settings.profile, settings.profiles_dir)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)

    journal = SqliteJournal(settings.data_dir / JOURNAL_FILE, box, digest, clock)
    mind = Mind(journal, key)
    with kept_tail() as tail, ThreadPoolExecutor(1, "journal") as thread:
        offload = _offload_to(thread)
        await offload(mind.open)
        raw = _raw(settings)
        try:
            source = open_source(
                settings.source,
                mind.bookmark,
                clock,
                None if named is None else named[0],
                speed,
                may_ask=desk.agreed.polling is not Consent.NEVER and care.may_ask,
            )
            frames = source.frames if raw is None else raw.along(source.frames)
            inbox = Inbox(may_wait=not source.live, room_frames=ROOM_FRAMES if source.live else RECORDING_ROOM_FRAMES)
            listener = Listener(frames, inbox, clock)
            committed = asyncio.Event()
            thinker = Thinker(mind, inbox, offload, committed, herald, settings.commit_every_s)
            enrolling = Enrolling(settings, FileKeyStore(settings.key_file.parent, key), clock)
            may_send = settings.broker.host is not None or enrolling.invited
            link = new_report(mind.store) if may_send and care.may_send else None
            meeting = Meeting(mind, catalogue, partial(_plan, settings, box=box), offload, herald)
            gauge = Gauge(
                settings.data_dir,
                clock,
                began,
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
            )
            watch = _power_watch(settings.power, clock, mind, listener, link)
            mind.begin(source.name, gauge.at)
            log.info("box %s listens to %s", box, settings.source, extra={"STORE": mind.store})
            herald.ready()
            herald.status(f"box {box} listens to {settings.source}")
            async with asyncio.TaskGroup() as tasks:
                listening = tasks.create_task(listener.run(), name="listen")
                beside: list[asyncio.Task[None] | asyncio.Task[Never]] = [
                    tasks.create_task(_cancel_on(stop, listening), name="stop"),
                    tasks.create_task(watch.run(), name="power"),
                    tasks.create_task(enrolling.run(), name="enrol"),
                    tasks.create_task(
                        desk.serve(mind, journal, link, offload, clock, tail, committed, stop.set), name="desk"
                    ),
                ]
                if care.why is not None:
                    beside.append(tasks.create_task(_stop_after(CAREFUL_MAX_S, stop), name="careful"))
                if settings.status_file is not None:
                    who = Who(box, mind.store, settings.source, settings.profile or AUTO, care.why)
                    status = StatusFile(settings.status_file, who, gauge, watch)
                    beside.append(tasks.create_task(status.run(), name="status"))
                carrying = None
                if link is not None:
                    carrying = tasks.create_task(
                        carry(
                            journal,
                            _uplinks(lambda: enrolling.settings.broker, box, desk.put),
                            link,
                            newest_seq=lambda: mind.newest_seq,
                            health=gauge.heartbeat,
                            committed=committed,
                            offload=offload,
                            beat_every_s=settings.heartbeat_every_s,
                        ),
                        name="carry",
                    )
                profile = meeting.named(*named) if named is not None else await meeting.meet(listener, inbox)
                sent = True
                if profile is not None:
                    asking = None
                    if source.tester is not None:
                        asking = Asking(
                            profile,
                            desk.agreed.polling,
                            source.tester,
                            clock,
                            lambda: car_sight(mind.state),
                            signs=lambda: Signs(watch.lines.ignition_on, watch.lines.rail_v),
                        )
                        listener.hearers.append(asking.hear)
                        desk.asking = asking
                    beside.append(tasks.create_task(meeting.watch(asking), name="doubt"))  # may hold the asking
                    if asking is not None:
                        beside.append(tasks.create_task(asking.run(), name="ask"))
                    await tasks.create_task(thinker.run(lambda: not stop.is_set()), name="think")
                    sent = not until_sent or stop.is_set() or await _sent(journal, offload, stop)
                elif not stop.is_set():
                    raise UnknownCarError(f"the source ended; {meeting.trouble}")
                if not desk.again:
                    herald.leaving()
                for task in beside:
                    task.cancel()
                if carrying is not None:
                    await _leave(carrying)
        finally:
            if raw is not None:
                await raw.close()
            await offload(journal.close)
    if desk.again:
        return AGAIN
    log.info("box %s leaves", box, extra={"FRAMES": mind.frames, "RECORDS": mind.newest_seq})
    return 0 if sent else 1


def _raw(settings: Settings) -> KeepRaw | None:
    """Loaded only where the operator wants raw frames."""
    if not settings.raw_ring_mb:
        return None
    from packbox.app.keep_raw import keep_raw

    return keep_raw(settings)


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


def _uplinks(
    broker_now: Callable[[], BrokerSettings], box: BoxId, down: Callable[[str, bytes], None]
) -> Callable[[], AbstractAsyncContextManager[Uplink]]:
    from packbox.adapters.uplink import MqttUplink, TlsFiles, UplinkSettings

    def open_uplink() -> MqttUplink:
        broker = broker_now()
        if broker.host is None:
            raise LinkDownError("this box has not enrolled yet: it does not know its broker")
        settings = UplinkSettings(
            broker.host,
            broker.port,
            broker.protocol,
            TlsFiles(broker.ca_file, broker.cert_file, broker.key_file) if broker.tls else None,
            broker.user,
            broker.password.text if broker.password is not None else None,
            broker.keep_alive_s,
        )
        return MqttUplink(settings, box, down)

    return open_uplink


def _offload_to(thread: ThreadPoolExecutor) -> Offload:
    def offload(work: Callable[[], T], /) -> Awaitable[T]:
        return asyncio.get_running_loop().run_in_executor(thread, work)

    return offload


async def _cancel_on(stop: asyncio.Event, listening: asyncio.Task[None]) -> None:
    await stop.wait()
    log.info("asked to leave: saving")
    listening.cancel()


async def _stop_after(seconds: float, stop: asyncio.Event) -> None:
    await asyncio.sleep(seconds)
    log.warning("was careful for long enough: leaves, to be started in full")
    stop.set()


async def _sent(journal: Journal, offload: Offload, stop: asyncio.Event) -> bool:
    """Whether the book holds every record. Gives up when asked to leave, or when nothing moves any more."""
    loop = asyncio.get_running_loop()
    waiting = (await offload(journal.outbox)).waiting
    moved_s = loop.time()
    while waiting and not stop.is_set():
        if loop.time() - moved_s > STUCK_S:
            log.error("%d records still wait: the book has not taken one for %.0f s", waiting, STUCK_S)
            return False
        await asyncio.sleep(LOOK_EVERY_S)
        before, waiting = waiting, (await offload(journal.outbox)).waiting
        if waiting < before:
            moved_s = loop.time()
    return not waiting or stop.is_set()


async def _leave(carrying: asyncio.Task[Never]) -> None:
    """Let it say goodbye to the broker, but not for long: a dead link must not hold up a shutdown."""
    carrying.cancel()
    _, still = await asyncio.wait({carrying}, timeout=GOODBYE_S)
    for task in still:
        task.cancel()
