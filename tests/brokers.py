"""Real brokers for tests, each on a free loopback port, each gone when its `with` block ends.

In:  a scratch folder (mosquitto) or nothing (amqtt).
Out: `Mosquitto` (a process: MQTT 5 and 3.1.1, may be killed and started again) and `Amqtt` (in this event loop, 3.1.1).
A test module makes its own fixture of one in two lines:

    @pytest.fixture
    def broker(tmp_path: Path) -> Iterator[Mosquitto]:
        with Mosquitto(tmp_path) as running:
            yield running
"""

from __future__ import annotations

import getpass
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import pytest
from amqtt.broker import Broker

HOST: Final = "127.0.0.1"
ANSWER_WAIT_MAX_S: Final = 10.0  # a loaded machine needs one second at most; more means the broker is broken
DEBIAN_SBIN: Final = "/usr/sbin"  # not on every PATH


def free_port() -> int:
    """A port that nobody used a moment ago."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


class Mosquitto:
    """One private mosquitto. Keeps its port, and with `persistent` its sessions, over `kill` and `start`."""

    def __init__(self, folder: Path, *, persistent: bool = False, options: str = "", anonymous: bool = True) -> None:
        """`options`: further lines for the listener, for example certificates or an ACL file."""
        self.host = HOST
        self.port = free_port()
        self.log = folder / "mosquitto.log"
        self._config = folder / "mosquitto.conf"
        self._process: subprocess.Popen[bytes] | None = None
        lines = [
            f"user {getpass.getuser()}",  # started by root it would otherwise become another user and lose the folder
            f"listener {self.port} {HOST}",
            f"allow_anonymous {str(anonymous).lower()}",
            f"log_dest file {self.log}",
            "max_queued_messages 0",  # its default silently drops behind a success PUBACK
            *([f"persistence true\npersistence_location {folder}/"] if persistent else []),
            options,
        ]
        self._config.write_text("\n".join(lines) + "\n")

    @classmethod
    def of_config(cls, config: Path, port: int) -> Self:
        """One with a configuration of ours as it is, that makes it listen on `port`."""
        text = config.read_text()
        folder = config.parent / "under-test"
        folder.mkdir(exist_ok=True)
        broker = cls(folder)
        broker.port = port
        own = f"user {getpass.getuser()}\nlog_dest file {broker.log}\n"
        broker._config.write_text(f"{text}{own}")
        return broker

    @property
    def pid(self) -> int:
        assert self._process is not None, "not running"
        return self._process.pid

    def reload(self) -> None:
        """As `systemctl reload` does."""
        assert self._process is not None, "not running"
        self._process.send_signal(signal.SIGHUP)

    def start(self) -> None:
        """Returns when it takes connections."""
        program = shutil.which("mosquitto") or shutil.which("mosquitto", path=DEBIAN_SBIN)
        if program is None:
            pytest.skip("mosquitto is not installed (tests/needs.sh installs it)")
        assert self._process is None, "already running"
        self._process = subprocess.Popen(
            [program, "-c", str(self._config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + ANSWER_WAIT_MAX_S
        while time.monotonic() < deadline:
            assert self._process.poll() is None, f"mosquitto ended at once: {self._log_text()}"
            try:
                socket.create_connection((HOST, self.port), timeout=0.2).close()
            except OSError:
                time.sleep(0.01)
            else:
                return
        raise TimeoutError(f"mosquitto does not answer on port {self.port}: {self._log_text()}")

    def stop(self) -> None:
        """Ask it to leave, as systemd would."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """As a power cut would: what it did not write is lost."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(how)
        self._process.wait(timeout=ANSWER_WAIT_MAX_S)
        self._process = None

    def _log_text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else "no log"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()


class Amqtt:
    """The pure-Python broker of the demo, in the running event loop. MQTT 3.1.1 only; forgets all when stopped."""

    def __init__(self) -> None:
        self.host = HOST
        self.port = free_port()
        self._broker: Broker | None = None

    async def start(self) -> None:
        anonymous = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}
        self._broker = Broker(
            {"listeners": {"default": {"type": "tcp", "bind": f"{HOST}:{self.port}"}}, "plugins": anonymous}
        )
        await self._broker.start()

    async def stop(self) -> None:
        if self._broker is not None:
            await self._broker.shutdown()
            self._broker = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
