"""Logs to play on a rig's bus: of our own simulated cars, or slices of recordings, paced so that any rig can follow.

In:  a model of a simulated car, or a recording of any format. Out: frames (seconds, id, data), for `driving.log_of`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeAlias

from packbox.adapters.logs import read_log
from packbox.core.frames import ERROR, EXTENDED, REMOTE
from packbox.core.stamp import NS_PER_S
from packbox.sim.car import Awake, CarModel, SimCar
from packbox.sim.scenes import FIRST_DAY, LIGHT, Playing

from .driving import log_of

Frame: TypeAlias = tuple[float, int, bytes]

SCENE_S: Final = 25.0  # what is shown of each: long enough for the box to be sure what it sees
STOPPED_S: Final = 5.0  # of a drive's end are left out: the car stands there already
GAP_S: Final = 0.0025  # at least, from frame to frame: an emulated controller has little room, and its bus no pace
_SEED: Final = 1


def driven_and_charged(model: CarModel) -> list[Frame]:
    """The end of a drive, a charge from its first seconds on, the beginning of the next drive."""
    car = SimCar(model, _SEED, FIRST_DAY)
    life = (scene for scene in car.stretches(car.day_begins_ms(0)) if isinstance(scene, Awake))
    drive = next(scene for scene in life if not scene.plugged)
    charge = next(scene for scene in life if scene.plugged)
    next_drive = next(scene for scene in life if not scene.plugged)
    shown = ((drive, drive.seconds - SCENE_S - STOPPED_S), (charge, 20.0), (next_drive, 0.0))
    return paced(
        (place * SCENE_S + at_s, can_id, data)
        for place, (scene, from_s) in enumerate(shown)
        for at_s, can_id, data in _scene(scene, model, from_s)
    )


def replayed(frames: Sequence[Frame], profile: str, scratch: Path) -> dict[str, Any]:
    """What `packbox replay` makes of them, here: what the box in its car must make of them too."""
    log = scratch / "frames.log"
    log.write_bytes(log_of(frames))
    words = [sys.executable, "-m", "packbox", "replay", str(log), "--profile", profile, "--json"]
    facts = json.loads(subprocess.run(words, check=True, capture_output=True).stdout)
    assert isinstance(facts, dict)
    return facts


def slice_of(recording: Path, keep: Collection[int], count: int) -> list[Frame]:
    """The first `count` frames of these ids. Stretched in time where they come faster than a rig can follow."""
    with read_log(recording) as reading:
        frames = (
            ((at_ns, can_id, bytes(data[:length])))
            for batch in reading
            for at_ns, can_id, flags, length, data in zip(
                batch.mono_ns.tolist(),
                batch.can_id.tolist(),
                batch.flags.tolist(),
                batch.length.tolist(),
                batch.data,
                strict=True,
            )
            if can_id in keep and not flags & (ERROR | EXTENDED | REMOTE)
        )
        taken = list(islice(frames, count))
    begin_ns = taken[0][0]
    return paced(((at_ns - begin_ns) / NS_PER_S, can_id, data) for at_ns, can_id, data in taken)


def paced(frames: Iterator[Frame]) -> list[Frame]:
    made: list[Frame] = []
    for at_s, can_id, data in frames:
        after_s = made[-1][0] + GAP_S if made else 0.0
        made.append((max(at_s, after_s), can_id, data))
    return made


def _scene(scene: Awake, model: CarModel, from_s: float) -> Iterator[Frame]:
    columns = Playing(scene, model, _SEED, 1.0, LIGHT, silent=False).frames(from_s, from_s + SCENE_S)
    for at_ns, can_id, length, data in zip(
        columns.wall_ns.tolist(), columns.can_id.tolist(), columns.length.tolist(), columns.data, strict=True
    ):
        yield at_ns / NS_PER_S - from_s, can_id, bytes(data[:length])
