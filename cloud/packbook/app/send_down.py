"""What `packbook config` and `packbook command` share: the operator's key, the boxes meant, the way to the broker."""

from __future__ import annotations

import argparse
import asyncio
import getpass
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from packbook.adapters.mqtt import Link
from packbook.adapters.signing_key import read_key
from packbook.app.command import broker_address
from packbook.app.enrolment import ACTS
from packbook.app.operate import operate
from packbook.app.token import box_name, fleet_name
from packbook.ports.trouble import BrokerError, PackbookError, SettingsError
from packbook.ports.trust import Signer
from packbook.settings import Settings
from packwire.ids import BoxId

TAKEN_WAIT_MAX_S: Final = 10.0
ACTIVE: Final = "active"


class NobodyMeantError(PackbookError):
    """There is no box to send to. Nothing was sent."""


def add_boxes(parser: argparse.ArgumentParser) -> None:
    meant = parser.add_mutually_exclusive_group(required=True)
    meant.add_argument("box", nargs="?", type=box_name, metavar="BOX")
    meant.add_argument("--fleet", type=fleet_name, metavar="FLEET", help="every active box of it")


def operator_of(settings: Settings) -> Signer:
    if settings.operator_key_file is None:
        raise SettingsError("operator_key_file: not set; `packbook operator-key new` makes a key there")
    return read_key(settings.operator_key_file)


async def boxes_meant(settings: Settings, args: argparse.Namespace) -> list[BoxId]:
    if args.box is not None:
        return [BoxId(args.box)]
    listed = await operate(settings, ACTS, "box.list", {})
    found = [BoxId(box["box"]) for box in listed if box["fleet"] == args.fleet and box["state"] == ACTIVE]
    if not found:
        raise NobodyMeantError(f"fleet {args.fleet}: has no active box")
    return found


async def send_down(settings: Settings, messages: Mapping[str, bytes], expiry_s: int | None = None) -> None:
    """Retained, one message for each topic. Returns when the broker has taken all. Raises BrokerError."""
    address = replace(broker_address(settings), client_id=f"operator-{secrets.token_hex(4)}", session_expiry_s=0)
    taken = asyncio.Event()
    open_topics = set(messages)

    def done(topic: str) -> None:
        open_topics.discard(topic)
        if not open_topics:
            taken.set()

    link = Link(address, lambda _message: None)
    try:
        await link.open(())
        for topic, payload in messages.items():
            link.publish(topic, payload, partial(done, topic), expiry_s=expiry_s)
        async with asyncio.timeout(TAKEN_WAIT_MAX_S):
            await taken.wait()
    except TimeoutError as problem:
        raise BrokerError(f"broker {address.name}: did not take {_few(sorted(open_topics))}: denied?") from problem
    finally:
        await link.close()


async def write_down(settings: Settings, act: str, boxes: Sequence[BoxId], detail: str) -> None:
    """After it was sent: who sent what to which boxes."""
    await operate(settings, ACTS, "box.sent", {"boxes": boxes, "act": act, "detail": detail, "who": getpass.getuser()})


def _few(topics: Sequence[str]) -> str:
    return topics[0] if len(topics) == 1 else f"{topics[0]} and {len(topics) - 1} more"
