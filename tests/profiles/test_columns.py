"""Whole columns at once against one value at a time: the short cuts of the decoder must never be seen in its values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from can_frames import PROFILES, Frame, batch_of, series
from packbox.adapters.profile_dir import Catalogue
from packbox.core.decode import Decoder, DecodeState
from packbox.core.decoding.view import good_raws
from packbox.core.frames import EXTENDED, FrameBatch
from packbox.core.layout import LONG_COLUMN, Column, column, place, raws, values
from packbox.core.profile import EXTENDED_BIT, GROUP_BIT, Message, Profile, SignalLayout
from packbox.core.signals import Refused

FAMILIES = sorted(path.parent.name for path in PROFILES.glob("*/profile.toml"))

layouts = st.builds(
    SignalLayout,
    name=st.just("x"),
    unit=st.just(""),
    start=st.integers(0, 63),
    bits=st.integers(1, 63),
    motorola=st.booleans(),
    signed=st.booleans(),
    scale=st.sampled_from((1.0, 0.5, 0.1, -0.25, 1e-3)),
    offset=st.sampled_from((0.0, -40.0, 327.68)),
    void=st.lists(st.integers(0, 300), max_size=3).map(tuple),
    void_from=st.none() | st.integers(1, 4000),
).filter(lambda layout: place(layout.start, layout.bits, layout.motorola) >= 0)


def one_by_one(columns: list[Column], words: list[np.ndarray]) -> tuple[list[int], list[float]]:
    raw = [int(c.cut(word[k : k + 1])[0]) for c, word in zip(columns, words, strict=True) for k in range(len(word))]
    of_raw = [c for c, word in zip(columns, words, strict=True) for _ in word]
    return raw, [r * c.layout.scale + c.layout.offset for r, c in zip(raw, of_raw, strict=True)]


@settings(max_examples=60, deadline=None)
@given(chosen=st.lists(layouts, min_size=1, max_size=5), seed=st.integers(0, 1 << 32), long=st.booleans())
def test_short_and_long_columns_are_cut_alike(chosen: list[SignalLayout], seed: int, long: bool) -> None:
    """A live batch goes all signals at once, a log one signal at a time: to the last bit the same values."""
    random = np.random.default_rng(seed)
    longest = 2 * LONG_COLUMN + 50 if long else 9
    words = [random.integers(0, 1 << 64, random.integers(longest // 2 + 1, longest), np.uint64) for _ in chosen]
    columns = [column(layout) for layout in chosen]
    raw = raws(columns, words)
    value = values(columns, raw, [len(word) for word in words])
    assert (raw.tolist(), value.tolist()) == one_by_one(columns, words)


@settings(max_examples=300, deadline=None)
@given(layout=layouts.filter(lambda one: one.bits <= 10), low=st.integers(-400, 400), span=st.integers(0, 500))
def test_raw_values_called_good_are_good_and_their_neighbours_are_not(
    layout: SignalLayout, low: int, span: int
) -> None:
    """The extremes of a column stand for all of it, so the stretch between them must hold no bad value."""
    ready = column(layout)
    first = -int(ready.sign_bit)
    raw = np.arange(first, first + (1 << layout.bits), dtype=np.int64)
    value = ready.values(raw)
    nothing = ready.says_nothing(raw)
    good = (value >= low) & (value <= low + span)
    if nothing is not None:
        good &= ~nothing
    begin, last = good_raws(ready, float(low), float(low + span))
    inside = (raw >= begin) & (raw <= last)
    assert good[inside].all()
    beside = (raw == begin - 1) | (raw == last + 1)
    assert not good[beside].any() or not inside.any()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_reads_random_frames_the_same_one_at_a_time(family: str) -> None:
    """Good, void, impossible, short and torn frames in one batch, and each of them alone."""
    profile = Catalogue().profile(family)
    for variant in (None, *(v.id for v in profile.variants[:2])):
        decoder = Decoder(profile, variant)
        batch = random_frames(profile, 160)
        whole_state, whole = decoder.decode(decoder.start(), batch)
        state, refused = decoder.start(), Refused()
        told: dict[str, list[tuple[int, float]]] = {}
        for k in range(len(batch)):
            state, alone = decoder.decode(state, batch.pick(slice(k, k + 1)))
            refused += alone.refused
            for name, signal in alone.signals.items():
                told.setdefault(name, []).extend(zip(signal.mono_ns.tolist(), signal.value.tolist(), strict=True))
        assert (state, refused) == (whole_state, whole.refused)
        assert told == {
            name: list(zip(signal.mono_ns.tolist(), signal.value.tolist(), strict=True))
            for name, signal in whole.signals.items()
        }


def random_frames(profile: Profile, frames: int) -> FrameBatch:
    """Frames of the family's ids: random bytes, all zeros and all ones, some too short, on two buses."""
    random = np.random.default_rng(11)
    messages: list[Message] = [m for v in profile.variants for m in v.messages]
    keys = sorted({m.key for m in messages} | {p.rx_key for p in profile.polls})
    key = random.choice(np.array(keys, np.int64), frames)
    data = random.integers(0, 256, (frames, 8)).astype(np.uint8)
    data[random.random(frames) < 0.2] = 0
    data[random.random(frames) < 0.1] = 0xFF
    length = np.where(random.random(frames) < 0.9, 8, random.integers(0, 8, frames)).astype(np.uint8)
    data[np.arange(8) >= length[:, None]] = 0
    sender = np.where(key & GROUP_BIT, random.integers(0, 3, frames), 0)
    return FrameBatch(
        batch_of([]).boot,
        None,
        np.cumsum(random.integers(0, 30_000_000, frames)).astype(np.int64),
        random.integers(0, 2, frames).astype(np.uint8),
        (key & 0x1FFFFFFF | sender).astype(np.uint32),
        np.where(key & EXTENDED_BIT, EXTENDED, 0).astype(np.uint8),
        length,
        data,
    )


def test_a_frame_whose_cells_contradict_its_pack_is_no_source(imiev: Profile) -> None:
    """It may be the only one of a live batch: nothing of its cells is left then, and nobody may trip over that."""
    frame = (
        bytes([190, 90, 0x7F, 0xBC]) + (3400).to_bytes(2, "big") + bytes(2)
    )  # 4.0 V and 3.0 V, but 4.25 V on average
    frames: list[Frame] = [(0, 0x373, frame)]
    decoder = Decoder(imiev, "imiev-14")
    state, decoded = decoder.decode(decoder.start(), batch_of(frames))
    assert decoded.refused == Refused(cells_not_sum=1)
    assert series(decoded, "pack_voltage_v") == [(0, 340.0)]
    assert isinstance(state, DecodeState)
    assert "cell_voltage_min_v" not in state.heard
