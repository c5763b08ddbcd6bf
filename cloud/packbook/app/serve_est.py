"""The enrolment door: EST over HTTPS on a port of its own, beside the pages and apart from them."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import uvicorn

from packbook.adapters.authority import CA_FILE
from packbook.app.listening import OPEN_ANSWERS_WAIT_MAX_S, Server, taken
from packbook.ports.trouble import SettingsError
from packbook.ports.trust import Enrolment
from packbook.settings import Settings
from packbook.web.est import PeerProtocol, create_est

CONNECTIONS_MAX: Final = 200  # an answer takes milliseconds; more at once are no boxes
HEADERS_BYTES_MAX: Final = 16_384  # ours are below 400

log = logging.getLogger(__name__)


@contextmanager
def est_door(settings: Settings) -> Iterator[socket.socket]:
    """The socket that boxes enrol at. Raises PortTaken."""
    assert settings.enrol_port is not None
    with taken("enrol_port", settings.enrol_host, settings.enrol_port) as door:
        yield door


async def serve_est(settings: Settings, desk: Enrolment, door: socket.socket) -> None:
    """Until cancelled. Raises SettingsError when the server's certificate cannot be used."""
    assert settings.ca_dir is not None
    config = uvicorn.Config(
        create_est(desk),
        http=PeerProtocol,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # a client's certificate ends here: behind a proxy that ends TLS there would be none
        limit_concurrency=CONNECTIONS_MAX,
        h11_max_incomplete_event_size=HEADERS_BYTES_MAX,
        timeout_graceful_shutdown=OPEN_ANSWERS_WAIT_MAX_S,
        ssl_certfile=settings.enrol_cert_file,
        ssl_keyfile=settings.enrol_key_file,
        ssl_ca_certs=str(settings.ca_dir / CA_FILE),
        ssl_cert_reqs=ssl.CERT_OPTIONAL,  # a new box has none yet; one that is shown must be good
    )
    try:
        config.load()
    except (OSError, ssl.SSLError) as problem:
        raise SettingsError(
            f"enrol_cert_file {settings.enrol_cert_file}, enrol_key_file {settings.enrol_key_file}: {problem}"
        ) from problem
    host, port = door.getsockname()[:2]
    server = Server(config, lambda: log.info("boxes enrol at https://%s:%d/", host, port))
    serving = asyncio.create_task(server.serve(sockets=[door]), name="est")
    try:
        await asyncio.shield(serving)
    except asyncio.CancelledError:
        server.should_exit = True
        await serving
        raise
