"""`packbook demo`: broker, collector, database, pages and simulated boxes on this machine, until asked to stop.

In:  how many boxes and days, perhaps a recorded log.
Out: an address to open, progress of each box, a summary. Everything listens on 127.0.0.1 only.
Boxes are programs of their own (`python -m packbox run`): the book knows them by what they publish, here as anywhere.
Nothing is left running, however the demo ends; nothing is left on disk unless `--data-dir` asks for it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import importlib.util
import json
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import webbrowser
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, Final

from packbook.app.demo_cards import declare_all
from packbook.app.demo_people import People, give_away, make_people
from packbook.app.demo_progress import Screen, Seen, ask, line, summary
from packbook.app.demo_trust import DemoTrust, Identity
from packbook.app.serve import serve
from packbook.clock import now_ms
from packbook.ports.trouble import PackbookError
from packbook.settings import Settings

HOST: Final = "127.0.0.1"
COLLECTOR: Final = "collector-0"
DEFAULT_DAYS: Final = 240
OWNED: Final = 2  # cars of the demo's owner; the next is another firm's
DEFAULT_PORT: Final = 8080  # taken if it is free; otherwise any
MOST_BOXES: Final = 30  # each is a process of some 80 MB
MOST_DAYS: Final = 3650
READY_WAIT_MAX_S: Final = 30.0  # a loaded machine needs ten; more means that something is broken
# All ends within ten seconds, whatever hangs.
BOX_GOODBYE_WAIT_MAX_S: Final = 4.0  # boxes save and say goodbye in one; then they are killed
BOX_DEATH_WAIT_MAX_S: Final = 1.0
BOOK_GOODBYE_WAIT_MAX_S: Final = 2.5
ASK_EVERY_S: Final = 1.0
LAST_LINES: Final = 12  # of a log, when its program died
LONGEST_TAIL_BYTES: Final = 8192
PR_SET_PDEATHSIG: Final = 1  # prctl(2)
BOX_NICENESS: Final = 5  # boxes take all the processor they get; pages and broker go first
FIRST_DAY_FILE: Final = "first-day"


class DemoError(PackbookError):
    """The demo cannot start or go on; the text says why."""


@dataclass(frozen=True, slots=True)
class Car:
    model: str  # as packbox.sim knows it
    profile: str
    name: str


CARS: Final = (
    Car("leaf-24", "nissan-leaf", "Leaf 24 kWh"),
    Car("leaf-62", "nissan-leaf", "Leaf 62 kWh"),
    Car("imiev-16", "mitsubishi-imiev", "i-MiEV 16 kWh"),
)


@dataclass(frozen=True, slots=True)
class BoxPlan:
    """One box to start: its name on the pages, its settings, its source."""

    name: str
    folder: str
    profile: str
    arguments: tuple[str, ...]
    model: str | None = None  # of a simulated car; its owner agrees to everything, and its pack has a made-up card

    @property
    def battery(self) -> str:
        return f"demo-{self.folder}"


@dataclass(frozen=True, slots=True)
class Box:
    plan: BoxPlan
    process: asyncio.subprocess.Process
    log: Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--boxes", type=_whole(0, MOST_BOXES), default=len(CARS), metavar="N", help="simulated cars (3)"
    )
    parser.add_argument(
        "--days", type=_whole(1, MOST_DAYS), default=DEFAULT_DAYS, metavar="N", help="days of history they bring (240)"
    )
    parser.add_argument("--log", type=Path, metavar="PATH", help="one box more, that replays this recorded CAN log")
    parser.add_argument("--profile", metavar="NAME", help="vehicle profile of the log")
    parser.add_argument("--port", type=_whole(0, 65535), metavar="N", help="port of the pages (8080 if free, else any)")
    parser.add_argument("--seconds", type=_whole(1, 10**9), metavar="N", help="stop by itself after so many")
    parser.add_argument(
        "--data-dir", type=Path, metavar="DIR", help="keep everything there and go on from it next time"
    )
    parser.add_argument("--no-browser", action="store_true", help="do not open the page")


def main(args: argparse.Namespace) -> int:
    if (args.log is None) != (args.profile is None):
        print("packbook demo: --log and --profile go together", file=sys.stderr)
        return 2
    if args.boxes == 0 and args.log is None:
        print("packbook demo: --boxes 0 without --log leaves nothing to show", file=sys.stderr)
        return 2
    try:
        _check(args)
        return asyncio.run(_until_asked_to_stop(args))
    except (PackbookError, OSError) as problem:
        print(f"packbook demo: {problem}", file=sys.stderr)
        return 1


async def _until_asked_to_stop(args: argparse.Namespace) -> int:
    task = asyncio.create_task(_demo(args))
    asked = False

    def stop() -> None:
        nonlocal asked
        if not asked:  # being asked twice must not cut the cleaning up short
            asked = True
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    try:
        return await task
    except asyncio.CancelledError:
        print("stopped; nothing is left running", flush=True)
        return 0


async def _demo(args: argparse.Namespace) -> int:
    with _folder(args.data_dir) as folder, _quiet_logging(folder / "book.log"):
        print(f"data in {folder}", flush=True)
        trust = DemoTrust(folder, HOST, COLLECTOR)
        plans = _plans(args, folder)
        async with _broker(trust) as broker_port, _book(folder, trust, broker_port, args.port, plans) as (url, people):
            print(f"\n  open {url}\n\n{_told(url, people)}\nCtrl-C stops everything.\n", flush=True)
            async with _boxes(plans, folder, trust, broker_port) as boxes:
                if not args.no_browser:
                    await asyncio.to_thread(_open_browser, url)
                failed = await _watch(boxes, url, people.keys, args.seconds)
    print("stopped; nothing is left running", flush=True)
    return 1 if failed else 0


def _plans(args: argparse.Namespace, folder: Path) -> Sequence[BoxPlan]:
    first_day = _first_day(folder, args.days)
    plans = []
    for number in range(args.boxes):
        car, seed = CARS[number % len(CARS)], 1 + number // len(CARS)
        name = car.name if seed == 1 else f"{car.name} ({seed})"
        source = f"sim:{car.model},seed={seed},start={first_day.isoformat()}"
        plans.append(BoxPlan(name, f"{car.model}-{seed}", car.profile, ("--source", source), car.model))
    if args.log is not None:
        arguments = ("--source", f"log:{args.log.resolve()}", "--speed", "max", "--until-sent")
        plans.append(BoxPlan(args.log.stem[:60], "log", args.profile, arguments))
    return plans


def _first_day(folder: Path, days: int) -> date:
    """A data folder that is used again goes on with the same cars."""
    file = folder / FIRST_DAY_FILE
    try:
        return date.fromisoformat(file.read_text(encoding="ascii").strip())
    except FileNotFoundError:
        first_day = datetime.fromtimestamp(now_ms() / 1000, UTC).date() - timedelta(days=days)
        file.write_text(f"{first_day.isoformat()}\n", encoding="ascii")
        return first_day
    except ValueError as problem:
        raise DemoError(f"{file}: {problem}") from problem


# The parts, each gone when its block ends.


@contextlib.contextmanager
def _folder(wanted: Path | None) -> Iterator[Path]:
    if wanted is not None:
        wanted.mkdir(parents=True, exist_ok=True)
        yield wanted.resolve()
        return
    folder = Path(tempfile.mkdtemp(prefix="packbook-demo-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _quiet_logging(file: Path) -> Iterator[None]:
    """Our own log goes to a file: the terminal shows progress."""
    handler = logging.FileHandler(file, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    for chatty in ("amqtt", "transitions", "alembic", "uvicorn"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    try:
        yield
    finally:
        root.removeHandler(handler)
        handler.close()


@contextlib.asynccontextmanager
async def _broker(trust: DemoTrust) -> AsyncIterator[int]:
    """A broker in this process, MQTT 3.1.1 over mutual TLS. Yields its port."""
    from packbook.app.demo_broker import ServerFiles, embedded_broker  # amqtt comes with the demo only

    port = _free_port(0)
    files = ServerFiles(trust.ca, trust.broker.cert, trust.broker.key, trust.crl)
    async with embedded_broker(HOST, port, files, [COLLECTOR]):
        yield port


@contextlib.asynccontextmanager
async def _book(
    folder: Path, trust: DemoTrust, broker_port: int, port: int | None, plans: Sequence[BoxPlan]
) -> AsyncIterator[tuple[str, People]]:
    """Collector, database and pages in this process. Yields the address once pages answer, and who may sign in there.

    Made-up cards are entered as soon as boxes are heard; one car is another firm's.
    """
    settings = Settings(
        database_url=f"sqlite:///{folder / 'book.db'}",
        broker=f"mqtts://{HOST}:{broker_port}",
        broker_protocol="3.1.1",
        broker_ca_file=trust.collector.ca,
        broker_cert_file=trust.collector.cert,
        broker_key_file=trust.collector.key,
        collector_name=COLLECTOR,
        accounts="on",
        web_host=HOST,
        web_port=_free_port(DEFAULT_PORT) if port is None else port,
    )
    models = {plan.battery: plan.model for plan in plans if plan.model is not None}
    others = list(models)[OWNED : OWNED + 1]
    people = await make_people(settings, list(models)[:OWNED])
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve(settings, on_ready=ready.set_result, looks=people.looks), name="book")
    declaring: asyncio.Task[None] | None = None
    try:
        either: set[asyncio.Future[Any]] = {ready, serving}
        await asyncio.wait(either, timeout=READY_WAIT_MAX_S, return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            _raise_first(serving.exception())
        if not ready.done():
            raise DemoError(f"the pages do not answer after {READY_WAIT_MAX_S:.0f} s; see {folder / 'book.log'}")
        declaring = asyncio.create_task(_declare(settings, models, others), name="declare")
        yield ready.result(), people
    finally:
        parts = {serving} if declaring is None else {serving, declaring}
        for part in parts:
            part.cancel()
        await asyncio.wait(parts, timeout=BOOK_GOODBYE_WAIT_MAX_S)


async def _declare(settings: Settings, models: Mapping[str, str], others: Sequence[str]) -> None:
    """The demo goes on without cards."""
    try:
        for battery in others:
            await give_away(settings, battery)
        await declare_all(settings, models)
    except PackbookError as problem:
        logging.getLogger(__name__).warning("the demo's cars were not declared: %s", problem)


@contextlib.asynccontextmanager
async def _boxes(
    plans: Sequence[BoxPlan], folder: Path, trust: DemoTrust, broker_port: int
) -> AsyncIterator[Sequence[Box]]:
    boxes: list[Box] = []
    try:
        for plan in plans:
            boxes.append(await _start(plan, folder / plan.folder, trust, broker_port))  # noqa: PERF401 - kept if one fails
        yield boxes
    finally:
        await _end(boxes)


async def _start(plan: BoxPlan, folder: Path, trust: DemoTrust, broker_port: int) -> Box:
    settings, log = _make_folder(plan, folder, trust, broker_port)
    with log:
        if plan.model is not None:
            await _agree(settings, log)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "packbox",
            "run",
            "--settings",
            str(settings),
            *plan.arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=_environment(),
            start_new_session=True,  # Ctrl-C in the terminal reaches us alone, and we stop them in order
            preexec_fn=_die_with_parent(os.getpid()),
        )
    return Box(plan, process, Path(log.name))


async def _agree(settings: Path, log: BinaryIO) -> None:
    """The owner of a simulated car lets others see its battery: without that there is no passport to show."""
    words = ("-m", "packbox", "consent", "give", "passport", "--settings", str(settings))
    deciding = await asyncio.create_subprocess_exec(
        sys.executable, *words, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, env=_environment()
    )
    await deciding.wait()


def _make_folder(plan: BoxPlan, folder: Path, trust: DemoTrust, broker_port: int) -> tuple[Path, BinaryIO]:
    """Returns the box's settings file and its open log."""
    folder.mkdir(exist_ok=True)
    settings = folder / "packbox.toml"
    settings.write_text(_settings_of(plan, folder, trust.box(folder), broker_port), encoding="utf-8")
    return settings, (folder / "box.log").open("ab")


def _settings_of(plan: BoxPlan, folder: Path, identity: Identity, broker_port: int) -> str:
    return (
        f"data_dir = {_toml(str(folder))}\n"
        f"profile = {_toml(plan.profile)}\n"
        f"vehicle = {_toml(plan.name)}\n"
        f"battery = {_toml(plan.battery)}\n"
        'clock_trusted = "always"\n'
        f'[broker]\nhost = "{HOST}"\nport = {broker_port}\ntls = true\nprotocol = "3.1.1"\n'
        f"ca_file = {_toml(str(identity.ca))}\n"
        f"cert_file = {_toml(str(identity.cert))}\n"
        f"key_file = {_toml(str(identity.key))}\n"
    )


def _toml(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # a TOML basic string


def _environment() -> Mapping[str, str]:
    """Ours without settings of an operator: the demo must behave the same everywhere."""
    return {name: value for name, value in os.environ.items() if not name.upper().startswith(("PACKBOX_", "PACKBOOK_"))}


def _die_with_parent(parent: int) -> Callable[[], None] | None:
    """What a box does before it becomes a box: die at once if we are killed and cannot stop it."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl  # looked up before the fork

    def before_start() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
        os.nice(BOX_NICENESS)

    return before_start


async def _end(boxes: Sequence[Box]) -> None:
    """Ask all, wait, then kill what is left, whole groups each time."""
    for how, wait_s in ((signal.SIGTERM, BOX_GOODBYE_WAIT_MAX_S), (signal.SIGKILL, BOX_DEATH_WAIT_MAX_S)):
        running = [box for box in boxes if box.process.returncode is None]
        if not running:
            return
        for box in running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(box.process.pid, how)
        await asyncio.wait({asyncio.ensure_future(box.process.wait()) for box in running}, timeout=wait_s)


async def _watch(boxes: Sequence[Box], url: str, keys: Sequence[str], seconds: int | None) -> bool:
    """Show what each box has brought, until time is up or every box has died. True if one failed."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    names = [box.plan.name for box in boxes]
    screen = Screen(sys.stdout)
    gone: dict[str, int] = {}
    seen: Mapping[str, Seen] = {}
    try:
        while True:
            seen = await ask(url, keys) or seen
            for box in boxes:
                code = box.process.returncode
                if code is not None and box.plan.name not in gone:
                    gone[box.plan.name] = code
                    screen.say(_obituary(box, code))
            took_s = loop.time() - began_s
            screen.show([line(name, seen) for name in names], took_s)
            left_s = ASK_EVERY_S if seconds is None else min(ASK_EVERY_S, seconds - took_s)
            if left_s <= 0 or (len(gone) == len(boxes) and any(gone.values())):
                return any(gone.values())
            await asyncio.sleep(left_s)
    finally:
        screen.wipe()
        print(summary(names, seen, loop.time() - began_s), flush=True)


def _told(url: str, people: People) -> str:
    """How to come in: by a click, by a password, as a program."""
    names = "".join(f"  {login:<9} {password}\n" for login, password in people.passwords.items())
    ours, theirs = people.keys
    return (
        f"The first page signs you in with one click. By hand, name and password:\n{names}"
        f'For programs:\n  curl -H "Authorization: Bearer {ours}" {url}api/v1/batteries\n'
        f"and of another firm, which sees the third car alone:\n  {theirs}\n"
    )


def _obituary(box: Box, code: int) -> str:
    if code == 0:
        return f"{box.plan.name}: finished"
    how = f"was killed by signal {-code}" if code < 0 else f"stopped with exit code {code}"
    return "\n".join([f"{box.plan.name}: {how}; its last lines:", *(f"    {line}" for line in _tail(box.log))])


def _tail(log: Path) -> Sequence[str]:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - LONGEST_TAIL_BYTES))
        return file.read().decode("utf-8", "replace").splitlines()[-LAST_LINES:]


def _open_browser(url: str) -> None:
    """Only one with windows of its own: a text browser would take over this terminal."""
    if not sys.stdout.isatty():
        return
    with contextlib.suppress(webbrowser.Error):
        browser = webbrowser.get()
        if type(browser) is not webbrowser.GenericBrowser:
            browser.open(url)


def _check(args: argparse.Namespace) -> None:
    if args.log is not None and not args.log.is_file():
        raise DemoError(f"{args.log}: there is no such file")
    for module, what in (("packbox", "the box"), ("amqtt", "the broker")):
        if importlib.util.find_spec(module) is None:
            raise DemoError(f"{what} ({module}) is not installed: pip install 'packbook[demo]'")


def _free_port(wanted: int) -> int:
    """`wanted` if nobody listens there, else any."""
    for port in (wanted, 0):
        with contextlib.suppress(OSError), socket.create_server((HOST, port)) as probe:
            free: int = probe.getsockname()[1]
            return free
    raise DemoError(f"no port is free on {HOST}")


def _raise_first(problem: BaseException | None) -> None:
    """The first expected trouble in what a task group gathered, as itself."""
    while isinstance(problem, BaseExceptionGroup):
        problem = problem.exceptions[0]
    if problem is not None:
        raise problem


def _whole(least: int, most: int) -> Callable[[str], int]:
    def whole(text: str) -> int:
        value = int(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"expected {least} to {most}")
        return value

    return whole
