"""What all commands of the book share: settings, logging, signals, progress, and how trouble is said."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from packbook.adapters.mqtt import BrokerAddress, TlsFiles
from packbook.app.logs import set_up_logging
from packbook.ports.trouble import BrokerError, PackbookError, SettingsError
from packbook.settings import Settings, load_settings

DONE: Final = 0
PROBLEM: Final = 1
WRONG_USAGE: Final = 2
OWN_NAME: Final = "{name}"  # in broker_cert_file and broker_key_file


def add_settings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--settings",
        type=Path,
        metavar="FILE",
        help="settings (TOML); default /etc/packbook/packbook.toml, if any",
    )


def run(args: argparse.Namespace, work: Callable[[Settings], Awaitable[int]]) -> int:
    """Load the settings and do the work, until it is done or SIGTERM comes. Trouble goes to stderr."""
    try:
        settings = load_settings(args.settings)
        set_up_logging(settings)
        return asyncio.run(_until_asked_to_stop(work(settings)))
    except PackbookError as problem:
        print(f"packbook: {problem}", file=sys.stderr)
        return WRONG_USAGE if isinstance(problem, SettingsError) else PROBLEM


async def _until_asked_to_stop(work: Awaitable[int]) -> int:
    stopped = False
    task = asyncio.ensure_future(work)

    def stop() -> None:
        nonlocal stopped
        stopped = True
        task.cancel()

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop)
    try:
        return await task
    except asyncio.CancelledError:
        if stopped:
            return DONE
        raise


def broker_address(settings: Settings) -> BrokerAddress:
    """Raises SettingsError when a certificate file cannot be used."""
    return BrokerAddress(
        host=settings.broker_host,
        port=settings.broker_port,
        client_id=settings.collector_name,
        protocol=settings.broker_protocol,
        username=settings.broker_user,
        password=settings.broker_password.get_secret_value() if settings.broker_password else None,
        tls=_tls(settings) if settings.broker_tls else None,
        receive_max=settings.receive_max,
        session_expiry_s=settings.session_expiry_s,
    )


def _tls(settings: Settings) -> TlsFiles:
    """Tried once now, so that a wrong file ends the start."""
    cert, key = (_own(path, settings.collector_name) for path in (settings.broker_cert_file, settings.broker_key_file))
    files = TlsFiles(settings.broker_ca_file, cert, key)
    try:
        files.context()
    except BrokerError as problem:
        raise SettingsError(str(problem)) from problem
    return files


def _own(path: Path | None, name: str) -> Path | None:
    """Several workers have one settings file, and each a certificate of its own."""
    return None if path is None else Path(str(path).replace(OWN_NAME, name))


def show_progress(what: str) -> Callable[[int, int], None]:
    """A line that counts, on a terminal; silence in a pipe."""

    def show(done: int, total: int) -> None:
        end = "\n" if done >= total else ""
        print(f"\r{what}: {done} of {total} records", end=end, file=sys.stderr, flush=True)

    return show if sys.stderr.isatty() else lambda _done, _total: None
