"""The speed and memory that issue 3 promises, as ratios against named peers. `make bench` fails when one breaks."""

from __future__ import annotations

import pickle
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from bench import workloads
from bench.measure import TABLE, Row, in_turn, instructions, peak_rss_mb
from bench.workloads import (
    COUNTED,
    COUNTED_FRAMES,
    LIVE_FRAMES,
    LIVE_S,
    Capture,
    batches,
    dbc_database,
    decoding,
    known_to,
    living,
    profile,
)
from packbox.core.decode import Decoder

DECODE_RATIO: Final = 20.0
LIVE_RATIO: Final = 4.0  # in live batches, which have fixed costs; no promise to others, but it should not get worse
END_TO_END_RATIO: Final = 5.0
READ_RATIO: Final = 3.0
LIVE_SHARE_PCT: Final = 2.0
MEMORY_GROWTH_MB: Final = 30.0
SIMULATED_FRAMES: Final = 60_000

LEAF_ZE0: Final = "nissan-leaf-ze0/ZE0w24kWhstock.log"
LEAF_62: Final = "nissan-leaf-ze1-62kwh/EV-CANeplus2.log"


def counted(kind: str, capture: Capture, workdir: Path) -> dict[str, int]:
    """Instructions of each piece of such work on the beginning of the capture; empty where they cannot be counted."""
    begin = Capture(capture.name, capture.frames.pick(slice(0, COUNTED_FRAMES)), capture.variant)
    (workdir / "capture").write_bytes(pickle.dumps(begin))
    names = list(COUNTED[kind](begin))
    found = instructions(Path(workloads.__file__), [kind, str(workdir / "capture")], len(names), workdir)
    if isinstance(found, str):
        note = f"No instruction counts: {found}."
        if note not in TABLE.notes:
            TABLE.notes.append(note)
        return {}
    return dict(zip(names, found, strict=True))


@pytest.mark.parametrize(("log", "variant"), [(LEAF_ZE0, "ze0"), (LEAF_62, "ze1-62")], ids=["ze0", "ze1-62"])
def test_a_recorded_leaf_is_decoded_20_times_as_fast_as_by_cantools(
    shared: Path, log: str, variant: str, tmp_path: Path
) -> None:
    """Real traffic: what shares of ids, lengths and polls a car really sends."""
    compare_decoders(Capture(log.split("/")[1], workloads.recorded(shared / "logs" / log), variant), tmp_path)


def test_a_simulated_leaf_is_decoded_20_times_as_fast_as_by_cantools(tmp_path: Path) -> None:
    """The same promise where the recordings may not go."""
    compare_decoders(Capture("simulated Leaf 62", workloads.simulated(SIMULATED_FRAMES), "ze1-62"), tmp_path)


def compare_decoders(capture: Capture, workdir: Path) -> None:
    known = len(known_to(dbc_database(profile(), capture.variant), capture.frames))
    assert known > len(capture.frames) / 2
    found = in_turn(decoding(capture))
    counts = counted("decoding", capture, workdir)
    known_counted = len(
        known_to(dbc_database(profile(), capture.variant), capture.frames.pick(slice(0, COUNTED_FRAMES)))
    )
    for name, what, promise in (
        ("ours", f"decode, {capture.name}", f">= {DECODE_RATIO:g} x"),
        ("live", f"  in batches of {LIVE_FRAMES:,}", f">= {LIVE_RATIO:g} x"),
        ("first", "  from the first frame on, recognising the car", ""),
    ):
        text = ""
        if counts:
            ours, peer = (counts[one] / known_counted for one in (name, "cantools"))
            text = f"{ours:,.0f} / {peer:,.0f} a frame ({peer / ours:.1f} x)"
        times = [f"{1e6 * found.typical_s(one) / known:.3f} us/frame" for one in (name, "cantools")]
        TABLE.rows.append(
            Row(what, f"{found.ratio('cantools', name):.1f} x", promise, times[0], f"cantools {times[1]}", text)
        )
    all_us = 1e6 * found.typical_s("all") / len(capture.frames)
    TABLE.rows.append(Row("  with its polls and unknown ids", "", "", f"{all_us:.3f} us/frame", "does neither"))
    assert found.ratio("cantools", "ours") >= DECODE_RATIO
    assert found.ratio("cantools", "live") >= LIVE_RATIO


def test_a_log_is_read_and_decoded_5_times_as_fast_as_by_python_can_and_cantools(tmp_path: Path) -> None:
    """What an analyst waits for: a mixed log of known and unknown ids and polls, from the file to the values."""
    log = tmp_path / "mixed.log"
    log.write_bytes(workloads.as_candump(workloads.saturated(workloads.simulated(SIMULATED_FRAMES))))
    leaf = profile()
    found = in_turn(
        {
            "ours": partial(workloads.read_and_decode_ours, Decoder(leaf), log),
            "peers": partial(workloads.read_and_decode_peers, dbc_database(leaf, "ze1-62"), log),
            "read ours": partial(workloads.read_ours, log),
            "read python-can": partial(workloads.read_python_can, log),
        }
    )
    whole, reading = found.ratio("peers", "ours"), found.ratio("read python-can", "read ours")
    for what, ratio, promise, ours, peer, name in (
        ("read and decode a candump log", whole, END_TO_END_RATIO, "ours", "peers", "python-can + cantools"),
        ("read a candump log", reading, READ_RATIO, "read ours", "read python-can", "python-can"),
    ):
        ours_us, peer_us = (1e6 * found.typical_s(key) / SIMULATED_FRAMES for key in (ours, peer))
        TABLE.rows.append(
            Row(
                what, f"{ratio:.1f} x", f">= {promise:g} x", f"{ours_us:.3f} us/frame", f"{name} {peer_us:.2f} us/frame"
            )
        )
    assert whole >= END_TO_END_RATIO
    assert reading >= READ_RATIO


def test_two_saturated_buses_take_less_than_2_percent_of_a_core_to_decode(tmp_path: Path) -> None:
    """The box shares its two small cores with everything else, and runs while the car sleeps on its 12 V battery."""
    capture = Capture("simulated", workloads.simulated(SIMULATED_FRAMES), "ze1-62")
    live = batches(workloads.saturated(capture.frames), LIVE_FRAMES)
    assert {len(batch) for batch in live} == {LIVE_FRAMES}
    found = in_turn(living(capture))
    counts = counted("living", capture, tmp_path)
    for name, what, promise in (
        ("decode", "decode", f"< {LIVE_SHARE_PCT:g} %"),
        ("fold", "decode and fold (box.advance)", ""),
    ):
        taken_s = found.typical_s(name) / len(live)
        text = f"{counts[name] / (COUNTED_FRAMES / LIVE_FRAMES) / 1e6:,.2f} M a batch" if counts else ""
        TABLE.rows.append(
            Row(
                f"live, 2 x 4,000 frames/s: {what}",
                f"{100 * taken_s / LIVE_S:.2f} %",
                promise,
                f"{1e3 * taken_s:.3f} ms a batch",
                f"of {1e3 * LIVE_S:g} ms",
                text,
            )
        )
    assert 100 * found.typical_s("decode") / len(live) / LIVE_S < LIVE_SHARE_PCT


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
