"""Names on labels: GS1 links, identification links, DIDs and GB/T 34014 codes."""

from __future__ import annotations

import json
import re
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packbook.core.digital_link import (
    DigitalLink,
    NotAnIdentifier,
    check_digit,
    did,
    identification_link,
    parse_link,
    single_asset,
    trade_item,
)
from packbook.core.gbt34014 import DAYS, MONTHS, YEARS, BatteryCode, NotABatteryCode, Thing, parse_code
from passport import js

GTIN = "09506000134352"  # GS1's own example
SET_82 = "!\"%&'()*+,-./0123456789:;<=>?ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"


def test_a_battery_is_named_by_its_trade_item_and_serial() -> None:
    """The path is what counts: whoever serves it, the thing is the same."""
    link = trade_item("9506000134352", "B-0042/7")
    assert link.path == f"/01/{GTIN}/21/B-0042%2F7"
    assert link.url("https://id.example.org/") == f"https://id.example.org/01/{GTIN}/21/B-0042%2F7"
    assert parse_link(link.url("https://other.example/dpp")) == link == parse_link(link.path)


def test_a_serial_may_look_like_a_key() -> None:
    """A serial 01 or 21 and a resolver in a folder are both usual."""
    assert parse_link(f"https://r.example/x/01/{GTIN}/21/01") == DigitalLink(gtin=GTIN, serial="01")
    assert parse_link(f"https://r.example/01/{GTIN}/10/01/21/21") == DigitalLink(gtin=GTIN, batch="01", serial="21")


def test_what_does_not_name_the_thing_is_not_read() -> None:
    assert parse_link(f"https://r.example/01/{GTIN}/21/7?linkType=gs1:pip&17=271231#x") == trade_item(GTIN, "7")


@given(st.text(SET_82, min_size=1, max_size=20), st.text(SET_82, min_size=1, max_size=30))
def test_every_character_of_set_82_survives_a_link(serial: str, asset: str) -> None:
    """A serial with a slash, a percent sign or a plus is a legal serial."""
    for link in (trade_item(GTIN, serial), single_asset(asset)):
        url = link.url("https://r.example")
        assert parse_link(url) == link
        assert re.fullmatch(r"[A-Za-z0-9:/._%-]+", url)


def test_set_82_has_82_characters() -> None:
    taken = {chr(n) for n in range(0x20, 0x100) if _taken(chr(n))}
    assert taken == set(SET_82)
    assert len(taken) == 82


def _taken(character: str) -> bool:
    try:
        trade_item(GTIN, character)
    except NotAnIdentifier:
        return False
    return True


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"https://r.example/01/{GTIN[:-1]}3/21/7", "last digit"),
        ("https://r.example/01/9506000134352/21/7", "14 digits"),
        ("https://r.example/01/0950600013435A/21/7", "8, 12, 13 or 14 digits"),
        (f"https://r.example/01/{GTIN}/21/{'7' * 21}", "21 characters"),
        (f"https://r.example/01/{GTIN}/21/a%20b", "set 82"),
        (f"https://r.example/01/{GTIN}/21/%E9", "set 82"),
        (f"https://r.example/01/{GTIN}/21/a%2", "%25"),
        (f"https://r.example/01/{GTIN}/21/", "no GS1 key"),
        (f"https://r.example/01/{GTIN}/21/7/10/b", "expected 01, then 10 and 21"),
        (f"https://r.example/01/{GTIN}/21/7/21/8", "twice"),
        (f"https://r.example/01/{GTIN}/99/7", "expected 01"),
        ("https://r.example/battery/7", "no GS1 key"),
        (f"ftp://r.example/01/{GTIN}/21/7", "https://HOST"),
        (f"https:///01/{GTIN}/21/7", "https://HOST"),
        ("https://[r.example/01", "not a URL"),
        ("", "no GS1 key"),
    ],
)
def test_a_link_that_names_nothing_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(NotAnIdentifier, match=re.escape(reason)):
        parse_link(text)


def test_one_wrong_digit_never_passes() -> None:
    """What the check digit is for: a label that was typed in."""
    assert all(
        check_digit(f"{GTIN[:n]}{d}{GTIN[n + 1 : -1]}") != GTIN[-1]
        for n in range(13)
        for d in "0123456789"
        if d != GTIN[n]
    )


@pytest.mark.parametrize("resolver", ["r.example", "https://", "https://r.example/?a=1", "file:///x"])
def test_a_resolver_is_a_web_address(resolver: str) -> None:
    with pytest.raises(NotAnIdentifier, match="resolver"):
        single_asset("A1").url(resolver)


@pytest.mark.parametrize(
    "text", ["https://batteries.example.com/b?s=0042", "http://a.example/x", f"https://id.example/01/{GTIN}/21/%2F"]
)
def test_any_unique_url_may_be_an_identification_link(text: str) -> None:
    assert identification_link(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "https://a.example",
        "https://a.example/",
        "https://a.example/ä",
        "https://a.example/a b",
        "https://a.example/%G1",
        "https://u:p@a.example/x",
        "https://a.example:99999/x",
        "https:///x",
        "urn:uuid:0",
        "https://a.example/" + "x" * 255,
        "https://a.example/x\n",
    ],
)
def test_a_link_that_no_plate_should_carry_is_refused(text: str) -> None:
    with pytest.raises(NotAnIdentifier):
        identification_link(text)


@pytest.mark.parametrize(
    "text", ["did:web:book.example", "did:web:localhost%3A8080:a:b", "did:key:z6Mkf5rG", "did:a:b::c"]
)
def test_a_did_is_known(text: str) -> None:
    assert did(text) == text


@pytest.mark.parametrize(
    "text", ["did:web", "did:web:", "did:Web:a", "did:web:a/b", "did:web:a#k", "did:x:a%", "did:x:a:", "a"]
)
def test_what_is_not_quite_a_did_is_refused(text: str) -> None:
    with pytest.raises(NotAnIdentifier):
        did(text)


@pytest.mark.parametrize(
    ("text", "made_on", "manufacturer"),
    [("001CB240000003B3C0221953", date(2021, 3, 12), "001"), ("04QCB76836300JBC40000903", date(2021, 12, 4), "04Q")],
)
def test_real_codes_are_read(text: str, made_on: date, manufacturer: str) -> None:
    """Two codes seen on cells (facts/passport.md §5)."""
    code = parse_code(text)
    assert (code.made_on, code.manufacturer, code.thing, code.chemistry) == (made_on, manufacturer, Thing.CELL, "B")
    assert str(code) == text


def test_a_second_use_code_is_read() -> None:
    code = parse_code("001CB24B3C0221953RP")
    assert code == BatteryCode("001", Thing.CELL, "B", "24", None, date(2021, 3, 12), "0221953", Thing.PACK)
    assert str(code) == "001CB24B3C0221953RP"


def test_the_official_sample_is_read(shared: Path) -> None:
    """Written by others, with a year that a decoder counting straight through the alphabet gets wrong."""
    sample = json.loads((shared / "schemas/catena-x/TractionBatteryCode-2.0.0.sample.json").read_bytes())
    assert parse_code(sample["tractionBatteryCode"]).made_on == date(2039, 2, 21)


def test_dates_use_the_letters_of_the_standard() -> None:
    """A straight count through the alphabet is one wrong from J on, two at P, three from R, four from V."""
    assert (YEARS["1"], YEARS["9"], YEARS["A"], YEARS["H"], YEARS["J"]) == (2011, 2019, 2020, 2027, 2028)
    assert (MONTHS["9"], MONTHS["A"], MONTHS["C"]) == (9, 10, 12)
    days = {"9": 9, "A": 10, "H": 17, "J": 18, "N": 22, "P": 23, "R": 24, "T": 26, "V": 27, "Y": 30, "0": 31}
    assert {character: DAYS[character] for character in days} == days
    assert not {"I", "O", "Q", "U", "Z"} & (YEARS.keys() | DAYS.keys())


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("001CB240000003B3C022195", "23 characters"),
        ("001CB24B3C0221953R", "18 characters"),
        ("001cb240000003b3c0221953", "capital letters"),
        ("001XB240000003B3C0221953", "position 4"),
        ("001CH240000003B3C0221953", "position 5"),
        ("001CB240000003I3C0221953", "position 15"),
        ("001CB24000000303C0221953", "position 15"),
        ("001CB240000003BDC0221953", "position 16"),
        ("001CB240000003B3U0221953", "position 17"),
        ("001CB240000003B3Z0221953", "position 17"),
        ("001CB240000003B2Y0221953", "there is no 2021-02-30"),
        ("001CB240000003B3C02219A3", "position 18"),
        ("001CB24B3C0221953XP", "position 18"),
        ("001CB24B3C0221953RX", "position 19"),
        ("001CB24B3C02219531P", "position 18"),
    ],
)
def test_a_code_that_is_none_is_refused_with_the_position(text: str, reason: str) -> None:
    with pytest.raises(NotABatteryCode, match=reason):
        parse_code(text)


def test_a_library_that_others_wrote_reads_the_same_links() -> None:
    """digital-link.js, of the people who drafted the standard."""
    links = [
        trade_item(GTIN, "B-0042").url("https://r.example"),
        trade_item(GTIN, "7", batch="L1").url("https://r.example/folder"),
        single_asset("95060001343-7").url("https://r.example"),
        f"https://r.example/01/{GTIN[:-1]}3/21/7",
        f"https://r.example/01/{GTIN}/21/{'7' * 21}",
    ]
    assert js.ask(links=links)["links"] == [
        {"01": GTIN, "21": "B-0042"},
        {"01": GTIN, "10": "L1", "21": "7"},
        {"8004": "95060001343-7"},
        None,
        None,
    ]
