"""A week with everything: guest box, TLS, broker, book, page. Link lost, power cut, book away, broker's memory lost."""

from __future__ import annotations

import html
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from book import Book
from packbox.adapters.journal import JOURNAL_FILE, open_copy
from rig.boxes import DATA, Packbox
from rig.driving import play
from rig.emulated import SET_CLOCK, EmulatedRig
from rig.figures import FIGURES
from rig.machine import Ability, Rig
from rig.planted import NO_ACK, caught, plant
from rig.week import DAYS, SCENE_S, Does, log_of_day

DAY_S = 86_400
MORNING_S = 7 * 3600
BATTERY = "JOURNEY-1"
SETTINGS = f"""\
battery = "{BATTERY}"
vehicle = "week"
clock_trusted = "always"
"""
INVITED = "/boot/firmware/packbox-enrol.toml"
ENROLLED_MAX_S = 120.0  # the box's start, and a second try if the first came too early
ARRIVES_MAX_S = 120.0  # what waited while there was no link
PAGE_MAX_S = 60.0
LOOK_EVERY_S = 0.5
WALL = "s (by the clock on the wall)"
NOTHING_MEASURED = "only the car's own value so far: nothing measured yet"
# A Pi without a clock chip begins no earlier than it last knew the time, and the image was made today.
KNOWS_THE_TIME = "fake-hwclock save force; touch /var/lib/systemd/timesync/clock; sync"
RELEASED = """\
import json, sqlite3, sys
journal = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True)
print(json.dumps([seq for seq, in journal.execute("SELECT seq FROM record WHERE held = 1")]))
"""

pytestmark = pytest.mark.needs(Ability.POWER_CUT, Ability.CLOCK, Ability.NETWORK)


class Journey:
    """A box that is enrolled, its car, its book. Days are counted from 0; the last one is yesterday."""

    def __init__(self, rig: EmulatedRig, book: Book, first_s: int) -> None:
        self.rig = rig
        self.book = book
        self.box = Packbox(rig.box)
        self.store = ""
        self._first_s = first_s

    @property
    def days(self) -> list[int]:
        """Since 1970."""
        return [self._first_s // DAY_S + day for day in range(DAYS)]

    def begin(self) -> None:
        """A new card in a new box, as docs/enrol.md has it."""
        self.sets_clock(0)
        self.rig.box.run(KNOWS_THE_TIME)
        self.box.listen_to(self.rig.box_can, SETTINGS)
        self.rig.box.put(INVITED, self.book.invitation())
        self.box.start()
        status = self.box.wait_for("s['link'] and s['link']['connected']", within_s=ENROLLED_MAX_S)
        self.store = status["store"]

    def morning_s(self, day: int) -> int:
        return self._first_s + day * DAY_S + MORNING_S

    def drives(self, day: int) -> None:
        """It slept over night, and hears the time once it is on the road: the charge before keeps the day it was on."""
        self.lives(day, Does.DRIVE)
        self.box.settled()
        self.sets_clock(day)
        self.lives(day, Does.DRIVE)

    def sets_clock(self, day: int) -> None:
        self.rig.box.run(SET_CLOCK.format(wall_s=self.morning_s(day)))

    def lives(self, day: int, *does: Does) -> None:
        """One after the other, on the bus; comes back when the last is over."""
        within_s = len(does) * SCENE_S + 20
        play(self.rig.car, log_of_day(day, *does), self.rig.car_can, within_s=within_s)

    def link(self, *, up: bool) -> None:
        self.rig.guest.qmp("set_link", name="nic0", up=up)

    def loses_power(self, day: int) -> None:
        """And gets it back at noon of that day, by its clock chip."""
        self.rig.cut_power()
        noon = datetime.fromtimestamp(self.morning_s(day) + 5 * 3600, UTC)
        self.rig.power_on(rtc=noon.strftime("%Y-%m-%dT%H:%M:%S"))
        self.box.wait_for("s['journal']['trouble'] is None", within_s=120)

    def settles(self) -> int:
        """Once the book holds all that the box has sealed: the number of records."""
        newest = int(self.box.settled()["journal"]["newest_seq"])
        wait_until(self, ARRIVES_MAX_S, lambda: len(self.book.ledger(self.store)) >= newest)
        return newest


def wait_until(journey: Journey, within_s: float, done: Callable[[], bool]) -> float:
    """Seconds by the clock on the wall that it took; the limit is multiplied by the slow factor."""
    began_s = time.monotonic()
    while not done():
        passed_s = time.monotonic() - began_s
        assert passed_s < within_s * journey.rig.slow_factor, f"not within {passed_s:.0f} s"
        time.sleep(LOOK_EVERY_S)
    return time.monotonic() - began_s


@pytest.fixture
def journey(rig: Rig, tmp_path: Path) -> Iterator[Journey]:
    assert isinstance(rig, EmulatedRig), "no other rig's clock and network can be had for this"
    first_s = int(time.time()) // DAY_S * DAY_S - DAYS * DAY_S
    with Book(tmp_path, rig.folder, from_ms=(first_s - DAY_S) * 1000) as book:
        yield Journey(rig, book, first_s)


def check_held(journey: Journey) -> None:
    """What the box took out of its outbox is in the ledger: neither sending nor the broker's word is enough."""
    script = f"python3 -I - {DATA}/{JOURNAL_FILE} <<'PYTHON'\n{RELEASED}PYTHON\n"
    released = set(json.loads(journey.rig.box.run(script).out))
    lost = sorted(released - set(journey.book.ledger(journey.store)))
    assert not lost, f"records {lost} left the outbox, and the book does not hold them"


def test_a_week_from_the_bus_to_the_page(journey: Journey, tmp_path: Path) -> None:
    """All that the other tests show one by one, together, and what the owner sees in the end."""
    began_s = time.monotonic()
    journey.begin()
    FIGURES.tell(
        "journey: from the box's start with a one-time code until it is connected", time.monotonic() - began_s, WALL
    )
    journey.drives(0)
    journey.lives(0, Does.CHARGE)
    a_day_without_a_link(journey, 1)
    a_day_with_a_power_cut(journey, 2)
    with a_day_without_the_book(journey, 3):
        check_held(journey)
    for day in (4, 5):
        journey.drives(day)
        journey.lives(day, Does.CHARGE)
    late_s = the_last_day(journey, DAYS - 1)
    records = journey.settles()
    check_held(journey)
    journey.box.stop()
    check_ledger(journey, tmp_path)
    check_bundle(journey, tmp_path)
    check_pages(journey)
    FIGURES.tell("journey: a week of seven drives and seven charges", time.monotonic() - began_s, WALL)
    FIGURES.tell("journey: records, each in the ledger once", records, "")
    FIGURES.tell("journey: on the wire both ways, with TLS", journey.book.wire.passed_bytes, "bytes")
    FIGURES.tell("journey: from the plug's end on the bus to the page", late_s, WALL)


def a_day_without_a_link(journey: Journey, day: int) -> None:
    """Lost on the road, back at the plug."""
    before = journey.settles()
    journey.link(up=False)
    journey.drives(day)
    assert journey.box.settled()["journal"]["newest_seq"] > before, "nothing was at stake"
    assert len(journey.book.ledger(journey.store)) == before, "the link was not lost"
    journey.link(up=True)
    journey.lives(day, Does.CHARGE)


def a_day_with_a_power_cut(journey: Journey, day: int) -> None:
    """While it is driven; the rest of the day is a box that was started anew."""
    journey.drives(day)
    journey.loses_power(day)
    journey.lives(day, Does.CHARGE)


@contextmanager
def a_day_without_the_book(journey: Journey, day: int) -> Iterator[None]:
    """The broker takes records and says so, and then loses power: all that came since its last save is gone."""
    journey.settles()
    with journey.book.closed():
        journey.drives(day)
        journey.lives(day, Does.CHARGE)
        sent = journey.box.settled()["journal"]["newest_seq"]
        assert sent > len(journey.book.ledger(journey.store)), "nothing was at stake"
        journey.book.broker.kill()
        yield
        journey.book.broker.start()


def the_last_day(journey: Journey, day: int) -> float:
    """Seconds from the plug's end, when it drives off, until the charge stands on the page."""
    journey.drives(day)
    journey.lives(day, Does.CHARGE)
    out_s = time.monotonic()
    journey.lives(day, Does.DRIVE)
    wait_until(journey, PAGE_MAX_S, lambda: rows_shown(journey, "charge") == DAYS)
    return time.monotonic() - out_s


def check_ledger(journey: Journey, scratch: Path) -> None:
    """The box's own journal and the book's ledger hold the same records, byte for byte, each once."""
    (scratch / JOURNAL_FILE).write_bytes(journey.rig.box.get(f"{DATA}/{JOURNAL_FILE}"))
    with open_copy(scratch / JOURNAL_FILE) as journal:
        kept = {row.seq: row.sealed for row in journal.chain()}
    assert sorted(kept) == list(range(1, len(kept) + 1))
    assert journey.book.ledger(journey.store) == kept
    assert journey.book.refused() == []


def check_bundle(journey: Journey, scratch: Path) -> None:
    """What a stranger does with the file."""
    bundle = scratch / "week.packbook"
    journey.book.command("export", BATTERY, "--format", "bundle", "--out", str(bundle))
    found = journey.book.verified(bundle)
    assert found["ok"], found


def check_pages(journey: Journey) -> None:
    """Seven drives and seven charges on seven days, and that twenty seconds of a charge measure no battery."""
    for kind in ("drive", "charge"):
        told = journey.book.asked(f"batteries/{BATTERY}/sessions?kind={kind}&limit=100")["sessions"]
        assert [session["start_ms"] // 1000 // DAY_S for session in told] == journey.days[::-1]
        assert rows_shown(journey, kind) == DAYS
    assert journey.book.asked(f"batteries/{BATTERY}")["soh"]["state"] == "learning"
    assert NOTHING_MEASURED in html.unescape(journey.book.page(f"battery/{BATTERY}"))


def rows_shown(journey: Journey, kind: str) -> int:
    """In the table of sessions, as an owner sees it."""
    page = journey.book.page(f"battery/{BATTERY}/sessions?kind={kind}")
    table = page.partition('data-live="sessions"')[2].partition("</table>")[0]
    return table.partition("<tbody>")[2].count("<tr>")


def test_a_box_that_trusts_the_broker_is_found_out(journey: Journey) -> None:
    """A planted fault: the check above must be able to fail."""
    plant(journey.rig.box, NO_ACK)
    journey.begin()
    journey.settles()
    with a_day_without_the_book(journey, 1), caught():
        check_held(journey)
