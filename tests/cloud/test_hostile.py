"""Strangers and hostile boxes: no bytes crash the collector, fill the memory, or stand before good records."""

from __future__ import annotations

import logging
import random
import resource
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import cbor2
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from empty_book import empty_book
from fuzz_decoders import DECODERS, PUBLIC, examples, sealed_by_key, shaped
from packbook.adapters.collector import _report
from packbook.adapters.store import open_writer
from packbook.adapters.store.ledger import Ledger
from packbook.app.logs import quiet_libraries
from packbook.core.intake import Arrival
from packbook.testing.scripted_box import RECEIVED_MS, ScriptedBox
from packwire.cbor import MAX_MESSAGE_BYTES, MAX_WHOLE, dumps
from packwire.errors import Malformed, WireError
from packwire.ids import box_id_of
from packwire.messages import MESSAGES
from packwire.seal import check, peek

MEMORY_MAX_BYTES = 96 * MAX_MESSAGE_BYTES  # while one message is read: empty maps, a byte each, take 72 B each
BOX = box_id_of(PUBLIC)
EXAMPLES = list(examples())

WHOLE = st.integers(-MAX_WHOLE, MAX_WHOLE)
VALUES = st.recursive(
    st.none() | st.booleans() | WHOLE | st.binary(max_size=40) | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.integers(0, 60), inner, max_size=6),
    max_leaves=30,
)


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_decoder_takes_or_refuses_any_bytes(decoder: str) -> None:
    """A decoder that raises anything else would stop the collector; `make fuzz` looks on for longer, with coverage."""
    decode = DECODERS[decoder]

    @settings(max_examples=120, deadline=None, derandomize=True)
    @given(st.binary(max_size=300) | VALUES.map(dumps))
    def any_bytes(data: bytes) -> None:
        decode(data)

    any_bytes()
    dice = random.Random(decoder)
    for known in EXAMPLES:
        for _ in range(5):
            decode(mutated(shaped(decoder, known), dice))


def mutated(data: bytes, dice: random.Random) -> bytes:
    """One to three small changes: flipped, left out, doubled, put in."""
    out = bytearray(data)
    for _ in range(dice.randint(1, 3)):
        at = dice.randrange(len(out) + 1)
        match dice.randrange(4):
            case 0 if out:
                out[at % len(out)] ^= 1 << dice.randrange(8)
            case 1:
                del out[at : at + dice.randint(1, 4)]
            case 2:
                out[at:at] = out[at : at + dice.randint(1, 20)]
            case _:
                out[at:at] = dice.randbytes(dice.randint(1, 9))
    return bytes(out)


def bomb_nested() -> bytes:
    return b"\x81" * (MAX_MESSAGE_BYTES - 1) + b"\x00"


def bomb_length() -> bytes:
    return b"\x9b" + (2**62).to_bytes(8, "big")


def bomb_text() -> bytes:
    return b"\x7b" + (2**62).to_bytes(8, "big")


def bomb_wide() -> bytes:
    return b"\x9a" + (MAX_MESSAGE_BYTES - 5).to_bytes(4, "big") + b"\x00" * (MAX_MESSAGE_BYTES - 5)


def bomb_maps() -> bytes:
    return b"\x9a" + (MAX_MESSAGE_BYTES - 5).to_bytes(4, "big") + b"\xa0" * (MAX_MESSAGE_BYTES - 5)


def bomb_histogram() -> bytes:
    return sealed_by_key(dumps({0: 1, 8: 5, 9: {15: [-MAX_WHOLE, 1] * 2000}}))


def bomb_too_long() -> bytes:
    return b"\x00" * (8 * MAX_MESSAGE_BYTES)


BOMBS: tuple[Callable[[], bytes], ...] = (
    bomb_nested, bomb_length, bomb_text, bomb_wide, bomb_maps, bomb_histogram, bomb_too_long
)  # fmt: skip


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.parametrize("decoder", ["record", "ack", "intake", "signed"])
def test_no_message_takes_more_memory_than_its_share(decoder: str, bomb: Callable[[], bytes]) -> None:
    """A few bytes that claim to be a list of four quintillion must cost what they are long, not what they claim."""
    data = bomb()
    DECODERS[decoder](b"")  # imports are not the message's fault
    tracemalloc.start()
    try:
        DECODERS[decoder](data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < MEMORY_MAX_BYTES + 2 * len(data)


def test_bombs_are_survived_in_little_memory(root: Path) -> None:
    """The same in a process that gets 512 MB of address space and no more: counted by the kernel, not by Python."""
    code = (
        "from cloud.test_hostile import BOMBS\nfrom fuzz_decoders import DECODERS\n"
        "for bomb in BOMBS:\n    for decode in DECODERS.values():\n        decode(bomb())\nprint('alive')"
    )

    def narrow() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (1 << 29, 1 << 29))

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root / "tests", capture_output=True, text=True, preexec_fn=narrow, check=False
    )
    assert done.stdout == "alive\n", done.stderr


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.sampled_from(sorted(MESSAGES)), VALUES, WHOLE, WHOLE), min_size=1, max_size=4))
@example([(5, {3: MAX_WHOLE, 19: [["\x00", 5]]}, MAX_WHOLE, MAX_WHOLE)])
async def test_whatever_a_hostile_box_signs_the_ledger_stands(
    tmp_path: Path, said: list[tuple[int, object, int, int]]
) -> None:
    """Its signature is good and its numbers are as wild as can be: kept, refused or undated, never a crash."""
    box = ScriptedBox()
    box.life()
    hostile = []
    for seq, (kind, body, mono_ms, wall_ms) in enumerate(said, start=1):
        payload: dict[int, object] = {0: 1, 1: bytes.fromhex(BOX), 2: bytes(8), 3: seq, 4: bytes(16), 5: bytes(8)}
        payload |= {6: abs(mono_ms), 7: abs(wall_ms), 8: kind, 9: body}
        hostile.append(Arrival(f"pb/v1/{BOX}/r", sealed_by_key(dumps(payload)), RECEIVED_MS))
    async with open_writer(empty_book(tmp_path / "book.db"), "test") as database:
        taken = await Ledger(database).take([*hostile, *box.arrivals])
        assert taken.accepted >= len(box.arrivals)
        again = await Ledger(database).take([*hostile, *box.arrivals])
        assert again.duplicates >= len(box.arrivals)


async def test_good_records_get_through_a_storm_of_poison(
    sqlite_url: str, record_property: Callable[..., None]
) -> None:
    """Nine of ten messages are hostile: the good ones are all held, and each costs what it cost before."""
    dice = random.Random(7)
    boxes = [ScriptedBox(name=f"good-{k}") for k in range(30)]
    for box in boxes:
        box.life()
    good = [message for box in boxes for message in box.arrivals]
    bad = []
    for number in range(9 * len(good)):
        data = mutated(dice.choice(EXAMPLES), dice) if number % 3 else dice.randbytes(dice.randrange(400))
        bad.append(Arrival(f"pb/v1/{dice.choice([BOX, boxes[0].box])}/r", data, RECEIVED_MS))
    storm = [*good, *bad]
    dice.shuffle(storm)
    async with open_writer(sqlite_url, "test") as database:
        ledger = Ledger(database)
        began_s = time.perf_counter()
        for begin in range(0, len(storm), 500):
            await ledger.take(storm[begin : begin + 500])
        rate = len(storm) / (time.perf_counter() - began_s)
        for _ in range(2):  # whose hello came in a later batch than what follows it: the boxes offer it again
            final = await ledger.take(good)
    assert final.duplicates == len(good)
    assert {holding.upto for holding in final.holdings} == {7}
    record_property("messages_per_s", rate)
    print(f"\nstorm: {rate:.0f} messages/s, one of ten good")


async def test_no_log_line_repeats_what_a_stranger_sent(sqlite_url: str, caplog: pytest.LogCaptureFixture) -> None:
    """Logs travel further than the database, and what a box sends may be somebody's secret."""
    caplog.set_level(logging.DEBUG)
    quiet_libraries()
    box = ScriptedBox()
    secret = "JTMABABC1D2345678"
    box.hello(vehicle=secret)
    payloads = [secret.encode(), dumps({0: secret}), sealed_by_key(dumps({0: 1, 9: secret})), box.sealed[0]]
    async with open_writer(sqlite_url, "test") as database:
        for leaf in ("r", "h", "s"):
            for payload in payloads:
                _report(await Ledger(database).take([Arrival(f"pb/v1/{box.box}/{leaf}", payload, RECEIVED_MS)]))
    assert "messages in quarantine" in caplog.text
    assert secret not in caplog.text
    assert secret.encode().hex() not in caplog.text


def test_bytes_that_were_signed_are_the_only_form_of_a_record() -> None:
    """A second form would be a second digest: anybody on the way could feign a fork without any key."""
    box = ScriptedBox()
    sealed = box.hello()
    parts = list(cbor2.loads(sealed).value)
    for other in (
        cbor2.dumps(cbor2.CBORTag(18, [parts[0], {**parts[1], 99: 1}, *parts[2:]])),
        cbor2.dumps(parts),
        sealed + b"\x00",
    ):
        with pytest.raises(Malformed):
            peek(other)
    dice = random.Random(1)
    for _ in range(300):
        changed = bytearray(sealed)
        changed[dice.randrange(len(changed))] ^= 1 << dice.randrange(8)
        with pytest.raises(WireError):
            check(peek(bytes(changed)), box.public_key)
