"""mosquitto as `broker-config` configures it, and the demo's broker: both with the same certificates."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import aiomqtt

from brokers import HOST, Mosquitto, free_port
from certificates import Authority, Pair
from packbook.__main__ import main
from packbook.app.demo_broker import ServerFiles, embedded_broker

A, B = "a" * 16, "b" * 16
COLLECTOR, OPERATOR = "collector-0", "operator-0"
WAIT_S = 15.0


@dataclass
class Guarded:
    """A running broker, and what its clients need."""

    port: int
    authority: Authority
    mosquitto: Mosquitto | None = None  # None: the demo's

    def client(
        self, name: str, identifier: str | None = None, pair: Pair | None = None, **more: object
    ) -> aiomqtt.Client:
        mine = pair or self.authority.issue(name)
        context = ssl.create_default_context(cafile=self.authority.file)
        context.load_cert_chain(mine.cert, mine.key)
        return aiomqtt.Client(
            HOST, self.port, identifier=identifier or name, tls_context=context, timeout=WAIT_S,
            protocol=more.pop("protocol", aiomqtt.ProtocolVersion.V311), **more,  # type: ignore[arg-type]
        )  # fmt: skip


@contextmanager
def configured_mosquitto(folder: Path, *revoked: str, options: tuple[str, ...] = ()) -> Iterator[Guarded]:
    """By `packbook broker-config`, nothing changed but where the log goes."""
    etc, data, port = folder / "etc", folder / "data", free_port()
    data.mkdir()
    names = ["--collector", COLLECTOR, "--operator", OPERATOR]
    where = ["--etc", str(etc), "--data", str(data), "--bind", HOST, "--port", str(port)]
    assert main(["broker-config", "--out", str(etc), *where, *names, *options]) == 0
    authority = Authority(folder / "pki")
    server = authority.issue(HOST, file="server", server=True)
    for name, source in (("ca.pem", authority.file), ("server.pem", server.cert), ("server.key", server.key)):
        (etc / name).write_bytes(source.read_bytes())
    (etc / "crl.pem").write_bytes(authority.revocation_list(*map(authority.issue, revoked)).read_bytes())
    broker = Mosquitto.of_config(etc / "mosquitto.conf", port)
    with broker:
        yield Guarded(port, authority, broker)


@asynccontextmanager
async def configured_demo(folder: Path, *revoked: str) -> AsyncIterator[Guarded]:
    authority, port = Authority(folder / "pki"), free_port()
    server = authority.issue(HOST, file="server", server=True)
    crl = authority.revocation_list(*map(authority.issue, revoked))
    async with embedded_broker(HOST, port, ServerFiles(authority.file, server.cert, server.key, crl), [COLLECTOR]):
        yield Guarded(port, authority)


@asynccontextmanager
async def guarded(kind: str, folder: Path, *revoked: str) -> AsyncIterator[Guarded]:
    if kind == "demo":
        async with configured_demo(folder, *revoked) as broker:
            yield broker
    else:
        with configured_mosquitto(folder, *revoked) as broker:
            yield broker


def bad_pair(kind: str, authority: Authority, name: str) -> Pair | None:
    """A certificate that no broker may take, made for `name`; None: none at all. 'revoked' needs the list."""
    half = timedelta(minutes=30)
    match kind:
        case "none":
            return None
        case "expired":
            return authority.issue(name, file="expired", ends=-half)
        case "not yet valid":
            return authority.issue(name, file="early", begins=half)
        case "other authority":
            return Authority(authority.folder / "other").issue(name)
        case "not for clients":
            return authority.issue(name, file="as-server", server=True)
        case "revoked":
            return Pair(authority.folder / f"{name}.crt", authority.folder / f"{name}.key", 0)
    raise ValueError(kind)
