"""A private PostgreSQL server for tests and benchmarks, gone when its user is done with it."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest

from brokers import free_port
from processes import children_of, is_alive

POSTGRES_BINS: Final = "/usr/lib/postgresql"
STOP_WAIT_MAX_S: Final = 20.0
HASTY: Final = "fsync = off\nfull_page_writes = off\nshared_buffers = 32MB\n"  # tests cut no power here
DURABLE: Final = "shared_buffers = 512MB\nmax_wal_size = 4GB\n"


class Postgres:
    """One private server on a free port, its files in a scratch folder. `durable`: with fsync, as one that serves."""

    def __init__(self, *, durable: bool = False) -> None:
        self._options = DURABLE if durable else HASTY
        programs = sorted(Path(POSTGRES_BINS).glob("*/bin/initdb"))
        if not programs:
            pytest.skip("PostgreSQL is not installed (tests/needs.sh installs it)")
        self._bin = programs[-1].parent
        self._folder = Path(tempfile.mkdtemp(prefix="packbook-postgres-"))
        self._as_user: list[str] = []
        if os.getuid() == 0:  # PostgreSQL refuses to run as root; Debian's package brings the user
            owner = pwd.getpwnam("postgres")
            os.chown(self._folder, owner.pw_uid, owner.pw_gid)
            self._as_user = ["runuser", "-u", "postgres", "--"]
        self._data = self._folder / "data"
        self.port = free_port()

    def url(self, database: str) -> str:
        return f"postgresql://book@127.0.0.1:{self.port}/{database}"

    def scratch(self, name: str) -> Path:
        """A place for a file of the server's own programs, which run as its user."""
        return self._folder / name

    def start(self) -> None:
        self.run("initdb", "-D", self._data, "-U", "book", "-A", "trust", "-E", "UTF8", "--no-sync", "--locale=C")
        with (self._data / "postgresql.conf").open("a") as config:
            config.write(
                f"port = {self.port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = '{self._folder}'\n"
                f"max_connections = 30\n{self._options}"
            )
        self.resume()

    def resume(self) -> None:
        self.run("pg_ctl", "-D", self._data, "-w", "-l", self._folder / "log", "start")

    def crash(self) -> None:
        """As a power cut would: no clean shutdown."""
        self.run("pg_ctl", "-D", self._data, "-m", "immediate", "-w", "stop")

    @property
    def pid(self) -> int:
        return int((self._data / "postmaster.pid").read_text().split()[0])

    def kill(self) -> None:
        """SIGKILL for all of it at once; `resume` starts it again on what it had written."""
        pids = [self.pid, *children_of(self.pid)]
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + STOP_WAIT_MAX_S
        while any(is_alive(pid) for pid in pids):
            assert time.monotonic() < deadline, "PostgreSQL survives SIGKILL"
            time.sleep(0.01)

    def stop(self) -> None:
        pid_file = self._data / "postmaster.pid"
        if pid_file.exists():
            os.kill(int(pid_file.read_text().split()[0]), signal.SIGQUIT)
            self.run("pg_ctl", "-D", self._data, "-w", "-m", "immediate", "stop", check=False)
        shutil.rmtree(self._folder)

    def run(self, program: str, *arguments: str | Path, check: bool = True) -> None:
        subprocess.run(
            [*self._as_user, str(self._bin / program), *map(str, arguments)],
            check=check,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self._folder,
            timeout=STOP_WAIT_MAX_S,
        )
