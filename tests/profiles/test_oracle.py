"""Our bits against cantools', for every message of every DBC file that ships."""

from __future__ import annotations

import numpy as np
import pytest
from cantools.database.can import Message as DbcMessage
from hypothesis import given, settings
from hypothesis import strategies as st

from can_frames import PROFILES, crc8, database
from packbox.adapters.profile_dir import Catalogue
from packbox.app.profile_check import bits_differ
from packbox.core.decoding.plans import MessagePlan, plan
from packbox.core.frames import CLASSIC_BYTES
from packbox.core.integrity import leaf_crc8, nibble_sum
from packbox.core.layout import column, last_byte, place, words
from packbox.core.profile import SignalLayout

FILES = sorted(PROFILES.glob("*/*.dbc"))


def messages(profile: str, file: str) -> list[tuple[MessagePlan, DbcMessage]]:
    """Our plan and the oracle's message for everything in one file."""
    loaded = Catalogue().profile(profile)
    ours = {(m.file, m.can_id): plan(m) for v in loaded.variants for m in v.messages}
    return [(ours[file, m.frame_id], m) for m in database(PROFILES / profile / file).messages]


@pytest.mark.parametrize("path", FILES, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_random_frames_read_as_cantools_reads_them(path: object) -> None:
    """cantools is the independent reader of the DBC format: every disagreement is our error."""
    assert hasattr(path, "parent")
    pairs = messages(path.parent.name, path.name)

    @settings(max_examples=40, deadline=None)
    @given(data=st.binary(min_size=8, max_size=8))
    def agree(data: bytes) -> None:
        problems = [bits_differ(ready, oracle, data[: oracle.length]) for ready, oracle in pairs]
        assert [p for p in problems if p is not None] == []

    agree()


@settings(max_examples=300, deadline=None)
@given(start=st.integers(0, 63), bits=st.integers(1, 63), signed=st.booleans(), data=st.binary(min_size=8, max_size=8))
def test_any_place_in_the_frame_is_found(start: int, bits: int, signed: bool, data: bytes) -> None:
    """Shipped files use a few places; the next car uses others. The oracle here is Python's own integer."""
    for motorola in (False, True):
        layout = SignalLayout("x", "", start, bits, motorola, signed, 1.0, 0.0)
        shift = place(start, bits, motorola)
        if shift < 0:
            continue
        whole = int.from_bytes(data, "big" if motorola else "little")
        expected = whole >> shift & (1 << bits) - 1
        if signed and expected >> bits - 1:
            expected -= 1 << bits
        assert last_byte(layout) < CLASSIC_BYTES
        raw = column(layout).raw(words(np.frombuffer(data, np.uint8).reshape(1, 8)))
        assert raw.tolist() == [expected]


@given(data=st.binary(min_size=8, max_size=8))
def test_checksums_agree_with_their_definition(data: bytes) -> None:
    """Tables and word tricks are fast; the definition in the facts is right."""
    frames = words(np.frombuffer(data, np.uint8).reshape(1, 8))
    assert leaf_crc8(frames, 0x1DB).tolist() == [crc8(data[:7]) == data[7]]
    right = data[:7] + bytes([crc8(data[:7])])
    assert leaf_crc8(words(np.frombuffer(right, np.uint8).reshape(1, 8)), 0x1DB).tolist() == [True]
    nibbles = sum((b >> 4) + (b & 15) for b in data[:7]) + (data[7] >> 4) + 3 + 9 + 0
    assert nibble_sum(frames, 0x390).tolist() == [nibbles % 16 == data[7] & 15]
