"""Every message shape ever released is still read, means the same, and is written with the same bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec.structs import fields

from packwire.ack import Ack, decode_ack, encode_ack
from packwire.command import decode_command, encode_command
from packwire.config import decode_config, encode_config
from packwire.errors import BadSignature
from packwire.ids import StoreId, key_id_of
from packwire.messages import BYTE_BUDGET, MESSAGES, TYPICAL_BYTES, Kind, Message
from packwire.presence import decode_heartbeat, encode_heartbeat
from packwire.seal import open_sealed, seal
from wire_samples import (
    ACKS,
    BOX,
    COMMANDS,
    CONFIGS,
    KEY,
    MAXIMAL,
    PUBLIC_KEY,
    RELEASED,
    TYPICAL,
    goldens,
    meaning,
    sealed_sample,
)

FILES = sorted(RELEASED.glob("*.json"))
RECORDS = [file for file in FILES if not file.name.startswith(("ack", "command", "config", "heartbeat"))]


def load(file: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return loaded


@pytest.mark.parametrize("file", RECORDS, ids=lambda file: file.stem)
def test_a_released_record_still_means_what_it_meant(file: Path) -> None:
    """A box sold today is heard in ten years; its records are evidence."""
    golden = load(file)
    record = open_sealed(bytes.fromhex(golden["sealed_hex"]), PUBLIC_KEY)
    assert record.kind.name.lower() == golden["kind"]
    assert (record.envelope.box, record.envelope.seq) == (BOX, golden["envelope"]["seq"])
    assert record.envelope.previous.hex() == golden["envelope"]["previous_hex"]
    assert record.envelope.wall_ms == golden["envelope"]["wall_ms"]
    assert meaning(record.message) == golden["message"]


@pytest.mark.parametrize("file", RECORDS, ids=lambda file: file.stem)
def test_a_released_record_is_written_with_the_same_bytes_today(file: Path) -> None:
    """One meaning, one encoding: otherwise a re-sealed record would look like a fork."""
    sealed = bytes.fromhex(load(file)["sealed_hex"])
    record = open_sealed(sealed, PUBLIC_KEY)
    assert seal(record.message, record.envelope, KEY.sign, key_id_of(PUBLIC_KEY)) == sealed


@pytest.mark.parametrize("name", ACKS)
def test_a_released_ack_still_means_what_it_meant(name: str) -> None:
    """A retained ack may be older than the box's software."""
    golden = load(RELEASED / f"ack-{name}.json")
    data = bytes.fromhex(golden["ack_hex"])
    ranges = tuple((lo, hi) for lo, hi in golden["ranges"])
    head = bytes.fromhex(golden["head_hex"]) if "head_hex" in golden else None
    held = Ack(StoreId(golden["store"]), golden["upto"], ranges, head, golden.get("resend_from"))
    assert decode_ack(data) == held
    assert encode_ack(held) == data


@pytest.mark.parametrize("name", CONFIGS)
def test_a_released_configuration_still_means_what_it_meant(name: str) -> None:
    """A retained configuration waits for a box that was switched off for years."""
    golden = load(RELEASED / f"config-{name}.json")
    config = decode_config(bytes.fromhex(golden["config_hex"]), BOX, PUBLIC_KEY)
    assert (config, meaning(config)) == (CONFIGS[name], golden["message"])
    assert encode_config(config, BOX, KEY.sign, PUBLIC_KEY).hex() == golden["config_hex"]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_released_command_still_means_what_it_meant(name: str) -> None:
    """The book may be newer or older than the box that it commands."""
    golden = load(RELEASED / f"command-{name}.json")
    command = decode_command(bytes.fromhex(golden["command_hex"]), BOX, PUBLIC_KEY)
    assert (command, meaning(command)) == (COMMANDS[name], golden["message"])
    assert encode_command(command, BOX, KEY.sign, PUBLIC_KEY).hex() == golden["command_hex"]


def test_a_released_heartbeat_still_means_what_it_meant() -> None:
    """The operator's table must survive mixed software versions."""
    golden = load(RELEASED / "heartbeat-typical.json")
    data = bytes.fromhex(golden["heartbeat_hex"])
    assert meaning(decode_heartbeat(data)) == golden["message"]
    assert encode_heartbeat(decode_heartbeat(data)) == data


def test_every_kind_has_a_typical_and_a_maximal_golden() -> None:
    """A kind without one could change unseen."""
    wanted = {f"{kind.name.lower()}-{size}.json" for kind in Kind for size in ("typical", "maximal")}
    assert wanted <= {file.name for file in FILES}
    assert set(goldens()) == {file.name for file in FILES}


@pytest.mark.parametrize(
    ("message", "largest"),
    [(m, False) for m in TYPICAL] + [(m, True) for m in MAXIMAL],
    ids=lambda value: value.KIND.name.lower() if isinstance(value, Message) else ("maximal" if value else "typical"),
)
def test_every_kind_stays_within_its_bytes(message: Message, largest: bool) -> None:
    """Months offline must fit the outbox, and a record must not cost more mobile data than it is worth."""
    size = len(sealed_sample(message, largest=largest))
    budget = (BYTE_BUDGET if largest else TYPICAL_BYTES)[message.KIND]
    assert 0.9 * budget <= size <= budget, f"{size} B against {budget} B: over, or too much head-room to notice growth"


def test_the_maximal_samples_use_every_field() -> None:
    """Otherwise `maximal` would lie about the budget and goldens would miss a field."""
    for message in MAXIMAL:
        missing = [
            field.name
            for field in fields(MESSAGES[message.KIND])
            if not field.required and getattr(message, field.name) == field.default
        ]
        # A value equal to its default is not sent: these are used, at the value with the longest words.
        assert set(missing) <= {"charge_kind", "battery_source", "clock"}, message.KIND


def test_goldens_are_sealed_with_the_published_key_only() -> None:
    """Anybody may check them; nobody may take them for a box's records."""
    stranger = Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key().public_bytes_raw()
    with pytest.raises(BadSignature):
        open_sealed(bytes.fromhex(load(RECORDS[0])["sealed_hex"]), stranger)
