"""What goes down to a box is believed only where the operator signed exactly that, for exactly that box."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from packwire.cbor import dumps
from packwire.codec import to_wire
from packwire.command import MAX_COMMAND_BYTES, Command, decode_command, encode_command
from packwire.config import MAX_CONFIG_BYTES, SETTABLE, Config, decode_config, encode_config
from packwire.errors import BadSignature, Malformed, WireError
from packwire.ids import BoxId
from packwire.signed import open_whole, sign_whole
from packwire.topics import Leaf, topic
from wire_samples import BOX, COMMANDS, CONFIGS, KEY, PUBLIC_KEY

OTHER = Ed25519PrivateKey.from_private_bytes(bytes(reversed(range(32))))
CONFIG, COMMAND = CONFIGS["typical"], COMMANDS["resend"]
SIGNED: dict[str, tuple[bytes, Callable[[bytes, BoxId, bytes], Any]]] = {
    "config": (encode_config(CONFIG, BOX, KEY.sign, PUBLIC_KEY), decode_config),
    "command": (encode_command(COMMAND, BOX, KEY.sign, PUBLIC_KEY), decode_command),
}


def signed(raw: object, leaf: Leaf = Leaf.CONFIG) -> bytes:
    return sign_whole(dumps(raw), topic(BOX, leaf), KEY.sign, PUBLIC_KEY)


@pytest.mark.parametrize("what", SIGNED)
def test_one_changed_byte_is_refused(what: str) -> None:
    """Whoever owns the broker must not be able to change a single byte of what the operator said."""
    whole, decode = SIGNED[what]
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 1
        with pytest.raises(WireError):
            decode(bytes(changed), BOX, PUBLIC_KEY)


@pytest.mark.parametrize("what", SIGNED)
def test_every_cut_and_every_tail_is_refused(what: str) -> None:
    """A message cut by a bad link must never be half believed."""
    whole, decode = SIGNED[what]
    for bad in [*(whole[:end] for end in range(len(whole))), whole + b"\0"]:
        with pytest.raises(WireError):
            decode(bad, BOX, PUBLIC_KEY)


@pytest.mark.parametrize("what", SIGNED)
def test_what_was_signed_for_one_box_is_nothing_to_another(what: str) -> None:
    """Otherwise one captured message would reconfigure a fleet."""
    whole, decode = SIGNED[what]
    with pytest.raises(BadSignature, match="not signed by key"):
        decode(whole, BoxId("00" * 8), PUBLIC_KEY)


@pytest.mark.parametrize("what", SIGNED)
def test_a_foreign_key_is_refused_by_name(what: str) -> None:
    """The operator of another fleet is a stranger too."""
    whole, decode = SIGNED[what]
    with pytest.raises(BadSignature, match=f"{what} of key"):
        decode(whole, BOX, OTHER.public_key().public_bytes_raw())


def test_a_command_is_no_configuration_and_no_record_is_either() -> None:
    """A signature is good for the purpose it was made for."""
    as_config = sign_whole(dumps(to_wire(CONFIG)), topic(BOX, Leaf.COMMAND), KEY.sign, PUBLIC_KEY)
    with pytest.raises(BadSignature):
        decode_config(as_config, BOX, PUBLIC_KEY)
    for leaf in (Leaf.RECORD, Leaf.ACK):
        with pytest.raises(BadSignature):
            decode_config(sign_whole(dumps(to_wire(CONFIG)), topic(BOX, leaf), KEY.sign, PUBLIC_KEY), BOX, PUBLIC_KEY)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ([1], "Config: expected a map"),
        ({}, "Config.version: is missing"),
        ({0: 0}, "Config.version"),
        ({0: 1, 99: 1}, "config: key 99 is not a setting that this side knows"),
        ({0: 1, 2: "../../etc/passwd"}, "Config.profile"),
        ({0: 1, 3: "a b"}, "Config.battery"),
        ({0: 1, 4: 0}, "Config.commit_every_s"),
        ({0: 1, 5: 1}, "Config.heartbeat_every_s"),
        ({0: 1, 8: "host\nname"}, "Config.broker_host"),
        ({0: 1, 9: 70_000}, "Config.broker_port"),
        ({0: 1, 10: 0}, "Config.trial_h"),
        ({0: 1, 11: b"short"}, "Config.operator_key"),
        ({0: "1"}, "Config.version"),
    ],
)
def test_a_bad_setting_is_refused_by_name_though_signed(raw: object, reason: str) -> None:
    """An operator mistypes too; the text is what he gets to read."""
    with pytest.raises(Malformed, match=reason.replace("[", r"\[")):
        decode_config(signed(raw), BOX, PUBLIC_KEY)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ({0: b"1234", 1: "inspect", 2: 1}, "Command.id"),
        ({0: bytes(8), 1: "open_the_doors", 2: 1}, "'open_the_doors' is not one that this side knows"),
        ({0: bytes(8), 1: "inspect"}, "Command.expires_ms"),
        ({0: bytes(8), 1: "resend", 2: 1}, "resend needs it"),
        ({0: bytes(8), 1: "inspect", 2: 1, 3: 4}, "from_seq belongs to resend"),
        ({0: bytes(8), 1: "log_slice", 2: 1, 4: 1_000_000}, "Command.lines"),
    ],
)
def test_commands_are_a_closed_list(raw: object, reason: str) -> None:
    """Whatever else the operator's key may sign, a box does nothing but these three."""
    with pytest.raises(Malformed, match=reason):
        decode_command(signed(raw, Leaf.COMMAND), BOX, PUBLIC_KEY)


def test_nothing_that_could_harm_car_or_owner_can_be_set_from_afar() -> None:
    """The list is short on purpose; a new entry is a decision about privacy and safety, made here."""
    assert set(SETTABLE) == {
        "profile", "battery", "commit_every_s", "heartbeat_every_s", "usage_every_s", "soh_every_s", "broker_host",
        "broker_port", "trial_h", "operator_key",
    }  # fmt: skip


def test_large_messages_are_refused_before_they_are_read() -> None:
    """A stranger's megabyte costs a box nothing."""
    with pytest.raises(Malformed, match="at most 2048 are allowed"):
        decode_config(bytes(MAX_CONFIG_BYTES + 1), BOX, PUBLIC_KEY)
    with pytest.raises(Malformed, match="at most 512 are allowed"):
        decode_command(bytes(MAX_COMMAND_BYTES + 1), BOX, PUBLIC_KEY)
    assert len(encode_config(CONFIGS["maximal"], BOX, KEY.sign, PUBLIC_KEY)) < 700
    assert max(len(encode_command(command, BOX, KEY.sign, PUBLIC_KEY)) for command in COMMANDS.values()) < 180


@pytest.mark.parametrize(
    "parts",
    [
        [b"\xa1\x01\x26", {4: bytes(4)}, b"", bytes(64)],
        [b"\xa1\x01\x27", {}, b"", bytes(64)],
        [b"\xa1\x01\x27", {4: bytes(4), 5: b""}, b"", bytes(64)],
        [b"\xa1\x01\x27", {4: bytes(3)}, b"", bytes(64)],
        [b"\xa1\x01\x27", {4: bytes(4)}, "text", bytes(64)],
        [b"\xa1\x01\x27", {4: bytes(4)}, b"", bytes(63)],
        [b"\xa1\x01\x27"],
        b"bytes",
    ],
)
def test_a_signed_whole_has_one_form_only(parts: object) -> None:
    """Another form of the same bytes could pass one reader and not the next."""
    with pytest.raises(Malformed, match="thing"):
        open_whole(dumps(cbor2.CBORTag(18, parts)), "purpose", PUBLIC_KEY, "thing")


def test_a_command_says_what_it_needs() -> None:
    """A resend without a number would send years of records."""
    with pytest.raises(ValueError, match="from_seq"):
        Command(id=bytes(8), command=COMMAND.command, expires_ms=1)
    assert Config(version=1).trial_h == 72.0
