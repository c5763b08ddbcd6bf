"""`packbook config push BOX|--fleet F FILE`: sign a configuration for each box and leave it at the broker.

In:  TOML with the names of `packwire.config`. Out: one retained message per box; versions on stdout.
Refuses (exit 1) names that cannot be set from afar and values out of range, before anything is sent. The version is the
time in seconds, so it rises without anybody keeping count, also after the book's database was lost.
"""

from __future__ import annotations

import argparse
import tomllib
from pathlib import Path
from typing import Any

from packbook.app.command import DONE, add_settings, run
from packbook.app.send_down import add_boxes, boxes_meant, operator_of, send_down, write_down
from packbook.clock import now_ms
from packbook.ports.trouble import PackbookError
from packbook.settings import Settings
from packwire.codec import checked
from packwire.config import SETTABLE, Config, encode_config
from packwire.errors import Malformed
from packwire.topics import Leaf, topic


class ConfigFileError(PackbookError):
    """The file is no configuration. Nothing was sent."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    ways = parser.add_subparsers(dest="way", metavar="WAY", required=True)
    pushing = ways.add_parser("push", help="sign it for one box or a fleet and send it")
    add_boxes(pushing)
    pushing.add_argument("file", type=Path, metavar="FILE", help="what to set (TOML)")
    pushing.add_argument("--version", type=int, metavar="N", help="default: the time in seconds, so that it rises")
    add_settings(pushing)


def main(args: argparse.Namespace) -> int:
    return run(args, lambda settings: _push(settings, args))


async def _push(settings: Settings, args: argparse.Namespace) -> int:
    made_ms = now_ms()
    config = config_from(args.file, made_ms // 1000 if args.version is None else args.version, made_ms)
    operator = operator_of(settings)
    boxes = await boxes_meant(settings, args)
    messages = {
        topic(box, Leaf.CONFIG): encode_config(config, box, operator.sign, operator.public_key) for box in boxes
    }
    await send_down(settings, messages)
    await write_down(settings, "config sent", boxes, f"{config.version} from {args.file.name}")
    for box in boxes:
        print(f"box {box}: version {config.version} waits for it at the broker")
    return DONE


def config_from(file: Path, version: int, made_ms: int) -> Config:
    """Raises ConfigFileError with file, name and reason."""
    try:
        given: dict[str, Any] = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as problem:
        raise ConfigFileError(f"{file}: cannot be read: {problem}") from problem
    unknown = sorted(set(given) - set(SETTABLE))
    if unknown:
        raise ConfigFileError(f"{file}: {unknown[0]}: cannot be set from afar; what can be: {', '.join(SETTABLE)}")
    try:
        if "operator_key" in given:
            given["operator_key"] = bytes.fromhex(str(given["operator_key"]))
    except ValueError as problem:
        raise ConfigFileError(f"{file}: operator_key: expected 64 hex digits") from problem
    try:
        return checked(Config(version=version, made_ms=made_ms, **given))
    except Malformed as problem:
        raise ConfigFileError(f"{file}: {str(problem).removeprefix('Config.')}") from problem
