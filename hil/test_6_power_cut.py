"""The box's history through power cuts: on a card that loses what was not flushed, one that lies, one that stalls.

What left the box before the power went is the measure: it sends a record only after its journal said that it is safe.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import pytest

from brokers import Mosquitto
from can_frames import battery_state
from packbox.adapters.journal import JOURNAL_FILE
from rig.boxes import UNIT, Packbox
from rig.crash_states import crash_states, entries_flushed
from rig.disks import BLOCK_BYTES, BrokenDiskError, forget_block, logged_node, make_disk
from rig.driving import BATTERY, LOG, log_of
from rig.emulated import EmulatedRig
from rig.figures import FIGURES
from rig.garage import PORT, Garage, Power
from rig.kept import BrokenPromiseError, Kept, NoStartError, hold_to
from rig.machine import Ability, Fault, Rig
from rig.planted import Plant, caught, plant
from rig.witness import Witness

SEED: Final = 6
CARDS: Final = 2  # that the power cuts are shared among: a test each
CUT_AFTER_MAX_S: Final = 40.0  # of the guest's time: starting up, and two sessions
CUT_LATE_S: Final = 30.0  # each third cut comes no sooner: only of closed sessions one can be lost
WINDOW_S: Final = 10.0  # docs/box.md: commit_every_s
SLACK_S: Final = 1.5  # gathering frames, and the commit itself on so slow a processor
STATES: Final = 300
LIES: Final = 100
DAMAGED_WHY: Final = "was damaged"
OLDER_WHY: Final = "had confirmed"
RUN_RECORDS: Final = 60  # of the run whose writes are logged
LIFE: Final = "sim:leaf-24,seed=6,start=2026-05-04,until=2026-12-01,speed=max"
CLI_EVERY: Final = 60  # states that the commands are tried on as well: each takes seconds
STALL_S: Final = 20.0
DAMAGED: Final = "journal damaged, set aside"
OLDER_NOTICED: Final = "journal older than the card had said, set aside"
OLDER: Final = "journal older, and the number beside it too: only the book can tell"
STALLED_PER_S: Final = 100
QUIET_MAX_S: Final = 2.0
SESSIONS_SEEN: Final = 5  # records: hello, what goes with it, and the first sessions
NO_FLUSH: Final = Plant("packbox/adapters/journal/journal.py", "PRAGMA synchronous = FULL", "PRAGMA synchronous = OFF")

OF_ONE_RUN: Final = pytest.mark.xdist_group("logged run")

pytestmark = pytest.mark.needs(Ability.POWER_CUT, Ability.LOSSY_DISK)


@pytest.fixture
def emulated(rig: Rig) -> EmulatedRig:
    assert isinstance(rig, EmulatedRig), "no other rig has cards that fail as they are told"
    return rig


@pytest.fixture
def garage(emulated: EmulatedRig, tmp_path: Path) -> Iterator[Garage]:
    made = Garage(emulated, tmp_path)
    make_disk(made.image)
    yield made
    made.close()
    if not emulated.guest.running:
        emulated.renew()  # whoever looks it over after the test finds it with power


@pytest.fixture
def broker(emulated: EmulatedRig, tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path, options=f"listener 0 {emulated.folder}/{PORT}.sock") as running:
        yield running


@pytest.fixture
def witness(broker: Mosquitto, garage: Garage) -> Iterator[Witness]:
    with Witness(broker.host, broker.port, clock=lambda: garage.uptime_s) as listening:
        yield listening


def test_a_stalled_card_does_not_stop_the_reader(emulated: EmulatedRig, garage: Garage) -> None:
    """Cards move their blocks about and answer nothing for seconds. The car does not wait."""
    count = int(STALLED_PER_S * (STALL_S + 20))  # some before and after
    frames = log_of((k / STALLED_PER_S, BATTERY, battery_state(-10, 380, k)) for k in range(count))
    with garage.card() as card:
        garage.power_on(garage.node(card), drives=False)
        box = Packbox(emulated.box)
        emulated.car.put(LOG, frames)
        box.wait_for("s['bus']['down'] is None")
        emulated.car.run(f"systemd-run --quiet --unit=car canplayer -I {LOG} {emulated.car_can}=car")
        box.wait_for("s['health']['frames'] > 0")
        began_s = garage.uptime_s
        card.stall()
        garage.wait_until(began_s + STALL_S / 2)  # by then the newest state waits to be saved
        meanwhile = box.wait_for(f"s['mono_ms'] > {(began_s + STALL_S / 4) * 1000:.0f}", within_s=STALL_S / 2)
        waiting = emulated.box.run(f"ps -L -o state= -p $(systemctl show -p MainPID --value {UNIT})").out.split()
        garage.wait_until(began_s + STALL_S)
        card.resume()
        after = box.wait_for(f"s['health']['frames'] >= {count}")["health"]
        assert "D" in waiting, f"the card did not stall: no thread waits for it, they are {waiting}"
        assert meanwhile["bus"]["quiet_s"] < QUIET_MAX_S, "the reader stood still with the card"
        assert (after["frames"], after["frames_dropped"]) == (count, 0)
        assert box.show("NRestarts") == {"NRestarts": "0"}
        garage.take_out()
    FIGURES.tell("a card that answers nothing, without a frame lost", STALL_S, "s")


@pytest.mark.parametrize("card", range(CARDS))
def test_no_power_cut_loses_or_doubles_a_session(
    emulated: EmulatedRig, garage: Garage, witness: Witness, request: pytest.FixtureRequest, card: int
) -> None:
    """Cars cut the power whenever they like; what the owner was shown once must stay."""
    cuts = -(-request.config.getoption("--cuts") // CARDS)
    dice = random.Random(SEED + card)
    began_s, worst_s = time.monotonic(), 0.0
    kept: Kept | None = None
    for number in range(cuts):
        after_s = dice.uniform(CUT_LATE_S if number % 3 == 2 else 1.0, CUT_AFTER_MAX_S)
        kept, lost = one_cut(garage, witness, after_s)
        worst_s = max(worst_s, lost)
        assert lost <= WINDOW_S + SLACK_S, f"cut {number}: {lost:.1f} s of driving are gone"
    assert kept is not None
    assert len(kept.sessions) >= cuts / 4, "too few sessions for the cuts to prove anything"
    here = f"card {card + 1} of {CARDS}"
    FIGURES.tell(f"{here}: power cuts survived", cuts, "")
    FIGURES.tell(f"{here}: sessions closed between power cuts, none lost, none doubled", len(kept.sessions), "")
    FIGURES.tell(f"{here}: driving that a power cut took, at worst", worst_s, "s", limit=WINDOW_S)
    FIGURES.tell(f"{here}: one power cut, from power on to power on", (time.monotonic() - began_s) / cuts, "s")
    look_at_it_with_the_commands(garage.files())


def one_cut(garage: Garage, witness: Witness, after_s: float) -> tuple[Kept | None, float]:
    """What is left, and how many seconds of what the box had heard are not."""
    witness.online_s = None
    with garage.card() as card:
        power = garage.power_on(garage.node(card))
        garage.wait_until(power.began_s + after_s)
        garage.cut(card)
    kept = garage.kept()
    assert not witness.doubled
    hold_to(kept, witness.records)
    return kept, lost_s(kept, power, garage.uptime_s, witness.online_s)


def lost_s(kept: Kept | None, power: Power, off_s: float, online_s: float | None) -> float:
    """Nothing counts before the box said that it was there: until then it had nothing to lose."""
    if kept is not None and kept.newest is not None and kept.newest.boot == power.boot:
        return off_s - kept.newest.mono_ns / 1e9
    return 0.0 if online_s is None else off_s - online_s


def look_at_it_with_the_commands(folder: Path) -> None:
    """What people use when they doubt a card: all of them must find a whole history."""
    out = folder.with_name("export.pack")
    out.unlink(missing_ok=True)
    checks = {found["check"]: found for found in packbox("doctor", "--json", "--data-dir", str(folder))}
    assert {checks[name]["verdict"] for name in ("key", "journal", "chain")} == {"OK"}, checks
    sessions = [
        record["session"]
        for record in packbox("history", "--json", "--limit", "0", "--data-dir", str(folder))
        if record["kind"] in ("drive", "charge", "rest")
    ]
    assert sessions == sorted(set(sessions), reverse=True)
    packbox("export", "--data-dir", str(folder), "--out", str(out), expect=0)
    packbox("verify", str(out), expect=0)


def packbox(*words: str, expect: int | None = None) -> list[dict[str, object]]:
    """What a command says, line by line where it says JSON. Doctor's status is its own business: no bus, no profile."""
    ran = subprocess.run([sys.executable, "-m", "packbox", *words], capture_output=True, text=True, check=False)
    assert expect is None or ran.returncode == expect, f"{words}: {ran.stdout}{ran.stderr}"
    return [json.loads(line) for line in ran.stdout.splitlines()] if "--json" in words else []


@pytest.mark.x86_only
def test_a_journal_that_does_not_flush_is_found_out(emulated: EmulatedRig, garage: Garage, witness: Witness) -> None:
    """A planted fault: without SQLite's flush the cuts above must lose something."""
    with caught():
        with garage.card() as card:
            garage.power_on(garage.node(card), before=lambda: plant(emulated.box, NO_FLUSH))
            assert witness.wait_for(SESSIONS_SEEN, within_s=60 * emulated.slow_factor)
            garage.cut(card)
        hold_to(garage.kept(), witness.records)


# -- every state that one run may leave ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def logged_run(rig: Rig, tmp_path_factory: pytest.TempPathFactory) -> tuple[Garage, Witness, Kept]:
    """A box that lives through months as fast as it can, every write to its card logged; and what it kept at last."""
    if not isinstance(rig, EmulatedRig):
        pytest.skip(f"{rig.name} lacks: {Ability.LOSSY_DISK.value}")
    folder = tmp_path_factory.mktemp("logged")
    garage = Garage(rig, folder, LIFE)
    make_disk(garage.image)
    before = garage.image.with_name("before.raw")
    before.write_bytes(garage.image.read_bytes())
    with (
        Mosquitto(folder, options=f"listener 0 {rig.folder}/{PORT}.sock") as broker,
        Witness(broker.host, broker.port, mark=lambda: entries_flushed(garage.log)) as witness,
    ):
        garage.power_on(logged_node("card", garage.image, garage.log), drives=False)
        assert witness.wait_for(RUN_RECORDS, within_s=120 * rig.slow_factor), "the box makes no records"
        garage.cut()
    kept = garage.kept()
    assert kept is not None
    hold_to(kept, witness.records)
    return garage, witness, kept


@OF_ONE_RUN
@pytest.mark.x86_only
def test_every_state_that_a_power_cut_may_leave_keeps_every_promise(
    logged_run: tuple[Garage, Witness, Kept], tmp_path: Path
) -> None:
    """A card writes what was not flushed in any order, in any part: hundreds of ways, not the one that came up."""
    garage, witness, last = logged_run
    began_s, torn, lost, behind = time.monotonic(), 0, 0, set()
    first = min(witness.marks.values())
    before, image = garage.image.with_name("before.raw"), tmp_path / "state.raw"
    for number, state in enumerate(crash_states(garage.log, before, image, random.Random(SEED), STATES, first)):
        told = {place: witness.records[place] for place, mark in witness.marks.items() if mark <= state.at}
        where = f"state {number} (power gone after write {state.at}, {state.lost} writes lost, {state.torn} torn)"
        try:
            kept = garage.kept(state.image)
            hold_to(kept, told)
            assert kept is not None
            assert [r.sealed for r in kept.records] == [r.sealed for r in last.records[: len(kept.records)]]
        except (BrokenDiskError, AssertionError) as problem:
            raise AssertionError(f"{where}: {problem}") from problem
        torn, lost = torn + (state.torn > 0), lost + (state.lost > 0)
        behind.add(len(kept.records))
        if number % CLI_EVERY == 0:
            look_at_it_with_the_commands(garage.files(state.image))
    assert lost >= STATES / 4, "too few states differ from an orderly end"
    FIGURES.tell("crash states checked", STATES, "")
    FIGURES.tell("of them with writes lost, with torn writes", lost, f"and {torn}")
    FIGURES.tell("different ends of the history among them", len(behind), "")
    FIGURES.tell("one crash state: made, mended, opened, checked", (time.monotonic() - began_s) / STATES, "s")


@OF_ONE_RUN
@pytest.mark.x86_only
def test_a_card_that_lied_about_flushing_never_makes_a_box_fall_or_lie(
    logged_run: tuple[Garage, Witness, Kept], tmp_path: Path
) -> None:
    """Any write of the whole run may be missing. What is kept is whole, or set aside and said."""
    garage, witness, _ = logged_run
    first = min(witness.marks.values())
    before, image = garage.image.with_name("before.raw"), tmp_path / "state.raw"
    ends: Counter[str] = Counter()
    for state in crash_states(garage.log, before, image, random.Random(SEED), LIES, first, lies=True):
        told = {place for place, mark in witness.marks.items() if mark <= state.at}
        ends[end_of(garage, state.image, told)] += 1
    for what, count in sorted(ends.items()):
        FIGURES.tell(f"cards that lied about flushing: {what}", count, f"of {LIES}")
    assert ends[DAMAGED] + ends[OLDER_NOTICED] >= 4 * ends[OLDER], ends


def end_of(garage: Garage, image: Path, told: set[tuple[str, int]]) -> str:
    """Raises BrokenPromiseError for a journal that the box goes on with and should not."""
    try:
        kept = garage.kept(image)
    except BrokenDiskError:
        return "not even a file system left"
    except NoStartError:
        return "no start, said why"
    if kept is None:
        return "nothing left, a new box begins"
    if kept.begun_after is not None:
        return DAMAGED if "damaged (" in kept.begun_after else OLDER_NOTICED
    here = {(kept.store, record.envelope.seq) for record in kept.records}
    return "nothing that was told is missing" if told <= here else OLDER


@OF_ONE_RUN
@pytest.mark.x86_only
def test_a_journal_older_than_the_card_had_said_is_set_aside_and_reported(
    emulated: EmulatedRig,
    garage: Garage,
    witness: Witness,
    logged_run: tuple[Garage, Witness, Kept],
    tmp_path: Path,
) -> None:
    """The card said that it flushed, and had not. Nothing in the journal itself tells."""
    run, told, _ = logged_run
    before, first = run.image.with_name("before.raw"), min(told.marks.values())
    states = crash_states(run.log, before, tmp_path / "state.raw", random.Random(SEED), LIES, first, lies=True)
    begin_with(garage, (state.image for state in states), OLDER_WHY)
    check_set_aside(emulated, garage, witness, OLDER_WHY)


@pytest.mark.x86_only
def test_a_journal_with_a_page_that_the_card_never_wrote_is_set_aside_and_reported(
    emulated: EmulatedRig, garage: Garage, witness: Witness, tmp_path: Path
) -> None:
    """The journal of a box that had left in good order, with zeros in one place."""
    with garage.card() as card:
        garage.power_on(garage.node(card))
        assert witness.wait_for(SESSIONS_SEEN, within_s=60 * emulated.slow_factor)
        garage.take_out()
        garage.cut(card)
    begin_with(garage, never_written(garage, tmp_path / "state.raw"), DAMAGED_WHY)
    witness.records.clear()
    check_set_aside(emulated, garage, witness, DAMAGED_WHY)


def never_written(garage: Garage, scratch: Path) -> Iterator[Path]:
    """The card as it is, but for one page of the journal; each in turn."""
    size, mended = (garage.files() / JOURNAL_FILE).stat().st_size, garage.mended()
    for number in range(size // BLOCK_BYTES):
        scratch.write_bytes(mended)
        forget_block(scratch, JOURNAL_FILE, number)
        yield scratch


def begin_with(garage: Garage, images: Iterable[Path], why: str) -> None:
    """Put that of these into the card of which the box will say `why`."""
    for image in images:
        try:
            kept = garage.kept(image)
        except (BrokenDiskError, BrokenPromiseError):
            continue
        if kept is not None and kept.begun_after is not None and why in kept.begun_after:
            garage.image.write_bytes(image.read_bytes())
            return
    raise AssertionError(f"no state in which the journal {why}")


def check_set_aside(emulated: EmulatedRig, garage: Garage, witness: Witness, why: str) -> None:
    """The box begins anew, keeps the old file, and says so: to the log, to who asks it, to the book."""
    emulated.expects(Fault.JOURNAL_FAULT)
    with garage.card() as card:
        garage.power_on(garage.node(card))
        heard = witness.wait_for(SESSIONS_SEEN, within_s=60 * emulated.slow_factor)
        logged = [line["MESSAGE"] for line in Packbox(emulated.box).journal()]
        assert heard, "\n".join(logged)
        events = Packbox(emulated.box).history("event")
        checks = emulated.box.run("packbox doctor --json", within_s=60, check=False).out
        garage.take_out()
    assert any(event["event"] == "store_begun" and why in event["text"] for event in events), events
    assert any("set aside" in line and why in line for line in logged)
    found = [found for found in map(json.loads, checks.splitlines()) if found["check"] == "journal"]
    assert any(one["verdict"] == "WARN" and why in one["text"] for one in found), found
