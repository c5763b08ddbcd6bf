"""One chaos run: what is started, what is killed and cut, what is done meanwhile, and what came of it.

In:  a `Plan`; everything random in it follows from its seed (the moments at which processes are hit do not).
Out: `Report`. Nothing outside the scratch folder is touched, except for a network namespace where there may be one.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from statistics import median
from typing import Final
from urllib.request import urlopen

import aiomqtt
import asyncpg

from brokers import Mosquitto, free_port
from chaos.cable import Cable, Room
from chaos.machines import Backend, Broker, OneWorker, Program, Server, Victim
from chaos.verdict import Verdict, command, held_by, judge, made_by, quarantined
from chaos.witness import AT_ONCE_S, Witness
from packbook.testing.scripted_box import ScriptedBox
from packwire.topics import Leaf, topic
from postgres_server import Postgres

ROOT: Final = Path(__file__).resolve().parents[2]
DRAIN_MAX_S: Final = 1800.0  # after the last kill; minutes only where the machine is shared
WAKE_AFTER_S: Final = 60.0  # boxes that heard nothing wait up to five minutes; a car is driven before that
CUT_S: Final = (0.3, 4.0)
DOWN_SHARE: Final = 0.7  # of the time between two kills, at most: how long what was killed stays down
SIM_SPEED: Final = 21_600  # a quarter of a day each second
FIRST_DAY: Final = date(2026, 1, 1)
DATABASE: Final = "book"
PAGE_WAIT_MAX_S: Final = 30.0
WEIGHTS: Final = {
    "worker": 4,
    "all workers": 2,
    "broker": 3,
    "database": 3,
    "database backend": 2,
    "real box": 3,
    "scripted boxes": 3,
    "pages": 1,
}


@dataclass(frozen=True)
class Plan:
    seed: int
    minutes: float = 10.0
    kills: int = 200
    workers: int = 2
    real_boxes: int = 2
    scripted: tuple[int, int] = (3, 8)  # processes, boxes in each
    record_every_s: float = 3.0  # of each scripted box
    resizes: int = 12  # how often a worker is added or taken away
    namespace: bool = True  # where root and kernel allow it

    @property
    def duration_s(self) -> float:
        return self.minutes * 60


@dataclass
class Report:
    plan: Plan
    killed: Counter[str] = field(default_factory=Counter)
    cuts: Counter[str] = field(default_factory=Counter)
    acts: Counter[str] = field(default_factory=Counter)
    namespace: bool = False
    chaos_s: float = 0.0
    drain_s: float = 0.0
    acks: int = 0
    late: int = 0
    lags_s: list[float] = field(default_factory=list)
    verdict: Verdict = field(default_factory=Verdict)
    logs: str = ""

    @property
    def wrong(self) -> list[str]:
        return self.verdict.wrong

    def told(self) -> str:
        def counts(what: Counter[str]) -> str:
            return ", ".join(f"{name} {count}" for name, count in sorted(what.items())) or "none"

        lag_ms = 1000 * median(self.lags_s or [0.0])
        network = (
            "boxes in a network namespace of their own"
            if self.namespace
            else "no network namespace here: proxies alone"
        )
        verdict = self.verdict
        lines = [
            f"seed {self.plan.seed}; {self.chaos_s:.0f} s of chaos, {self.drain_s:.0f} s until all was in the book",
            f"killed {self.killed.total()}: {counts(self.killed)}",
            f"cuts {self.cuts.total()}: {counts(self.cuts)} ({network})",
            f"meanwhile: {counts(self.acts)}",
            f"{verdict.records} records in {verdict.stores} stores, {verdict.planted} forgeries planted and set apart",
            f"{verdict.bundles} batteries' bundles verified",
            f"{self.acks} acks held against the ledger {lag_ms:.0f} ms (median) after they were heard",
            f"{self.late} of these after more than {AT_ONCE_S:.0f} s, most while the database was down",
        ]
        if not self.wrong:
            lines.append("0 lost, 0 doubled, all as the boxes made them; chains verify; projections equal a rebuild")
        return "\n".join([*lines, *(f"WRONG: {trouble}" for trouble in self.wrong)])


class Run:
    def __init__(self, plan: Plan, folder: Path, tell: Callable[[str], None]) -> None:
        self.plan = plan
        self.tell = tell
        self.folder = folder
        self.report = Report(plan)
        self.dice = random.Random(plan.seed)
        self.postgres = Postgres(durable=True)
        self.server = Server(self.postgres)
        self.room = Room.make() if plan.namespace else None
        self.report.namespace = self.room is not None
        (folder / "broker").mkdir()
        self.mosquitto = Mosquitto(folder / "broker", persistent=True)
        self.settings = folder / "book.toml"
        self.web_port = free_port()
        self.calm = asyncio.Lock()  # held while something is done that nobody else may disturb
        self.busy: dict[str, asyncio.Task[None]] = {}  # what is down, by the victim's place
        self.planted: dict[bytes, str] = {}

    @property
    def url(self) -> str:
        return self.postgres.url(DATABASE)

    # --- the system ---------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            stack.callback(self.postgres.stop)
            if self.room is not None:
                stack.callback(self.room.close)
            await asyncio.to_thread(self.postgres.start)
            await self._administer(f"CREATE DATABASE {DATABASE}")
            stack.enter_context(self.mosquitto)
            await self._lay_cables(stack)
            self._describe_programs()
            said = await asyncio.to_thread(command, self.settings, "migrate")
            assert said.returncode == 0, said.stderr
            self.witness = Witness(self.mosquitto.host, self.mosquitto.port, self.url)
            witnessing = asyncio.create_task(self.witness.run())
            stack.callback(witnessing.cancel)
            for program in self.programs:
                stack.callback(program.strike, self.dice)
                program.start()
            async with asyncio.timeout(DRAIN_MAX_S):
                while not self.witness.acks:  # noqa: ASYNC110 - acks come by themselves
                    await asyncio.sleep(0.1)
            self.tell("the book acknowledges; now the killing")
            yield
            assert not witnessing.done(), witnessing.exception()

    async def _lay_cables(self, stack: AsyncExitStack) -> None:
        at = self.mosquitto
        boxes = Cable(
            "boxes to broker", at.host, at.port, host=self.room.host if self.room is not None else "127.0.0.1"
        )
        workers = Cable("workers to broker", at.host, at.port)
        database = Cable("workers to database", "127.0.0.1", self.postgres.port)
        self.cables = [await stack.enter_async_context(cable) for cable in (boxes, workers, database)]
        self.settings.write_text(
            f'database_url = "postgresql://book@127.0.0.1:{database.port}/{DATABASE}"\n'
            f'broker = "mqtt://127.0.0.1:{workers.port}"\nshare = "chaos"\nbatch_records_max = 200\n'
            f'web_port = {self.web_port}\nbook_key_file = "{self.folder / "book-key.pem"}"\n'
        )
        straight = self.settings.read_text().replace(f":{database.port}/", f":{self.postgres.port}/")
        self.judging = self.folder / "judge.toml"  # through no cable
        self.judging.write_text(straight.replace(f":{workers.port}", f":{at.port}"))

    def _describe_programs(self) -> None:
        plan, boxes = self.plan, self.cables[0]
        book = [sys.executable, "-m", "packbook"]
        where = ["--settings", str(self.settings)]
        collect = [*book, "collect", "--workers", str(plan.workers), *where]
        self.team = Program("all workers", collect, self.folder / "workers.log")
        self.web = Program("pages", [*book, "web", *where], self.folder / "web.log")
        inside: Callable[[list[str]], list[str]] = self.room.command if self.room is not None else list
        self.real = [
            Program("real box", inside(self._real_box(number)), self.folder / f"box-{number}.log")
            for number in range(plan.real_boxes)
        ]
        processes, each = plan.scripted
        self.scripted = []
        for number in range(processes):
            folder = self.folder / f"scripted-{number}"
            folder.mkdir()
            words = [str(folder), boxes.host, str(boxes.port), str(number * each), str(each), str(plan.record_every_s)]
            script = [sys.executable, str(Path(__file__).with_name("box.py")), *words]
            self.scripted.append(Program("scripted boxes", inside(script), self.folder / f"scripted-{number}.log"))
        self.programs = [self.team, self.web, *self.real, *self.scripted]
        self.victims: list[Victim] = [
            *self.programs, OneWorker(self.team), Broker(self.mosquitto), self.server, Backend(self.server, self.url),
        ]  # fmt: skip

    def _real_box(self, number: int) -> list[str]:
        boxes, folder = self.cables[0], self.folder / f"box-{number}"
        file = self.folder / f"box-{number}.toml"
        file.write_text(
            f'data_dir = "{folder}"\nprofile = "nissan-leaf"\nbattery = "real-{number}"\n'
            f'profiles_dir = "{ROOT / "can_profiles"}"\nclock_trusted = "always"\n'
            f'[broker]\nhost = "{boxes.host}"\nport = {boxes.port}\ntls = false\n'
        )
        days = int(self.plan.duration_s * SIM_SPEED / 86_400) + 2
        until = FIRST_DAY + timedelta(days=days)
        source = f"sim:leaf-24,seed={number + 7},start={FIRST_DAY},until={until},speed={SIM_SPEED}"
        run = [sys.executable, "-m", "packbox", "run", "--settings", str(file), "--until-sent"]
        return [*run, "--source", source]

    # --- chaos --------------------------------------------------------------------------------------------------

    async def chaos(self) -> None:
        begun_s = time.monotonic()
        await self._plant(5)
        meanwhile = [asyncio.create_task(part) for part in (self._cut(), self._resize(), self._keep_house())]
        try:
            await self._kill()
            await meanwhile[-1]
        finally:
            for task in meanwhile[:-1]:
                task.cancel()
            await asyncio.gather(*meanwhile[:-1], return_exceptions=True)
            meanwhile[-1].cancel()
        await asyncio.gather(*self.busy.values())
        self.report.chaos_s = time.monotonic() - begun_s

    async def _kill(self) -> None:
        """As many as planned. Each kind once before any twice: short runs are to have them all."""
        every_s = self.plan.duration_s / self.plan.kills
        first = sorted(WEIGHTS)
        self.dice.shuffle(first)
        begun_s, done = time.monotonic(), 0
        while done < self.plan.kills:
            await asyncio.sleep(max(0.0, begun_s + (done + self.dice.random()) * every_s - time.monotonic()))
            kind = first[0] if first else self.dice.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
            async with self.calm:
                if not await self._strike(kind, self.dice.uniform(0.0, DOWN_SHARE) * every_s):
                    await asyncio.sleep(0.1)
                    continue
            first = first[1:]
            done += 1

    async def _strike(self, kind: str, down_s: float) -> bool:
        places = [place for place, victim in enumerate(self.victims) if victim.kind == kind]
        place = self.dice.choice(places)
        task = self.busy.get(kind + str(place))
        down = self.busy.get(self.server.kind + str(self.victims.index(self.server)))
        if (task is not None and not task.done()) or (
            kind == "database backend" and down is not None and not down.done()
        ):
            return False
        victim = self.victims[place]
        if not await asyncio.to_thread(victim.strike, self.dice):
            if isinstance(victim, Program):
                victim.mend()
            return False
        self.report.killed[kind] += 1

        async def mend() -> None:
            await asyncio.sleep(down_s)
            await asyncio.to_thread(victim.mend)

        self.busy[kind + str(place)] = asyncio.create_task(mend())
        return True

    async def _cut(self) -> None:
        """About one cut for every four kills, each on one cable or the boxes' room."""
        pause_s = 4 * self.plan.duration_s / self.plan.kills
        dice = random.Random(f"cut {self.plan.seed}")
        while True:
            await asyncio.sleep(dice.uniform(0.3, 1.0) * pause_s)
            for_s = min(dice.uniform(*CUT_S), pause_s)
            if self.room is not None and dice.random() < 0.25:
                self.report.cuts["boxes unplugged"] += 1
                await self.room.unplug(for_s)
                continue
            cable = dice.choice(self.cables)
            way = dice.choice([cable.reset, cable.pause, cable.half_open, cable.slow])
            self.report.cuts[f"{cable.name} {way.__name__.replace('_', '-')}"] += 1
            await way(for_s)

    async def _resize(self) -> None:
        """One worker more, one less, under load. What is killed as a whole begins again with as many as it had."""
        dice = random.Random(f"resize {self.plan.seed}")
        extra = 0
        for _ in range(self.plan.resizes):
            await asyncio.sleep(dice.uniform(0.5, 1.0) * self.plan.duration_s / self.plan.resizes)
            more = extra == 0 or (extra < 2 and dice.random() < 0.5)
            async with self.calm:
                await asyncio.gather(*self.busy.values())
                self.team.tell(signal.SIGTTIN if more else signal.SIGTTOU)
            extra += 1 if more else -1
            self.team.command[self.team.command.index("--workers") + 1] = str(self.plan.workers + extra)
            self.report.acts["worker added" if more else "worker taken away"] += 1

    async def _keep_house(self) -> None:
        """Backup, rebuild under load, and the backup put back, each once, in the middle of it all."""
        share_s = self.plan.duration_s / 10
        await asyncio.sleep(2.5 * share_s)
        dump = await self._back_up()
        await asyncio.sleep(share_s)
        while (said := await asyncio.to_thread(command, self.judging, "rebuild")).returncode:  # stopped half way: again
            self.report.acts["rebuild stopped by a kill"] += 1
            await asyncio.sleep(0.5)
            assert self.report.acts["rebuild stopped by a kill"] < 200, said.stderr
        self.report.acts["rebuild under load"] += 1
        await asyncio.sleep(share_s)
        await self._put_back(dump)
        await self._plant(5)

    async def _back_up(self) -> Path:
        dump = self.postgres.scratch("book.dump")
        async with self._still():
            words = ("--format=custom", f"--dbname={self.url}", f"--file={dump}")
            await asyncio.to_thread(self.postgres.run, "pg_dump", *words)
        self.report.acts["backup"] += 1
        self.tell(f"backup made after {self.report.killed.total()} kills; rebuilding under load")
        return dump

    async def _put_back(self, dump: Path) -> None:
        """As docs/book.md says: stop the book, an empty database, pg_restore, start."""
        self.tell("putting yesterday's backup back")
        async with self._still():
            for program in (self.team, self.web):
                await asyncio.to_thread(program.leave)
            before = sum(map(len, (await held_by(self.url)).values()))
            await asyncio.sleep(0.5)  # acks on their way to the witness
            await self.witness.forget()
            await self._administer(f"DROP DATABASE {DATABASE} WITH (FORCE)")
            await self._administer(f"CREATE DATABASE {DATABASE}")
            await asyncio.to_thread(self.postgres.run, "pg_restore", f"--dbname={self.url}", dump)
            after = sum(map(len, (await held_by(self.url)).values()))
            self.report.acts["records that the restored book had forgotten"] += before - after
            self.team.start()
            self.web.start()
        self.report.acts["backup put back"] += 1

    @asynccontextmanager
    async def _still(self) -> AsyncIterator[None]:
        """Nobody is killed, and what was is up again."""
        async with self.calm:
            await asyncio.gather(*self.busy.values())
            await self._answering()
            yield

    async def _answering(self) -> None:
        async with asyncio.timeout(DRAIN_MAX_S):
            while True:
                with suppress(OSError, TimeoutError, asyncpg.PostgresError):
                    await (await asyncpg.connect(self.url, timeout=5)).close()
                    return
                await asyncio.sleep(0.1)

    async def _administer(self, statement: str) -> None:
        connection = await asyncpg.connect(self.postgres.url("postgres"))
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    # --- forgeries ----------------------------------------------------------------------------------------------

    async def _plant(self, count: int) -> None:
        """Records with a forged signature, of a stranger, cut off, and no records at all."""
        for number in range(count):
            stranger = ScriptedBox(name=f"stranger-{len(self.planted)}")
            sealed = stranger.hello()
            address = topic(stranger.box, Leaf.RECORD)
            forged = sealed[:-1] + bytes([sealed[-1] ^ 1])
            payload = (forged, sealed[: len(sealed) // 2], b"not a record %d" % len(self.planted))[number % 3]
            self.planted[payload] = address
        await self._publish_planted()

    async def _publish_planted(self) -> None:
        with suppress(aiomqtt.MqttError, TimeoutError):  # a broker may forget them; they are planted again in the end
            async with aiomqtt.Client(self.mosquitto.host, self.mosquitto.port, timeout=5) as client:
                for payload, address in self.planted.items():
                    await client.publish(address, payload, qos=1)

    # --- the end ------------------------------------------------------------------------------------------------

    async def drain(self) -> None:
        """No more kills; until the book has everything, or the time for it is over."""
        begun_s = time.monotonic()
        self.tell(
            f"{self.report.killed.total()} killed in {self.report.chaos_s:.0f} s; waiting for the boxes to be done"
        )
        await self._answering()
        for program in self.programs:
            program.mend()
        for program in self.scripted:
            program.tell(signal.SIGUSR1)
        await self._publish_planted()
        planted_s = woken_s = time.monotonic()
        while time.monotonic() - begun_s < DRAIN_MAX_S and (wanting := await self._wanting()):
            await asyncio.sleep(0.5)
            if time.monotonic() - planted_s > 10:
                self.tell(f"waiting for {wanting}")
                await self._publish_planted()
                planted_s = time.monotonic()
            if time.monotonic() - woken_s > WAKE_AFTER_S:
                woken_s = time.monotonic()
                for program in self.real:
                    if program.process is not None and program.process.poll() != 0:  # waits longer and longer
                        program.strike(self.dice)
                        program.mend()
                        self.report.acts["boxes woken at the end"] += 1
        self.report.drain_s = time.monotonic() - begun_s
        await self.witness.forget()

    async def _wanting(self) -> str:
        """What has not come to its end yet; nothing: all that the boxes made is in the book."""
        going = [program.log.stem for program in self.real if program.running]
        made, held = await asyncio.to_thread(made_by, self.journals), await held_by(self.url)
        missing = sum(len(records.keys() - {seq for seq, _ in held.get(key, ())}) for key, records in made.items())
        forgeries = len(self.planted.keys() - (await quarantined(self.url)).keys())
        return f"{missing} records, {forgeries} forgeries, {going}" if going or missing or forgeries else ""

    @property
    def journals(self) -> list[Path]:
        return [*self.folder.glob("box-*/*.db"), *self.folder.glob("scripted-*/journal.db")]

    async def judge(self) -> None:
        self.tell(f"done after {self.report.drain_s:.0f} s; judging")
        wrong = [
            f"{program.log.stem} has not come to its end within {DRAIN_MAX_S:.0f} s"
            for program in self.real
            if program.process is None or program.process.poll() != 0
        ]
        try:
            address = f"http://127.0.0.1:{self.web_port}/battery/real-0"
            await asyncio.to_thread(lambda: urlopen(address, timeout=PAGE_WAIT_MAX_S).close())
        except OSError as problem:
            wrong.append(f"packbook web does not show a battery: {problem}")
        if await asyncio.to_thread(self.team.leave) != 0:
            wrong.append("the workers did not stop when asked")
        for program in (self.web, *self.real, *self.scripted):
            await asyncio.to_thread(program.strike, self.dice)
        batteries = [f"real-{number}" for number in range(self.plan.real_boxes)]
        report, witness = self.report, self.witness
        report.verdict = await judge(self.url, self.judging, self.journals, set(self.planted), batteries)
        report.acks, report.late, report.lags_s = witness.acks, witness.late, witness.lags_s
        report.wrong.extend([*wrong, *witness.lies])
        if not witness.acks:
            report.wrong.append("no ack was heard: nothing was witnessed")
        report.logs = "\n".join(program.tail() for program in self.programs)


async def run(plan: Plan, tell: Callable[[str], None] = lambda _said: None) -> Report:
    """`tell` hears of each part of the run as it begins."""
    folder = Path(tempfile.mkdtemp(prefix="packbook-chaos-"))
    one = Run(plan, folder, tell)
    try:
        async with one.running():
            await one.chaos()
            await one.drain()
            await one.judge()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return one.report
