"""The speed and memory that issue 3 promises, as ratios against named peers. `make bench` fails when one breaks."""

from __future__ import annotations

import pickle
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from bench import workloads
from bench.measure import TABLE, Row, instructions, medians_s, peak_rss_mb
from bench.workloads import (
    COUNTED_FRAMES,
    LIVE_FRAMES,
    LIVE_S,
    batches,
    counted,
    dbc_database,
    known_to,
    pairs,
    profile,
)
from packbox.core.decode import Decoder
from packbox.core.frames import FrameBatch

DECODE_RATIO: Final = 20.0
END_TO_END_RATIO: Final = 5.0
READ_RATIO: Final = 3.0
LIVE_SHARE_PCT: Final = 2.0
MEMORY_GROWTH_MB: Final = 30.0
SIMULATED_FRAMES: Final = 60_000

LEAF_ZE0: Final = "nissan-leaf-ze0/ZE0w24kWhstock.log"
LEAF_62: Final = "nissan-leaf-ze1-62kwh/EV-CANeplus2.log"


@pytest.fixture(scope="module")
def counts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """Instructions per frame or batch of the short workloads; empty where they cannot be counted."""
    capture = workloads.simulated(COUNTED_FRAMES)
    frames = tmp_path_factory.mktemp("callgrind") / "frames"
    frames.write_bytes(pickle.dumps(capture))
    works = counted(capture)
    found = instructions(Path(workloads.__file__), frames, list(works))
    if isinstance(found, str):
        TABLE.notes.append(f"No instruction counts: {found}.")
        return {}
    per = {"decode ours": "frames", "decode cantools": "frames", "live decode": "batches", "live fold": "batches"}
    return {name: n / getattr(works[name], per[name]) for name, n in found.items()}


@pytest.mark.parametrize(("log", "variant"), [(LEAF_ZE0, "ze0"), (LEAF_62, "ze1-62")], ids=["ze0", "ze1-62"])
def test_a_recorded_leaf_is_decoded_20_times_as_fast_as_by_cantools(shared: Path, log: str, variant: str) -> None:
    """Real traffic: what shares of ids, lengths and polls a car really sends."""
    compare_decoders(f"decode, {log.split('/')[1]}", workloads.recorded(shared / "logs" / log), variant, {})


def test_a_simulated_leaf_is_decoded_20_times_as_fast_as_by_cantools(counts: dict[str, float]) -> None:
    """The same promise where the recordings may not go."""
    compare_decoders("decode, simulated Leaf 62", workloads.simulated(SIMULATED_FRAMES), "ze1-62", counts)


def compare_decoders(what: str, frames: FrameBatch, variant: str, counts: dict[str, float]) -> None:
    leaf = profile()
    decoder, database = Decoder(leaf), dbc_database(leaf, variant)
    known = known_to(database, frames)
    assert len(known) > len(frames) / 2
    learned = workloads.decode_ours(decoder, batches(known))
    assert decoder.variant(learned) == variant
    live = batches(known, LIVE_FRAMES)
    found = medians_s(
        {
            "ours": partial(workloads.decode_ours, decoder, batches(known), learned),
            "cantools": partial(workloads.decode_cantools, database, pairs(known)),
            "first": partial(workloads.decode_ours, decoder, batches(known)),
            "live": partial(workloads.decode_ours, decoder, live, learned),
            "all": partial(workloads.decode_ours, decoder, batches(frames), learned),
        }
    )
    ratio = found["cantools"] / found["ours"]
    counted_text = ""
    if counts:
        ours, peer = counts["decode ours"], counts["decode cantools"]
        counted_text = f"{ours:,.0f} / {peer:,.0f} a frame ({peer / ours:.1f} x)"
    TABLE.rows.append(
        Row(
            what,
            f"{ratio:.1f} x",
            f">= {DECODE_RATIO:g} x",
            f"{1e6 * found['ours'] / len(known):.3f} us/frame",
            f"cantools {1e6 * found['cantools'] / len(known):.2f} us/frame",
            counted_text,
        )
    )
    for name, how in (
        ("first", "from the first frame on, recognising the car"),
        ("live", f"in batches of {LIVE_FRAMES:,}"),
    ):
        ours_us = 1e6 * found[name] / len(known)
        TABLE.rows.append(
            Row(f"  {how}", f"{found['cantools'] / found[name]:.1f} x", "", f"{ours_us:.3f} us/frame", "")
        )
    all_us = 1e6 * found["all"] / len(frames)
    TABLE.rows.append(Row("  with its polls and unknown ids", "", "", f"{all_us:.3f} us/frame", "does neither"))
    assert ratio >= DECODE_RATIO


def test_a_log_is_read_and_decoded_5_times_as_fast_as_by_python_can_and_cantools(tmp_path: Path) -> None:
    """What an analyst waits for: a mixed log of known and unknown ids and polls, from the file to the values."""
    log = tmp_path / "mixed.log"
    log.write_bytes(workloads.as_candump(workloads.saturated(workloads.simulated(SIMULATED_FRAMES))))
    leaf = profile()
    found = medians_s(
        {
            "ours": partial(workloads.read_and_decode_ours, Decoder(leaf), log),
            "peers": partial(workloads.read_and_decode_peers, dbc_database(leaf, "ze1-62"), log),
            "read ours": partial(workloads.read_ours, log),
            "read python-can": partial(workloads.read_python_can, log),
        }
    )
    whole, reading = found["peers"] / found["ours"], found["read python-can"] / found["read ours"]
    for what, ratio, promise, ours, peer, name in (
        ("read and decode a candump log", whole, END_TO_END_RATIO, "ours", "peers", "python-can + cantools"),
        ("read a candump log", reading, READ_RATIO, "read ours", "read python-can", "python-can"),
    ):
        ours_us, peer_us = (1e6 * found[key] / SIMULATED_FRAMES for key in (ours, peer))
        TABLE.rows.append(
            Row(
                what, f"{ratio:.1f} x", f">= {promise:g} x", f"{ours_us:.3f} us/frame", f"{name} {peer_us:.2f} us/frame"
            )
        )
    assert whole >= END_TO_END_RATIO
    assert reading >= READ_RATIO


def test_two_saturated_buses_take_less_than_2_percent_of_a_core_to_decode(counts: dict[str, float]) -> None:
    """The box shares its two small cores with everything else, and runs while the car sleeps on its 12 V battery."""
    live = batches(workloads.saturated(workloads.simulated(SIMULATED_FRAMES)), LIVE_FRAMES)
    assert {len(batch) for batch in live} == {LIVE_FRAMES}
    decoder = Decoder(profile())
    found = medians_s(
        {"decode": partial(workloads.decode_ours, decoder, live), "fold": partial(workloads.fold, decoder, live)}
    )
    share_pct = {name: 100 * taken / len(live) / LIVE_S for name, taken in found.items()}
    for name, what in (("decode", "decode"), ("fold", "decode and fold (box.advance)")):
        text = f"{counts[f'live {name}'] / 1e6:,.2f} M a batch" if counts else ""
        TABLE.rows.append(
            Row(
                f"live, 2 x 4,000 frames/s: {what}",
                f"{share_pct[name]:.2f} %",
                f"< {LIVE_SHARE_PCT:g} %" if name == "decode" else "",
                f"{1e3 * found[name] / len(live):.3f} ms a batch",
                f"of {1e3 * LIVE_S:g} ms",
                text,
            )
        )
    assert share_pct["decode"] < LIVE_SHARE_PCT


def test_the_memory_of_a_replay_does_not_grow_with_the_log(tmp_path: Path) -> None:
    """A drive of ten hours fits the same small computer as one of ten minutes."""
    hour = workloads.as_candump(workloads.simulated(SIMULATED_FRAMES))
    peaks: dict[int, float] = {}
    for times in (1, 8):
        log = tmp_path / f"{times}.log"
        with log.open("wb") as out:
            for k in range(times):
                out.write(later(hour, k))
        peaks[times] = peak_rss_mb(["replay", str(log), "--profile", "nissan-leaf", "--json"])
    growth_mb = peaks[8] - peaks[1]
    TABLE.rows.append(
        Row(
            f"peak memory of a replay, {8 * SIMULATED_FRAMES:,} frames against {SIMULATED_FRAMES:,}",
            f"{growth_mb:+.1f} MB",
            f"< {MEMORY_GROWTH_MB:g} MB",
            f"{peaks[8]:.0f} MB",
            f"{peaks[1]:.0f} MB for an eighth",
        )
    )
    assert growth_mb < MEMORY_GROWTH_MB


def later(log: bytes, rounds: int) -> bytes:
    """The same capture some tens of thousands of seconds on: only the seconds of its stamps change."""
    return log.replace(b"(17000", f"(17{rounds:02}0".encode())
