"""A broker and a book on this machine, set up by the operator's own commands, for a box in a guest.

In:  a scratch folder; where the guest's ports come out; the moment from which certificates count.
Out: `Book`: codes for boxes, what its ledger holds, its pages; broker and book may be closed and opened again.
The guest calls both by 10.0.2.100 (rig.guest). Everything between is TLS with certificates of one authority.
"""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from brokers import HOST, Mosquitto, free_port
from chaos.machines import Program
from packbook.adapters import authority
from packbook.adapters.authority import CA_FILE, ROOT_FILE
from rig.machine import Late, last_lines
from rig.relay import Relay

CALLED: Final = "10.0.2.100"
BROKER_PORT, ENROL_PORT = 8883, 8443  # as the guest sees them
COLLECTOR: Final = "collector-0"
READY_MAX_S: Final = 120.0  # on a machine that runs guests beside it
LOOK_EVERY_S: Final = 0.2
ASK_MAX_S: Final = 30.0
COMMAND_MAX_S: Final = 120.0


class Book:
    """Open from `with` on."""

    def __init__(self, folder: Path, guest_folder: Path, *, from_ms: int) -> None:
        self._folder = folder
        self._ports = {name: free_port() for name in ("broker", "enrol", "web")}
        self._settings = folder / "packbook.toml"
        ca, server = _ceremony(folder / "ca", from_ms)
        self.root = ca / ROOT_FILE
        self.broker = self._configured(ca, server)
        self._settings.write_text(_toml(self._wishes(ca, server)))
        command = [sys.executable, "-m", "packbook", "serve", "--settings", str(self._settings)]
        self._serving = Program("book", command, folder / "book.log")
        self.wire = Relay(guest_folder / f"{BROKER_PORT}.sock", self._ports["broker"])
        self._enrolling = Relay(guest_folder / f"{ENROL_PORT}.sock", self._ports["enrol"])
        self._parts = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as parts:
            for part in (self.broker, self.wire, self._enrolling):
                parts.enter_context(part)
            parts.callback(self._serving.leave)
            self._open()
            self._parts = parts.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._parts.close()

    @contextmanager
    def closed(self) -> Iterator[None]:
        """For maintenance: the broker takes in what comes meanwhile."""
        assert self._serving.leave() == 0, self._serving.tail()
        yield
        self._open()

    def _open(self) -> None:
        self._serving.start()
        deadline = time.monotonic() + READY_MAX_S
        while True:
            try:
                self.page("")
            except OSError as problem:
                if not self._serving.running or time.monotonic() > deadline:
                    raise Late(self._serving.tail()) from problem
                time.sleep(LOOK_EVERY_S)
            else:
                return

    # --- what an operator and an owner see -------------------------------------------------------------------------

    def invitation(self) -> bytes:
        """The file for a new card, with a one-time code."""
        codes = self._folder / "codes"
        self.command("token", "new", "--boot-files", str(codes))
        return (codes / "001/packbox-enrol.toml").read_bytes()

    def command(self, *words: str) -> str:
        """What `packbook` said; AssertionError if it found a problem."""
        return _said(*words, "--settings", str(self._settings))

    def verified(self, bundle: Path) -> dict[str, Any]:
        """What `packbook verify` finds, given this fleet's root and nothing else; AssertionError if it is not good."""
        found = json.loads(_said("verify", str(bundle), "--root", str(self.root), "--json"))
        assert isinstance(found, dict)
        return found

    def page(self, path: str) -> str:
        with urllib.request.urlopen(f"http://{HOST}:{self._ports['web']}/{path}", timeout=ASK_MAX_S) as answer:
            text: str = answer.read().decode()
            return text

    def asked(self, path: str) -> Any:
        return json.loads(self.page(f"api/v1/{path}"))

    def ledger(self, store: str) -> dict[int, bytes]:
        """Sealed records by number."""
        return dict(self._rows("SELECT seq, sealed FROM ledger WHERE store = ?", store))

    def refused(self) -> list[Any]:
        return self._rows("SELECT reason, detail FROM quarantine")

    def _rows(self, query: str, *values: object) -> list[Any]:
        with closing(sqlite3.connect(f"file:{self._folder}/book.db?mode=ro", uri=True)) as database:
            return database.execute(query, values).fetchall()

    # --- how it is set up ------------------------------------------------------------------------------------------

    def _configured(self, ca: Path, server: tuple[Path, Path]) -> Mosquitto:
        """By `packbook broker-config`, nothing changed but where the log goes."""
        etc, data, port = self._folder / "etc", self._folder / "data", self._ports["broker"]
        data.mkdir()
        self._settings.write_text("")
        where = ("--etc", str(etc), "--data", str(data), "--bind", HOST, "--port", str(port))
        self.command("broker-config", "--out", str(etc), *where, "--collector", COLLECTOR)
        for name, source in zip(
            ("ca.pem", "crl.pem", "server.pem", "server.key"),
            (ca / CA_FILE, ca / authority.CRL_FILE, *server),
            strict=True,
        ):
            (etc / name).write_bytes(source.read_bytes())
        return Mosquitto.of_config(etc / "mosquitto.conf", port)

    def _wishes(self, ca: Path, server: tuple[Path, Path]) -> dict[str, object]:
        return {
            "database_url": f"sqlite:///{self._folder}/book.db",
            "broker": f"mqtts://{HOST}:{self._ports['broker']}",
            "broker_ca_file": str(ca / CA_FILE),
            "broker_cert_file": str(ca / f"{COLLECTOR}.pem"),
            "broker_key_file": str(ca / f"{COLLECTOR}.key"),
            "collector_name": COLLECTOR,
            "enrolled_only": True,
            "web_port": self._ports["web"],
            "ca_dir": str(ca),
            "enrol_host": HOST,
            "enrol_port": self._ports["enrol"],
            "enrol_cert_file": str(server[0]),
            "enrol_key_file": str(server[1]),
            "enrol_url": f"https://{CALLED}:{ENROL_PORT}",
            "box_broker": f"mqtts://{CALLED}:{BROKER_PORT}",
        }


def _said(*words: str) -> str:
    command = [sys.executable, "-m", "packbook", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_MAX_S, check=False)
    assert done.returncode == 0, f"packbook {words[0]}: {last_lines(done.stdout + done.stderr)}"
    return done.stdout


def _ceremony(ca: Path, from_ms: int) -> tuple[Path, tuple[Path, Path]]:
    """As `packbook ca` does it, but for the date: the guest's week lies in the past. The root's key is not kept."""
    root = authority.make_root("Journey", from_ms)
    authority.add_issuer(root, ca, from_ms)
    ours = authority.Authority(ca)
    ours.write_revoked([], from_ms)
    ours.issue_client(COLLECTOR, ca, from_ms)
    return ca, authority.make_server(root, [CALLED, HOST], ca, from_ms)


def _toml(wishes: dict[str, object]) -> str:
    return "".join(f"{name} = {json.dumps(value)}\n" for name, value in wishes.items())
