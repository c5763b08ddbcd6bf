"""What people and firms say: kept beside what was measured, superseded and never lost, checked before it is taken."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import pytest
import rfc8785

from packbook.__main__ import main
from packbook.adapters.cards import CardError, read_card
from packbook.adapters.rules import RuleBook
from packbook.adapters.store import declarations, open_reader, open_writer
from packbook.adapters.store.ledger import Ledger
from packbook.app import demo_cards
from packbook.app.demo import CARS
from packbook.app.export_neutral import purpose_of
from packbook.core.declared import Declared, Scope, compared, fact_of, in_force, objection
from packbook.core.passport import Part
from packbook.testing.rows import soh_point
from packbook.testing.scripted_box import ScriptedBox
from packwire.errors import BadSignature, Malformed
from packwire.messages import Consent, Soh, SohState
from packwire.signed import check_detached

FIELDS = RuleBook().fields()
DAY_MS = 86_400_000
NOW_MS = 1_790_000_000_000
VIN = "JN1AZ0CP8BT012345"
CARD = """
by = "Example Motors"
on = "2026-02-01"
document = "data sheet 12"
[facts]
manufacturer = "Example Cells K.K."
mass_kg = 290
made_on = "2014-02"
identifiers = ["gs1:https://id.example.com/01/09506000134352/21/X1", "gbt34014:001PB240000003B3C0221953"]
idle_temp_max_degc = 40
remaining_power_w = { value = 60000, sigma = 800, method = "bench", conditions = { soc_pct = 80 } }
"""


def said(name: str, value: float | str | None, by: str = "Example Motors", **more: Any) -> Declared:
    return Declared(name, value, by, NOW_MS, **more)


def valid(*told: Declared) -> dict[str, list[object]]:
    return {name: [one.value for one in some] for name, some in in_force(told, FIELDS.fields).items()}


def test_what_is_said_later_supersedes() -> None:
    """A typing error is put right by saying it again."""
    assert valid(said("mass_kg", 29.0), said("mass_kg", 290.0, by="Example Garage")) == {"mass_kg": [290.0]}


def test_what_is_said_of_one_battery_goes_before_what_is_said_of_its_model() -> None:
    """The rebuilt pack is heavier than its data sheet, whichever was entered first."""
    model, own = said("mass_kg", 290.0, scope=Scope.MODEL), said("mass_kg", 297.5)
    assert valid(own, model) == valid(model, own) == {"mass_kg": [297.5]}


def test_several_diagnoses_stand_beside_each_other() -> None:
    """Two workshops, two days: each is a fact of its own. The same one entered again is one."""
    first = said("soh_declared_pct", 87.5, "Garage A", method="OBD", on="2026-05-03")
    again = said("soh_declared_pct", 88.5, "Garage A", method="OBD", on="2026-05-03")
    other = said("soh_declared_pct", 84.0, "Garage B", method="OBD", on="2026-05-03")
    assert valid(first, other, again) == {"soh_declared_pct": [88.5, 84.0]}


def test_what_was_said_can_be_taken_back() -> None:
    """By who said it; where several may speak, the others' words stay."""
    assert valid(said("status", "waste"), said("status", None)) == {}
    mine, theirs = said("accident", "DOC-1"), said("accident", "DOC-2", by="Example Garage")
    assert valid(mine, theirs, said("accident", None)) == {"accident": ["DOC-2"]}
    assert valid(mine, said("accident", None), said("accident", "DOC-3")) == {"accident": ["DOC-3"]}


@pytest.mark.parametrize(
    ("told", "why"),
    [
        (said("colour", "red"), "there is no such field"),
        (said("full_cycles", 3.0), "only records tell this"),
        (said("soh_capacity_pct", 100.0), "only records tell this"),
        (said("mass_kg", -1.0), "-1 is not between 0 and 10000 kg"),
        (said("mass_kg", "heavy"), "'heavy' is not a number"),
        (said("status", "broken"), "'broken' is none of: original"),
        (said("made_on", "May 2014"), "'May 2014' is not a month like 2021-05"),
        (said("identifiers", "X1"), "'X1' is not scheme:value"),
        (said("mass_kg", 290.0, on="2026-02-30"), "on: '2026-02-30' is not a day"),
        (said("mass_kg", 290.0, on="2031-01-01"), "on: 2031-01-01 is still to come"),
        (said("mass_kg", 290.0, by=" "), "by: expected 1 to 300 printable characters"),
        (said("mass_kg", 290.0, conditions={"temp_degc": float("inf")}), "conditions: expected finite numbers"),
        (said("soh_declared_pct", 88.0, sigma=-1.0), "sigma: -1.0 is not a positive number"),
    ],
)
def test_what_cannot_be_declared_is_refused_with_the_reason(told: Declared, why: str) -> None:
    """Whoever fills in a card sees what to change."""
    assert (objection(FIELDS.fields.get(told.name), told) or "").startswith(why)


@pytest.mark.parametrize(
    "told",
    [
        said("model", f"pack of {VIN}"),
        said("identifiers", f"vin:{VIN.lower()}"),
        said("mass_kg", 290.0, document=VIN),
        said("mass_kg", 290.0, by=f"owner of {VIN}"),
        said("mass_kg", 290.0, conditions={"car": VIN}),
        said("mass_kg", 290.0, by=VIN, conditions={"by": "Example Motors"}),
        said("mass_kg", 290.0, conditions={VIN: 1.0}),
    ],
)
def test_a_vehicles_number_is_refused_and_not_repeated(told: Declared) -> None:
    """It ties the record to a person, and an error message ends in a log."""
    why = objection(FIELDS.fields[told.name], told) or ""
    assert "looks like a vehicle's number" in why
    assert VIN not in why.upper()


def test_a_battery_code_is_no_vehicles_number() -> None:
    """Chinese codes have 24 characters of the same letters; a pack's own serial often has fewer."""
    for code in ("gbt34014:001PB240000003B3C0221953", "serial:230GA3NH0A001200042", "serial:SIM24000000003"):
        assert objection(FIELDS.fields["identifiers"], said("identifiers", code)) is None


def test_a_foreign_figure_is_compared_with_ours_of_its_day() -> None:
    """Ours of today against a workshop's of two years ago would call an honest workshop wrong."""
    day_ms = 20_000 * DAY_MS
    points = [
        soh_point(at_ms=day_ms - 40 * DAY_MS, soh_pct=92.0, lo90_pct=90.0, hi90_pct=94.0),
        soh_point(at_ms=day_ms + 400 * DAY_MS, soh_pct=85.0, lo90_pct=83.0, hi90_pct=87.0),
    ]
    on = "2024-10-04"  # day 20 000
    alone = compared(fact_of(said("soh_declared_pct", 89.0, on=on)), points)
    assert (alone["ours_pct"], alone["difference_pct"], alone["days_apart"]) == (92.0, -3.0, 40)
    assert (alone["agrees"], alone["judged_by_interval_of"]) == ("no", "ours alone: theirs names no uncertainty")
    both = compared(fact_of(said("soh_declared_pct", 89.0, on=on, sigma=1.0)), points)
    assert (both["agrees"], both["judged_by_interval_of"]) == ("yes", "both")
    assert compared(fact_of(said("soh_declared_pct", 89.0)), []) == {"compared": "we have no figure of our own yet"}


def test_a_card_is_read_whole(tmp_path: Path) -> None:
    """What stands at its head holds for every line that does not say otherwise; a date needs no quotes."""
    (tmp_path / "card.toml").write_text(CARD.replace('"2026-02-01"', "2026-02-01"))
    told = {one.name: one for one in read_card(tmp_path / "card.toml", FIELDS, Scope.BATTERY, NOW_MS)}
    assert told["mass_kg"] == said("mass_kg", 290, on="2026-02-01", document="data sheet 12")
    power = told["remaining_power_w"]
    assert (power.method, power.sigma, power.conditions, power.on) == ("bench", 800.0, {"soc_pct": 80.0}, "2026-02-01")
    assert told.keys() == {"manufacturer", "mass_kg", "made_on", "identifiers", "idle_temp_max_degc", power.name}


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("mass_kg = 290", "mass_lb = 640", r"facts\.mass_lb: there is no such field"),
        ("mass_kg = 290", "mass_kg = [290, 291]", r"facts\.mass_kg: holds one value, not 2"),
        ("mass_kg = 290", "mass_kg = true", r"facts\.mass_kg: True is not a number"),
        ("mass_kg = 290", "mass_kg = 09:30:00", r"facts\.mass_kg: expected a number, a text, or a table"),
        ("mass_kg = 290", "mass_kg = nan", r"facts\.mass_kg: nan is not a finite number"),
        ("mass_kg = 290", "soh_capacity_pct = 100", r"facts\.soh_capacity_pct: only records tell this"),
        ('by = "Example Motors"', "", r"by: Field required"),
        ('on = "2026-02-01"', 'when = "2026-02-01"', r"when: there is no such key"),
        ("sigma = 800", "sigam = 800", r"facts\.remaining_power_w\.sigam: there is no such key"),
        ("[facts]", "[facts", r"not TOML"),
    ],
)
def test_a_card_with_one_wrong_line_is_refused_whole(tmp_path: Path, old: str, new: str, why: str) -> None:
    """Half a card would be half a truth, and nobody would know which half."""
    assert old in CARD
    (tmp_path / "card.toml").write_text(CARD.replace(old, new))
    with pytest.raises(CardError, match=rf"card\.toml: {why}"):
        read_card(tmp_path / "card.toml", FIELDS, Scope.BATTERY, NOW_MS)


# --- as operators do it -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A book with a battery whose owner agreed, one that only said hello, and one whose owner said nothing."""
    folder = tmp_path_factory.mktemp("book")
    boxes = []
    for name, battery, agreed, lives in (("a", "BAT-1", True, True), ("b", "BAT-2", True, False), ("c", "BAT-3", 0, 1)):
        box = ScriptedBox(name=name)
        box.hello(battery)
        if agreed:
            box.say(Consent(purposes=("history", "passport"), text_version="2026-11"))
        if lives:
            box.drive()
            box.usage()
            box.soh()
            box.say(Soh(state=SohState.OK, soh_pct=88.0, lo90_pct=86.4, hi90_pct=89.6, soce_pct=86.5, method="weigh/1"))
        boxes.append(box)

    async def fill() -> None:
        async with open_writer(f"sqlite:///{folder / 'book.db'}", "test") as database:
            for box in boxes:
                await Ledger(database).take(box.arrivals)

    asyncio.run(fill())
    (folder / "book.toml").write_text(f'database_url = "sqlite:///{folder / "book.db"}"\n')
    return folder


def do(folder: Path, *words: str) -> int:
    return main([*words, "--settings", str(folder / "book.toml")])


def neutral(folder: Path, out: Path, *words: str) -> dict[str, Any]:
    assert do(folder, "export", "BAT-1", "--format", "neutral", "--out", str(out), *words) == 0
    told: dict[str, Any] = json.loads(out.read_text())
    return told


def test_a_card_and_a_diagnosis_come_out_in_the_record(
    lived: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole way: declared on the command line, superseded, listed, exported, owed."""
    (tmp_path / "card.toml").write_text(CARD)
    assert do(lived, "declare", "BAT-1", "--file", str(tmp_path / "card.toml")) == 0
    diagnosis = ("--method", "workshop OBD", "--by", "Example Garage", "--on", "2026-05-03")
    assert do(lived, "declare", "BAT-1", "--soh", "97.5", *diagnosis) == 0
    assert do(lived, "declare", "BAT-1", "--soh", "87.5", *diagnosis) == 0
    capsys.readouterr()
    assert do(lived, "declare", "BAT-1", "--list") == 0
    listed = capsys.readouterr().out
    assert "soh_declared_pct = 97.5 of 2026-05-03  (Example Garage, workshop OBD)  (superseded)" in listed
    facts = neutral(lived, tmp_path / "out.json")["value"]["record"]["facts"]
    (foreign,) = facts["soh_declared_pct"]
    assert (foreign["value"], foreign["source"], foreign["by"]) == (87.5, "declared", "Example Garage")
    assert foreign["conditions"]["agrees"] == "yes"
    assert [fact["value"] for fact in facts["soh_capacity_pct"]] == [88]
    assert [fact["value"] for fact in facts["soce_pct"]] == [86.5]
    assert facts["time_hot_s"][0]["value"] == 0
    capsys.readouterr()
    assert do(lived, "passport", "BAT-1", "--json") == 1  # a bare box cannot owe nothing
    told = capsys.readouterr()
    rows = {row["name"]: row for row in json.loads(told.out)["rows"]}
    assert (rows["weight"]["standing"], rows["status"]["standing"]) == ("filled", "missing")
    assert rows["status"]["why"] == "status: nobody declared it"
    assert "rows are not met" in told.err


def test_each_part_is_signed_apart(lived: Path, tmp_path: Path) -> None:
    """Identity is for all, the value part is given out under its holder's terms: one must check without the other."""
    told = neutral(lived, tmp_path / "out.json")
    key = bytes.fromhex(told["book_key"])
    for part in Part:
        record, signature = told[part.value]["record"], base64.b64decode(told[part.value]["signature"])
        canonical = rfc8785.dumps(record)
        check_detached(signature, canonical, purpose_of(part), key, part.value)
        with pytest.raises(BadSignature):
            check_detached(signature, canonical.replace(b"BAT-1", b"BAT-2"), purpose_of(part), key, part.value)
        other = purpose_of(Part.VALUE if part is Part.IDENTITY else Part.IDENTITY)
        with pytest.raises(BadSignature):
            check_detached(signature, canonical, other, key, part.value)
        assert record["battery"] == "BAT-1"
    with pytest.raises(Malformed):
        check_detached(b"\x00", b"", purpose_of(Part.VALUE), key, "value")


def test_the_same_record_gives_the_same_bytes(lived: Path, tmp_path: Path) -> None:
    """Who kept a copy can tell whether anything changed."""
    neutral(lived, tmp_path / "one.json")
    neutral(lived, tmp_path / "two.json")
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()


@pytest.mark.parametrize(
    ("battery", "more", "why"),
    [
        ("NOPE", (), "no battery 'NOPE' is in this book"),
        ("BAT-2", (), "battery BAT-2: no usage or state of health has arrived yet"),
        ("BAT-3", (), "battery BAT-3: the owner's consent to passport is missing"),
        ("BAT-1", ("--rule", "fields=9"), "rules fields: version 9 is not known; known are: 1"),
    ],
)
def test_an_export_that_cannot_be_says_why(
    lived: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    battery: str,
    more: tuple[str, ...],
    why: str,
) -> None:
    """Four ways to ask for what is not there, four answers, and no file."""
    out = tmp_path / "out.json"
    assert do(lived, "export", battery, "--format", "neutral", "--out", str(out), *more) == 1
    assert why in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize(
    ("words", "code", "why"),
    [
        (("NOPE", "--withdraw", "status", "--by", "x"), 1, "no battery 'NOPE' is in this book"),
        (("NOPE", "--list"), 1, "no battery 'NOPE' is in this book"),
        (("leaf-99", "--model", "--withdraw", "status", "--by", "x"), 1, "no model 'leaf-99' is in this book"),
        (("BAT-1", "--withdraw", "full_cycles", "--by", "x"), 1, "full_cycles: only records tell this"),
        (("BAT-1", "--soh", "870", "--by", "x", "--on", "2026-05-03", "--method", "y"), 1, "870 is not between"),
        (("BAT-1", "--soh", "87"), 2, "--soh needs --by, --on and --method"),
        (("BAT-1", "--withdraw", "status"), 2, "--withdraw needs --by"),
        (("BAT-1", "--list", "--by", "x"), 2, "--by does not go with --list"),
        (("BAT-1", "--file", "none.toml"), 1, "none.toml: cannot be read: No such file"),
    ],
)
def test_a_declaration_that_cannot_be_taken_says_why(
    lived: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], code: int, why: str
) -> None:
    """Nothing is kept, and the operator knows what to change."""
    assert do(lived, "declare", *words) == code
    assert why in capsys.readouterr().err


async def test_declarations_are_kept_in_their_order_and_apart(tmp_path: Path) -> None:
    """Battery and model of the same name are two subjects; nothing that was said is ever changed."""
    url = f"sqlite:///{tmp_path / 'book.db'}"
    one, two = said("mass_kg", 290.0), said("mass_kg", None, conditions={"page": 3.0}, sigma=None)
    model = said("mass_kg", 288.0, scope=Scope.MODEL)
    async with open_writer(url, "test") as database:
        await declarations.add(database, Scope.BATTERY, "X", [one, two])
        await declarations.add(database, Scope.MODEL, "X", [model])
    async with open_reader(url) as database:
        assert await declarations.said_of(database, "X", None) == [one, two]
        assert await declarations.said_of(database, "X", "X") == [one, two, model]
        assert await declarations.said_of(database, "Y", "X") == [model]


@pytest.mark.parametrize("model", [car.model for car in CARS])
def test_each_car_of_the_demo_has_a_card_that_can_be_declared(model: str) -> None:
    """Otherwise the demo would begin without its passports, with a line in a log that nobody reads."""
    told = demo_cards.said_of(f"demo-{model}-1", model)
    assert all(objection(FIELDS.fields[one.name], one) is None for one in told)
    assert {"identifiers", "passport_id", "status", "made_on", "remaining_power_w"} <= {one.name for one in told}
    assert {one.document for one in told} == {"made up for the demo"}
