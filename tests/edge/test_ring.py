"""Raw frames on disk: exact, small, bounded, and never a torn block read as data."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from packbox.adapters import ring as ring_module
from packbox.adapters.logs import read_log
from packbox.adapters.ring import FILES, Ring, read_ring, ring_files
from packbox.adapters.ring_block import decode_all, encode
from packbox.core.frames import FrameBatch, join
from raw_frames import BOOT, batches

BYTES_PER_FRAME_MAX = 3.0


def assert_same(got: FrameBatch, want: FrameBatch) -> None:
    assert (got.boot, got.wall_offset_ms) == (want.boot, want.wall_offset_ms)
    for name in ("mono_ns", "bus", "can_id", "flags", "length", "data"):
        assert np.array_equal(getattr(got, name), getattr(want, name)), name
        assert getattr(got, name).dtype == getattr(want, name).dtype, name


@given(batches())
@settings(max_examples=150, deadline=None)
def test_frames_come_back_as_they_were(batch: FrameBatch) -> None:
    """What is exported must be what was on the bus: order, times, buses, FD, error and remote frames."""
    (block,) = decode_all(encode(batch, ("can0", "can1")))
    assert_same(block.frames, batch)
    assert block.bus_names == ("can0", "can1")


@given(st.lists(batches(), min_size=1, max_size=4), st.randoms(use_true_random=False))
@settings(max_examples=80, deadline=None)
def test_a_torn_block_is_never_read_as_data(given_batches: list[FrameBatch], dice: random.Random) -> None:
    """Cut anywhere, with a sector of rubbish: whole blocks before and after are read, of the torn one nothing."""
    blocks = [encode(batch, ()) for batch in given_batches]
    torn = dice.randrange(len(blocks))
    at = dice.randrange(len(blocks[torn]))
    damaged = bytearray(blocks[torn])
    damaged[at] ^= dice.randrange(1, 256)
    data = b"".join([*blocks[:torn], bytes(damaged), *blocks[torn + 1 :]])
    left = [block.frames for block in decode_all(data)]
    kept = given_batches[:torn] + given_batches[torn + 1 :]
    assert len(left) == len(kept)
    for got, want in zip(left, kept, strict=True):
        assert_same(got, want)
    cut = b"".join(blocks)[: sum(map(len, blocks[:torn])) + at]
    assert len(list(decode_all(cut))) == torn


def recordings(shared: Path) -> list[Path]:
    return sorted(file for file in (shared / "logs").glob("*/*"))


def test_real_traffic_takes_at_most_three_bytes_a_frame(shared: Path) -> None:
    """An operator who keeps raw frames wants hours, not minutes, on a card's worth."""
    sizes = {}
    for file in recordings(shared):
        parts = [encode(batch, ()) for batch in read_log(file, batch_frames=ring_frames())]
        frames = sum(len(block.frames) for part in parts for block in decode_all(part))
        sizes[file.name] = (sum(map(len, parts)), frames)
    for name, (size, frames) in sizes.items():
        print(f"\n{size / frames:5.2f} bytes a frame: {name} ({frames} frames)", end="")
    total = sum(size for size, _ in sizes.values()) / sum(frames for _, frames in sizes.values())
    print(f"\n{total:5.2f} bytes a frame in all")
    assert total <= BYTES_PER_FRAME_MAX / 1.5
    # An app that asks now and then is not what a ring fills with: few frames, long and random pauses.
    busy = [size / frames for size, frames in sizes.values() if frames >= 2000]
    assert max(busy) <= BYTES_PER_FRAME_MAX


def ring_frames() -> int:
    from packbox.app.keep_raw import BLOCK_FRAMES

    return BLOCK_FRAMES


def block(number: int, size: int = 50) -> bytes:
    """One that is told from others, and does not pack well."""
    data = np.random.default_rng(number).integers(0, 256, (size, 8), np.uint8)
    n = np.arange(size, dtype=np.int64)
    zeros = np.zeros(size, np.uint8)
    return encode(FrameBatch(BOOT, None, n * 1000, zeros, np.full(size, number, np.uint32), zeros, zeros + 8, data), ())


def numbers(folder: Path) -> list[int]:
    return [int(found.frames.can_id[0]) for found in read_ring(folder)]


def test_the_ring_keeps_the_newest_within_its_room(tmp_path: Path) -> None:
    """The card must not fill up, and what happened last is what somebody will ask for."""
    room = 64 * len(block(0))
    ring = Ring(tmp_path / "raw", lambda: room)
    for number in range(200):
        ring.append(block(number))
    ring.close()
    kept = numbers(tmp_path / "raw")
    assert kept == list(range(kept[0], 200))
    assert len(kept) >= 64 - 64 // FILES - 1
    assert sum(file.stat().st_size for file in ring_files(tmp_path / "raw")) <= room


def test_room_that_shrinks_takes_the_oldest_and_room_that_is_gone_takes_nothing_more(tmp_path: Path) -> None:
    """Records come first: when the journal grows or the disk fills, raw frames give way."""
    room = 40 * len(block(0))
    ring = Ring(tmp_path / "raw", lambda: room)
    for number in range(40):
        ring.append(block(number))
    room = 10 * len(block(0))
    ring.append(block(40))
    assert numbers(tmp_path / "raw")[-1] == 40
    assert sum(file.stat().st_size for file in ring_files(tmp_path / "raw")) <= room
    room = 0
    with pytest.raises(OSError, match="no room"):
        ring.append(block(41))
    room = 10 * len(block(0))
    ring.append(block(42))
    ring.close()
    assert numbers(tmp_path / "raw")[-1] == 42


def test_a_restart_goes_on_behind_what_a_power_cut_tore(tmp_path: Path) -> None:
    """At most the last block is lost, and the one after it is not taken for its rest."""
    room: Callable[[], int] = lambda: 10**6  # noqa: E731  a room that never changes
    ring = Ring(tmp_path / "raw", room)
    for number in range(5):
        ring.append(block(number))
    ring.close()
    (file,) = ring_files(tmp_path / "raw")
    file.write_bytes(file.read_bytes()[:-7])
    ring = Ring(tmp_path / "raw", room)
    ring.append(block(5))
    ring.close()
    assert numbers(tmp_path / "raw") == [0, 1, 2, 3, 5]


def test_a_write_that_fails_half_way_spoils_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk takes half a block; the next one must not be glued to it, nor names pile up."""
    ring = Ring(tmp_path / "raw", lambda: 10**6)
    ring.append(block(0))
    whole = ring_module.os.write
    with monkeypatch.context() as full:
        full.setattr(ring_module.os, "write", lambda file, data: whole(file, data[: len(data) // 2]))
        for number in range(1, 4):
            with pytest.raises(OSError, match="disk full"):
                ring.append(block(number))
    ring.append(block(4))
    ring.close()
    assert numbers(tmp_path / "raw") == [0, 4]
    assert len(ring_files(tmp_path / "raw")) == 2


def test_batches_of_one_boot_join_to_one_block() -> None:
    """Small batches pack badly one by one."""
    parts = [next(decode_all(block(number))).frames for number in range(3)]
    (whole,) = decode_all(encode(join(parts), ()))
    assert len(whole.frames) == 150
