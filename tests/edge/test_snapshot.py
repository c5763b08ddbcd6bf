"""The fold's state as bytes, and back."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np
import pytest

from fold_day import Day, run
from packbox.adapters.snapshot import MAGIC, SnapshotError, dump, load
from packbox.core.box import STATE_VERSION, BoxState
from packbox.core.frames import FloatArray
from packbox.core.sample import NEVER_NS, Col
from packbox.core.soh.panel import PanelState
from packbox.core.soh.rest_state import Anchor


@dataclass(frozen=True, slots=True, eq=False)
class Small:
    name: str
    values: FloatArray
    counts: dict[int, tuple[int, int]]
    absent: float | None = None


@pytest.fixture
def state() -> BoxState:
    return run([Day().drive(5).idle(2).charge(20).frames()], finish=False)[0]


def test_a_state_comes_back_as_it_was(state: BoxState) -> None:
    data = dump(state)
    assert dump(load(data, BoxState)) == data


def test_equal_states_give_equal_bytes_however_their_mappings_were_filled() -> None:
    """Batches fill mappings in another order."""
    one = Small("x", np.zeros(2), {1: (1, 2), 5: (3, 4)})
    other = Small("x", np.zeros(2), {5: (3, 4), 1: (1, 2)})
    assert dump(one) == dump(other)


def test_arrays_keep_shape_and_unknown_values() -> None:
    small = load(dump(Small("x", np.array([[1.5, np.nan], [-np.inf, 0.0]]), {})), Small)
    assert np.array_equal(small.values, [[1.5, np.nan], [-np.inf, 0.0]], equal_nan=True)
    assert small.values.dtype == np.float64


@pytest.mark.parametrize("data", [b"", b"\x00", b"not a snapshot", msgspec.msgpack.encode(["other", 1, {}])])
def test_bytes_that_are_no_snapshot_are_refused_with_a_reason(data: bytes) -> None:
    with pytest.raises(SnapshotError, match="not a snapshot of this program"):
        load(data, BoxState)


def test_an_unknown_version_is_refused_naming_both(state: BoxState) -> None:
    """A box that was downgraded must say so, not guess."""
    magic, _, body = msgspec.msgpack.decode(dump(state))
    with pytest.raises(SnapshotError, match=f"version 99, this program knows version {STATE_VERSION}"):
        load(msgspec.msgpack.encode([magic, 99, body]), BoxState)


def test_a_state_of_version_1_is_read_less_a_charge_under_way() -> None:
    """A box that was updated goes on with what it knew: anchors had names then, and bands no hysteresis."""
    names = (
        "at_s", "loud_s", "soc_pct", "sigma_pct", "charge_in_ah", "moved_ah", "counted_s", "unknown_s",
        "sampling_a2s2", "lost_ah2", "soc_told_pct",
    )  # fmt: skip
    anchor = dict(zip(names, map(float, range(11)), strict=True))
    bands = {"mean": ["<f8", [11], np.ones(11).tobytes()], "cov": ["<f8", [11, 11], np.eye(11).tobytes()]}
    body = {
        "charge_ratio": {"rise": {"first": {}, "last": {}}, "fall": None, "legs": [], "capacity_ah": 55.0},
        "bms_value": {},
        "rest_bands": {"lowest": anchor, "moves": [{"first": anchor, "last": anchor}], "bands": bands},
    }
    state = load(msgspec.msgpack.encode([MAGIC, 1, body]), PanelState)
    assert (state.charge_ratio.capacity_ah, state.charge_ratio.rise) == (55.0, None)
    assert state.rest_bands.lowest == Anchor(*map(float, range(11)))
    assert state.rest_bands.moves == ()
    assert state.rest_bands.bands is not None
    assert (state.rest_bands.bands.bands, state.rest_bands.bands.hysteresis_v) == (10, 0.0)


def test_a_state_of_version_2_is_read_less_the_swings_of_the_session_under_way() -> None:
    """Swings were kept as pairs of anchors; what the filter knew, and the anchors it waits with, stay."""
    anchor = [float(k) for k in range(12)]
    bands = {"mean": ["<f8", [12], np.ones(12).tobytes()], "cov": ["<f8", [12, 12], np.eye(12).tobytes()]}
    body = {
        "charge_ratio": {"capacity_ah": 55.0},
        "bms_value": {},
        "rest_bands": {"lowest": anchor, "moves": [[anchor, anchor]], "bands": bands, "n": 31},
    }
    state = load(msgspec.msgpack.encode([MAGIC, 2, body]), PanelState)
    assert (state.rest_bands.lowest, state.rest_bands.moves) == (Anchor(*anchor), ())
    assert (state.rest_bands.n, state.charge_ratio.capacity_ah) == (31, 55.0)


def test_columns_that_came_after_version_2_are_unknown_in_it(state: BoxState) -> None:
    """The sample had two columns less, in every part of the state that holds a value for each."""
    magic, _, body = msgspec.msgpack.decode(dump(state))
    old = load(msgspec.msgpack.encode([magic, 2, _narrow(body)]), BoxState)
    assert old.sample.held.shape == old.sample.held_ns.shape == old.usage.newest.shape == (len(Col),)
    assert np.array_equal(old.sample.held[:25], state.sample.held[:25], equal_nan=True)
    assert np.isnan(old.sample.held[25:]).all()
    assert (old.sample.held_ns[25:] == NEVER_NS).all()
    assert old.segment.body is not None
    assert old.segment.body.first.shape == (len(Col),)


def _narrow(value: object) -> object:
    match value:
        case [str(kind), [int(n)], bytes(data)] if n == len(Col):
            return [kind, [25], data[: 25 * 8]]
        case dict():
            return {key: _narrow(item) for key, item in value.items()}
        case list():
            return [_narrow(item) for item in value]
        case _:
            return value


def test_a_cut_snapshot_is_refused(state: BoxState) -> None:
    data = dump(state)
    for length in (10, len(data) // 2, len(data) - 1):
        with pytest.raises(SnapshotError):
            load(data[:length], BoxState)


@pytest.mark.parametrize("body", [{}, {"name": "x", "values": ["|O", [1], b"12345678"], "counts": {}}, 7])
def test_a_body_of_another_form_is_refused(body: object) -> None:
    """Above all one that would make objects out of bytes."""
    with pytest.raises(SnapshotError, match="broken"):
        load(msgspec.msgpack.encode([MAGIC, STATE_VERSION, body]), Small)


def test_a_state_holds_only_plain_values() -> None:
    """Our own mistake shows at the first save."""
    with pytest.raises(NotImplementedError, match="a state holds no complex"):
        dump(Small("x", np.zeros(1), {}, 1j))  # type: ignore[arg-type]
