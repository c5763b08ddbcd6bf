"""What the benchmarks do, ours and the peers' side by side on the same frames.

Run as a script with a name of COUNTED and a pickled `Capture` it does each of those pieces of work between marks: see
`measure.instructions`.
"""

from __future__ import annotations

import asyncio
import pickle
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import can
import numpy as np
from cantools.database import DecodeError
from cantools.database.can import Database

from bench.measure import mark
from packbox.adapters.logs import BATCH_FRAMES, read_log
from packbox.adapters.profile_dir import Catalogue
from packbox.core import box
from packbox.core.box import BoxPlan
from packbox.core.decode import Decoder, DecodeState
from packbox.core.frames import EXTENDED, FrameBatch, IntArray, join
from packbox.core.profile import Profile
from packbox.core.record import BatteryId, BoxId
from packbox.sim.source import open_sim
from packbox.testing.captures import Captured, candump_log

ROOT: Final = Path(__file__).resolve().parents[2]
LIVE_S: Final = 0.25  # how often the box takes a batch off its buses
BUS_FRAMES_S: Final = 4000  # a saturated bus of 500 kbit/s
BUSES: Final = 2
LIVE_FRAMES: Final = int(LIVE_S * BUS_FRAMES_S) * BUSES
COUNTED_FRAMES: Final = 16_000
SIMULATED: Final = "leaf-62,seed=5,days=1,until=2026-06-01,rate=real"

Pairs = list[tuple[int, bytes]]


# -- frames ------------------------------------------------------------------------------------------------------------


def simulated(frames: int, spec: str = SIMULATED) -> FrameBatch:
    """The first frames of a simulated car's day, at the rates of the real one, polls included."""

    async def gather() -> FrameBatch:
        batches: list[FrameBatch] = []
        async for item in open_sim(spec, None, lambda: 0).inputs():
            if isinstance(item, FrameBatch):
                batches.append(item)
            if sum(map(len, batches)) >= frames:
                break
        return join(batches)

    return asyncio.run(gather()).pick(slice(0, frames))


def recorded(path: Path) -> FrameBatch:
    return join(list(read_log(path)))


def batches(frames: FrameBatch, size: int = BATCH_FRAMES) -> list[FrameBatch]:
    return [frames.pick(slice(begin, begin + size)) for begin in range(0, len(frames), size)]


def saturated(frames: FrameBatch) -> FrameBatch:
    """The same frames, alternating between two full buses: every id that a car sends, 4,000 a second on each."""
    n = len(frames)
    return FrameBatch(
        frames.boot,
        frames.wall_offset_ms,
        np.arange(n, dtype=np.int64) * (1_000_000_000 // (BUS_FRAMES_S * BUSES)),
        (np.arange(n) % BUSES).astype(np.uint8),
        frames.can_id,
        frames.flags,
        frames.length,
        frames.data,
    )


def as_candump(frames: FrameBatch) -> bytes:
    return candump_log([*_captured(frames)])


def _captured(frames: FrameBatch) -> Iterator[Captured]:
    for k, (mono_ns, can_id, length) in enumerate(
        zip(frames.mono_ns.tolist(), frames.can_id.tolist(), frames.length.tolist(), strict=True)
    ):
        yield Captured(
            1_700_000_000_000_000 + mono_ns // 1000,
            can_id,
            frames.data[k, :length].tobytes(),
            int(frames.bus[k]),
            extended=bool(frames.flags[k] & EXTENDED),
        )


# -- peers -------------------------------------------------------------------------------------------------------------


def profile(name: str = "nissan-leaf") -> Profile:
    return Catalogue(ROOT / "can_profiles").profile(name)


def dbc_database(of: Profile, variant: str) -> Database:
    """What a user of cantools would load for this car: the files of its variant."""
    loaded = Database()
    for file in sorted({m.file for m in of.variant(variant).messages}):
        loaded.add_dbc_string((ROOT / "can_profiles" / of.id / file).read_text(encoding="utf-8"))
    return loaded


def known_to(database: Database, frames: FrameBatch) -> FrameBatch:
    """The frames that cantools can decode."""
    ids: IntArray = np.array(sorted(m.frame_id for m in database.messages), np.int64)
    return frames.pick(np.isin(frames.can_id, ids) & (frames.flags & EXTENDED == 0))


def pairs(frames: FrameBatch) -> Pairs:
    ids, lengths = frames.can_id.tolist(), frames.length.tolist()
    return [(can_id, row[:length].tobytes()) for can_id, length, row in zip(ids, lengths, frames.data, strict=True)]


def decode_ours(decoder: Decoder, stream: Iterable[FrameBatch], state: DecodeState | None = None) -> DecodeState:
    """From `state` on; None: from the very first frame, when it is not known yet which car it is."""
    state = decoder.start() if state is None else state
    for batch in stream:
        state, _ = decoder.decode(state, batch)
    return state


def decode_cantools(database: Database, frames: Pairs) -> None:
    """Numbers only, as ours: names of values would cost more."""
    decode = database.decode_message
    for can_id, data in frames:
        with suppress(DecodeError):  # shorter than the file says
            decode(can_id, data, decode_choices=False)


def read_ours(path: Path) -> None:
    for _ in read_log(path):
        pass


def read_python_can(path: Path) -> None:
    with can.LogReader(path) as reader:
        for _ in reader:
            pass


def read_and_decode_ours(decoder: Decoder, path: Path) -> None:
    decode_ours(decoder, read_log(path))


def read_and_decode_peers(database: Database, path: Path) -> None:
    known = {m.frame_id for m in database.messages}
    with can.LogReader(path) as reader:
        for message in reader:
            if message.arbitration_id in known:
                with suppress(DecodeError):
                    database.decode_message(message.arbitration_id, bytes(message.data), decode_choices=False)


def fold(decoder: Decoder, stream: Iterable[FrameBatch]) -> None:
    plan = BoxPlan(decoder, BoxId("0" * 16), BatteryId("bench"), "provisional", "bench")
    state = box.start(plan)
    for batch in stream:
        state, _ = box.advance(plan, state, batch)


# -- under callgrind ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Capture:
    name: str
    frames: FrameBatch
    variant: str  # of the car that sent it


Works = dict[str, Callable[[], object]]


def decoding(capture: Capture) -> Works:
    """The frames that cantools can read, by each of the peers; ours knows the car already, as cantools is told it."""
    leaf = profile()
    decoder, database = Decoder(leaf), dbc_database(leaf, capture.variant)
    known = known_to(database, capture.frames)
    learned = decode_ours(decoder, batches(known))
    assert decoder.variant(learned) == capture.variant
    return {
        "ours": partial(decode_ours, decoder, batches(known), learned),
        "cantools": partial(decode_cantools, database, pairs(known)),
        "live": partial(decode_ours, decoder, batches(known, LIVE_FRAMES), learned),
        "first": partial(decode_ours, decoder, batches(known)),
        "all": partial(decode_ours, decoder, batches(capture.frames), learned),
    }


def living(capture: Capture) -> Works:
    """Two full buses in batches of 250 ms."""
    decoder = Decoder(profile())
    live = batches(saturated(capture.frames), LIVE_FRAMES)
    return {"decode": partial(decode_ours, decoder, live), "fold": partial(fold, decoder, live)}


COUNTED: Final = {"decoding": decoding, "living": living}


def main() -> None:
    kind, path = sys.argv[1:]
    capture = pickle.loads(Path(path).read_bytes())  # noqa: S301  written by the parent just now
    for work in COUNTED[kind](capture).values():
        work()  # the first time makes what the others find made
        mark()
        work()
        mark()


if __name__ == "__main__":
    main()
