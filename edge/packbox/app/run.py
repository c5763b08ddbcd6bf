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
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import TYPE_CHECKING, Final, Never, TypeVar

from packbox.adapters.herald import Herald, herald_from
from packbox.adapters.journal import JOURNAL_FILE, SqliteJournal
from packbox.adapters.profile_apart import find_apart
from packbox.adapters.snapshot import SnapshotError
from packbox.app.box_key import box_key
from packbox.app.carry import LinkReport, Offload, carry
from packbox.app.crash_guard import CAREFUL_MAX_S, IN_FULL, Care, CrashGuard
from packbox.app.desk import Desk
from packbox.app.enrolled import with_enrolment
from packbox.app.log_tail import LogTail, kept_tail
from packbox.app.logging_setup import is_journal, set_up_logging
from packbox.app.mind import Mind
from packbox.app.options import add_settings_options, settings_from
from packbox.app.parts import Base, Parts, assemble
from packbox.app.recognise import AUTO, UnknownCarError
from packbox.app.sources import FORMS
from packbox.app.status import StatusFile, Who
from packbox.clock import SystemClock
from packbox.core.record import BoxId
from packbox.ports import Journal, LinkDownError, PackboxError, SettingsError, Uplink
from packbox.settings import BrokerSettings, Settings
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
Work = tuple[str, Coroutine[object, object, None]]  # a task's name, and what it does


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
        settings = settings_from(args)
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
    settings = with_enrolment(settings)  # at each start anew: the one before may have enrolled
    if until_sent and settings.broker.host is None:
        raise SettingsError("--until-sent needs somebody to send to: set broker.host")
    clock = SystemClock(settings.clock_trusted)
    began = clock.now()
    key = box_key(settings)
    box = BoxId(box_id_of(key.public_key))
    desk = await asyncio.to_thread(Desk, settings, box, crashed=care.why is not None)
    settings = desk.settings  # from here on those in force
    named = None if settings.profile in (None, AUTO) else find_apart(settings.profile, settings.profiles_dir)
    stop = _stop_by_signal()
    journal = SqliteJournal(settings.data_dir / JOURNAL_FILE, box, digest, clock)
    mind = Mind(journal, key)
    with kept_tail() as tail, ThreadPoolExecutor(1, "journal") as thread:
        offload = _offload_to(thread)
        await offload(mind.open)
        raw = _raw(settings)
        base = Base(settings, box, key, clock, began, herald, care, desk, journal, mind, offload, named)
        try:
            sent = await _live(assemble(base, raw, speed), tail, stop, until_sent=until_sent)
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


async def _live(parts: Parts, tail: LogTail, stop: asyncio.Event, *, until_sent: bool) -> bool:
    """Until the source ends or somebody says stop. False: not every record was sent, where that was asked for."""
    base, sent = parts.base, True
    base.mind.begin(parts.source.name, parts.gauge.at)
    _say_ready(base)
    async with asyncio.TaskGroup() as tasks:
        listening = tasks.create_task(parts.listener.run(), name="listen")
        beside = [tasks.create_task(work, name=name) for name, work in _beside(parts, tail, listening, stop)]
        carrying = None if parts.link is None else tasks.create_task(_carrying(parts, parts.link), name="carry")
        profile = await parts.know_the_car()
        if profile is not None:
            asking = parts.begin_asking(profile)
            beside.append(tasks.create_task(parts.meeting.watch(asking), name="doubt"))  # may hold the asking
            if asking is not None:
                beside.append(tasks.create_task(asking.run(), name="ask"))
            await tasks.create_task(parts.thinker.run(lambda: not stop.is_set()), name="think")
            sent = not until_sent or stop.is_set() or await _sent(base.journal, base.offload, stop)
        elif not stop.is_set():
            raise UnknownCarError(f"the source ended; {parts.meeting.trouble}")
        if not base.desk.again:
            base.herald.leaving()
        for task in beside:
            task.cancel()
        if carrying is not None:
            await _leave(carrying)
    return sent


def _say_ready(base: Base) -> None:
    log.info("box %s listens to %s", base.box, base.settings.source, extra={"STORE": base.mind.store})
    base.herald.ready()
    base.herald.status(f"box {base.box} listens to {base.settings.source}")


def _beside(parts: Parts, tail: LogTail, listening: asyncio.Task[None], stop: asyncio.Event) -> Iterator[Work]:
    """What goes on beside listening, thinking and sending for as long as the box runs."""
    base = parts.base
    settings, care, desk = base.settings, base.care, base.desk
    yield "stop", _cancel_on(stop, listening)
    yield "power", parts.watch.run()
    yield "enrol", parts.enrolling.run()
    yield (
        "desk",
        desk.serve(base.mind, base.journal, parts.link, base.offload, base.clock, tail, parts.committed, stop.set),
    )
    if care.why is not None:
        yield "careful", _stop_after(CAREFUL_MAX_S, stop)
    if settings.status_file is not None:
        who = Who(base.box, base.mind.store, settings.source, settings.profile or AUTO, care.why)
        yield "status", StatusFile(settings.status_file, who, parts.gauge, parts.watch).run()


def _carrying(parts: Parts, link: LinkReport) -> Coroutine[object, object, Never]:
    base, enrolling = parts.base, parts.enrolling
    return carry(
        base.journal,
        _uplinks(lambda: enrolling.settings.broker, base.box, base.desk.put),
        link,
        newest_seq=lambda: base.mind.newest_seq,
        health=parts.gauge.heartbeat,
        committed=parts.committed,
        offload=base.offload,
        beat_every_s=base.settings.heartbeat_every_s,
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


def _stop_by_signal() -> asyncio.Event:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


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
