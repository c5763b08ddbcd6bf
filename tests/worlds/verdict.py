"""Is the book right? Judged from outside: by its own database, by what the box was told, and by what was true.

In:  a world that ended. Out: nothing, or `WrongError` with all that is wrong.
The oracle is a twin: the plain fold over what each store was told, up to its newest commit before each power cut, in
larger batches, without journal, broker or network. Chain and signatures are checked with packwire alone.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing

import numpy as np

from packbox.core import box
from packbox.core.frames import FrameBatch, join
from packbox.core.outcome import Outcome, SessionClosed
from packbox.core.stamp import NS_PER_MS
from packbox.core.summary import message_of
from packbox.sim.car import Awake, SimCar
from packwire.codec import to_wire
from packwire.errors import WireError
from packwire.messages import Event, EventKind, Health
from packwire.seal import NO_PREVIOUS, Record, digest, open_sealed
from worlds.box import Item, Tape
from worlds.plan import Blow
from worlds.world import Ended

JOIN_FRAMES = 20_000
SLACK_S = 30.0  # a commit that just began, and the restart after it
ENERGY_SHARE = 0.03  # rounding to the wire, torn frames, the second at each end of a session
ENERGY_WH = 60.0
TRUSTED_ERROR_MS = 1000.0  # of a clock that somebody looks after
SERVER_ERROR_MS = 100.0  # of an honest time server over a mobile network: five sigma of `Box._synchronize`
LAST_HEARD_MS = 60_000
DRIFT_PPM = 50.0  # of a crystal nobody disciplines
TOLD_BY_BOX = (EventKind.STORE_BEGUN, EventKind.DATA_LOST)
DATED = (  # what the history dates, and how long that lasted
    ("session", "start_ms", "duration_s"),
    ("soh_point", "at_ms", "0"),
    ("usage", "at_ms", "0"),
    ("event", "at_ms", "0"),
)
Row = tuple[object, ...]


class WrongError(AssertionError):
    """The book does not say what was true."""


def check(ended: Ended) -> dict[str, int]:
    """Figures of a world that is right."""
    wrong: list[str] = []
    held = _held(ended)
    figures = {
        "records": sum(len(rows) for rows in held.values()),
        "stores": len(ended.tapes),
        "started_without_disk": ended.around.started_without_disk,
    }
    for newest in ended.tapes:
        rows = held.pop((newest.box, newest.store), [])
        name = f"store {newest.store}"
        tape = _believed(name, newest, rows, ended, wrong)
        records = _chain(name, rows, tape, wrong)
        _all_there(name, rows, tape, wrong)
        state, outcomes = _twin(tape)
        _same_as_twin(name, records, outcomes, tape, wrong)
        _energy(name, tape, state, outcomes, ended, wrong)
    wrong += [f"the book holds store {store} of box {of} that nobody wrote" for of, store in held]
    _nothing_twice(ended, wrong)
    _quarantine(ended, wrong)
    _losses(ended, wrong)
    _presence(ended, wrong)
    if not figures["records"]:
        wrong.append("the book is empty: nothing was judged")
    figures["dated"] = _times(ended, wrong)
    if wrong:
        raise WrongError("\n".join(wrong))
    return figures


# -- the ledger ------------------------------------------------------------------------------------------------------


def _ask(ended: Ended, query: str) -> list[Row]:
    with closing(sqlite3.connect(ended.book_file)) as db:
        return db.execute(query).fetchall()


def _held(ended: Ended) -> dict[tuple[object, object], list[tuple[int, bytes]]]:
    held: dict[tuple[object, object], list[tuple[int, bytes]]] = {}
    for of, store, seq, sealed in _ask(ended, "SELECT box, store, seq, sealed FROM ledger ORDER BY box, store, seq"):
        assert isinstance(seq, int)
        assert isinstance(sealed, bytes)
        held.setdefault((of, store), []).append((seq, sealed))
    return held


def _believed(name: str, tape: Tape, rows: Sequence[tuple[int, bytes]], ended: Ended, wrong: list[str]) -> Tape:
    """Which of a cloned card's two histories the book went on with. Then the other is loud, and ends in a new store."""
    if tape.older is None or all(tape.made.get(seq) == sealed for seq, sealed in rows):
        return tape
    stores_since = [other for other in ended.tapes if other.box == tape.box and other is not tape]
    begun = _ask(ended, f"SELECT store, text FROM event WHERE event = '{EventKind.STORE_BEGUN}'")  # noqa: S608 - ours
    if not stores_since or not {store for store, _ in begun} & {other.store for other in stores_since}:
        wrong.append(f"{name}: the book holds another history, and its box went on as if nothing were")
    return tape.older


def _chain(name: str, rows: Sequence[tuple[int, bytes]], tape: Tape, wrong: list[str]) -> list[Record]:
    """Unbroken from the first record on, signed by the box's key."""
    records = []
    previous = NO_PREVIOUS
    for place, (seq, sealed) in enumerate(rows, start=1):
        try:
            record = open_sealed(sealed, tape.public_key)
        except WireError as problem:
            wrong.append(f"{name}: record {seq}: {problem}")
            return records
        if (seq, record.envelope.seq, record.envelope.previous) != (place, place, previous):
            wrong.append(f"{name}: the chain breaks at record {place} (found {seq})")
            return records
        records.append(record)
        previous = digest(sealed)
    return records


def _all_there(name: str, rows: Sequence[tuple[int, bytes]], tape: Tape, wrong: list[str]) -> None:
    """What the box once had on disk is in the book, as it was."""
    lost = sorted(set(tape.made) - {seq for seq, _ in rows})
    if tape.card_gone:  # what it had not sent went with it, which can only be the newest
        lost = [seq for seq in lost if rows and seq < rows[-1][0]]
    if lost:
        wrong.append(f"{name}: {len(lost)} of {len(tape.made)} records are not in the book: {lost[:10]}")
    other = [seq for seq, sealed in rows if tape.made.get(seq) != sealed]
    if other:
        wrong.append(f"{name}: the book holds records that the box did not write: {other[:10]}")


def _nothing_twice(ended: Ended, wrong: list[str]) -> None:
    """One session record, one session in the history, and no session number twice in a store."""
    numbers = "SELECT box, store, session FROM session GROUP BY box, store, session HAVING count(*) > 1"
    twice = _ask(ended, numbers)
    if twice:
        wrong.append(f"sessions stand twice in the history: {twice[:5]}")
    counts = _ask(ended, "SELECT (SELECT count(*) FROM session), (SELECT sum(charges + drives + rests) FROM battery)")
    sessions, counted = counts[0]
    if sessions != (counted or 0):
        wrong.append(f"the history has {sessions} sessions and counts {counted}")


def _quarantine(ended: Ended, wrong: list[str]) -> None:
    """Empty, but for a cloned card's other history, and notes of times that a lying server gave."""
    reasons = {str(reason) for (reason,) in _ask(ended, "SELECT DISTINCT reason FROM quarantine")}
    allowed = {"fork", "broken_chain", "disputed"} if any(tape.older for tape in ended.tapes) else set()
    if any(event.blow is Blow.CLOCK_LIE for event in ended.plan.events):
        allowed |= {"wrong_clock"}
    if reasons - allowed:
        wrong.append(f"quarantine holds {sorted(reasons - allowed)}")


def _presence(ended: Ended, wrong: list[str]) -> None:
    """Every box came through to the end: it was heard, told how it is, and said that it leaves."""
    query = "SELECT box, last_seen_ms, online, status, health, unready FROM box"
    seen = {of: rest for of, *rest in _ask(ended, query)}
    for of in {tape.box for tape in ended.tapes}:
        last_ms, online, status, health, unready = seen.get(of, (0, None, None, None, None))
        assert isinstance(last_ms, int)
        if ended.ended_ms - last_ms > LAST_HEARD_MS or (online, status, unready) != (0, "stopped", 0) or not health:
            wrong.append(
                f"box {of} was heard last at {last_ms}, online {online}, {status}, {unready} not ready, {health}"
            )


# -- the twin --------------------------------------------------------------------------------------------------------


def _twin(tape: Tape) -> tuple[box.BoxState, list[Outcome]]:
    state = box.start(tape.plan)
    outcomes: list[Outcome] = []
    for item in _joined(tape.items[: tape.durable]):
        state, new = box.advance(tape.plan, state, item)
        outcomes += new
    return state, outcomes


def _joined(items: Sequence[Item]) -> Iterator[Item]:
    """The same in larger pieces: how frames were batched must not matter."""
    gathered: list[FrameBatch] = []
    for item in items:
        fits = (
            isinstance(item, FrameBatch)
            and gathered
            and (item.boot, item.wall_offset_ms) == (gathered[0].boot, gathered[0].wall_offset_ms)
            and sum(map(len, gathered)) < JOIN_FRAMES
        )
        if gathered and not fits:
            yield join(gathered)
            gathered = []
        if isinstance(item, FrameBatch):
            gathered.append(item)
        else:
            yield item
    if gathered:
        yield join(gathered)


def _same_as_twin(
    name: str, records: Sequence[Record], outcomes: Sequence[Outcome], tape: Tape, wrong: list[str]
) -> None:
    said = [
        (r.envelope.boot, r.envelope.mono_ms, r.envelope.wall_ms, r.kind, to_wire(r.message))
        for r in records
        if not isinstance(r.message, Health) and not (isinstance(r.message, Event) and r.message.event in TOLD_BY_BOX)
    ]
    expected = []
    for outcome in outcomes:
        message, stamp = message_of(outcome, tape.public_key), outcome.stamp
        expected.append((stamp.boot, stamp.mono_ns // NS_PER_MS, stamp.wall_ms, message.KIND, to_wire(message)))
    for place, (one, other) in enumerate(zip(said, expected, strict=False), start=1):
        if one != other:
            wrong.append(f"{name}: message {place} differs from the twin's:\n  book {one}\n  twin {other}")
            return
    if len(said) != len(expected) and not (tape.card_gone and len(said) < len(expected)):
        wrong.append(f"{name}: {len(said)} messages, the twin has {len(expected)}")


def _losses(ended: Ended, wrong: list[str]) -> None:
    """A power cut takes no more than the stretch between two commits, and what a refusing disk could not take."""
    plan = ended.plan
    window_s = plan.commit_every_s + max(plan.pieces.charge_s, plan.pieces.drive_s, plan.pieces.tick_s) + SLACK_S
    for loss in ended.around.losses:
        refused_s = sum(max(0.0, min(spell.to_s, loss.at_s) - max(spell.from_s, loss.since_s)) for spell in plan.disks)
        if loss.at_s - loss.since_s > window_s + refused_s:
            wrong.append(
                f"{loss.at_s - loss.since_s:.0f} s lost at {loss.at_s:.0f} s; {window_s + refused_s:.0f} s are allowed"
            )


# -- the car ---------------------------------------------------------------------------------------------------------


def _energy(
    name: str, tape: Tape, state: box.BoxState, outcomes: list[Outcome], ended: Ended, wrong: list[str]
) -> None:
    """All sessions together, the open one too, hold the energy that moved while frames came."""
    _, left = box.finish(tape.plan, state)
    sessions = [o.session for o in (*outcomes, *left) if isinstance(o, SessionClosed)]
    told = sum(s.energy_in_wh for s in sessions), sum(s.energy_out_wh for s in sessions)
    true = _true_energy_wh(tape, ended)
    for what, one, other in zip(("in", "out"), told, true, strict=True):
        if abs(one - other) > ENERGY_SHARE * other + ENERGY_WH:
            wrong.append(f"{name}: sessions hold {one:.0f} Wh {what}, the car moved {other:.0f} Wh")


def _true_energy_wh(tape: Tape, ended: Ended) -> tuple[float, float]:
    """By the car's own sensor, in the stretches from which frames came."""
    windows = _windows_s(tape, ended)
    moved = np.zeros(2)
    for car, awake in _awake(ended):
        del car
        begin_s = (awake.start_ms - ended.begin_ms) / 1000
        knots_s = begin_s + awake.step_s * np.arange(len(awake.sensed_a))
        for low_s, high_s in windows:
            if high_s <= knots_s[0] or low_s >= knots_s[-1]:
                continue
            at_s = np.union1d(np.clip(knots_s, low_s, high_s), [max(low_s, knots_s[0]), min(high_s, knots_s[-1])])
            power_w = np.interp(at_s, knots_s, awake.sensed_a * awake.voltage_v)
            moved += [np.trapezoid(np.clip(sign * power_w, 0, None), at_s) / 3600 for sign in (1, -1)]
    return float(moved[0]), float(moved[1])


def _windows_s(tape: Tape, ended: Ended) -> list[tuple[float, float]]:
    """When frames came, in seconds of the world; holes of less than ten seconds are none (`core.sample.GAP_S`)."""
    windows: list[tuple[float, float]] = []
    boot = None
    for item in tape.items[: tape.durable]:
        if not isinstance(item, FrameBatch):
            continue
        machine = ended.around.machines[item.boot]
        low_s, high_s = (
            (machine.true_ms_at(float(item.mono_ns[k]) / NS_PER_MS) - ended.begin_ms) / 1000 for k in (0, -1)
        )
        if windows and item.boot == boot and low_s - windows[-1][1] <= 10:
            windows[-1] = windows[-1][0], high_s
        else:
            windows.append((low_s, high_s))
        boot = item.boot
    return windows


def _awake(ended: Ended) -> Iterator[tuple[SimCar, Awake]]:
    """What the heard cars lived, up to the end."""
    ends_s = [from_s for from_s, _ in ended.lives[1:]] + [(ended.ended_ms - ended.begin_ms) / 1000]
    for (from_s, car), to_s in zip(ended.lives, ends_s, strict=True):
        for stretch in car.stretches(ended.begin_ms + int(from_s * 1000)):
            if stretch.start_ms >= ended.begin_ms + to_s * 1000:
                break
            if isinstance(stretch, Awake):
                yield car, stretch


# -- time ------------------------------------------------------------------------------------------------------------


def _times(ended: Ended, wrong: list[str]) -> int:
    """Whatever the history dates is dated right, within what the clock anchors of its boot state.

    An anchor states its own error: where it contradicts what the box knew before, how far the two are apart. Anchors of
    one boot that contradict each other state that somebody lied: then their distance is how far any date of this boot
    may be off. A session is dated when it closes, back by the monotonic
    clock: its beginning is as far off as a crystal drifts in between, about a second for half a day.
    """
    anchors: dict[object, list[tuple[int, int, float]]] = {}
    for boot, mono_ms, wall_ms, extreme in _ask(
        ended,
        "SELECT a.boot, a.mono_ms, a.wall_ms, e.extreme FROM clock_anchor a JOIN event e USING (box, store, seq)"
        " ORDER BY a.mono_ms",
    ):
        assert isinstance(mono_ms, int)
        assert isinstance(wall_ms, int)
        if not isinstance(extreme, float):
            wrong.append(f"the clock anchor of boot {boot} at {mono_ms} ms states no uncertainty")
            continue
        anchors.setdefault(boot, []).append((mono_ms, wall_ms - mono_ms, extreme))
    dated = 0
    for table, column, lasted in DATED:
        query = f"SELECT boot, mono_ms, {column}, {lasted} FROM {table}"  # noqa: S608 - ours
        for boot, mono_ms, at_ms, lasted_s in _ask(ended, query):
            if at_ms is None:
                continue
            assert isinstance(mono_ms, int)
            assert isinstance(at_ms, int)
            machine = ended.around.machines.get(boot)  # type: ignore[call-overload]
            if machine is None:
                wrong.append(f"{table}: boot {boot} never was")
                continue
            dated += 1
            known = anchors.get(boot, [(0, 0, TRUSTED_ERROR_MS)])
            offsets_ms = [offset_ms for _, offset_ms, _ in known]
            nearest_ms = min(abs(mono_ms - anchor_ms) for anchor_ms, _, _ in known)
            stated_ms = max(error_ms for _, _, error_ms in known)
            assert isinstance(lasted_s, float | int)
            allowed_ms = max(stated_ms, max(offsets_ms) - min(offsets_ms)) + SERVER_ERROR_MS
            allowed_ms += (nearest_ms + lasted_s * 1000) * DRIFT_PPM * 1e-6
            off_ms = at_ms - machine.true_ms_at(mono_ms)
            if abs(off_ms) > allowed_ms:
                wrong.append(
                    f"{table}: boot {boot} at {mono_ms} ms is dated {off_ms / 1000:+.1f} s wrong,"
                    f" {allowed_ms / 1000:.1f} s are allowed"
                )
    return dated
