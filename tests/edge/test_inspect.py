"""`packbox inspect`: one look at a car ends in a sealed record and a sheet for people."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from packbox.__main__ import main
from packbox.adapters.record_file import RecordFileError, read_records, write_records
from packbox.app.sheet import REMARK_WORDS
from packbox.core.inspection import REMARKS
from packwire.ids import box_id_of
from packwire.messages import Cells, Health, Hello, Soh
from packwire.seal import NO_PREVIOUS, digest, open_sealed

LEAF_62 = "nissan-leaf-ze1-62kwh/EV-CANeplus2.log"
ION = "imiev-peugeot-ion/Triplet_2017-04-15_132733.log"


def inspect(tmp_path: Path, *arguments: str | Path, code: int = 0) -> None:
    more = ["--data-dir", str(tmp_path / "data"), "--out", str(tmp_path / "out")]
    assert main(["inspect", *map(str, arguments), *more]) == code


def seen(tmp_path: Path, capsys: pytest.CaptureFixture[str], log: Path) -> dict[str, Any]:
    inspect(tmp_path, log, "--json")
    facts: dict[str, Any] = json.loads(capsys.readouterr().out)
    return facts


def test_an_inspection_reads_what_an_auction_asks_for(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Identity, reported SoH, cells and kilometres from whatever was on the bus; nothing is sent."""
    facts = seen(tmp_path, capsys, shared / "logs" / LEAF_62)
    assert (facts["profile"], facts["variant"], facts["pack"]) == ("nissan-leaf", "ze1-62", "leaf-62")
    assert len(facts["cells_v"]) == 96
    assert facts["quantities"]["soh_reported_pct"] == 91
    assert facts["quantities"]["capacity_reported_ah"] == pytest.approx(162.2, abs=0.05)
    assert facts["frames_sent"] == 0
    assert facts["remarks"] == ["no_identity"]


def test_the_record_is_a_signed_chain_of_its_own(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A stranger with the public key alone can believe the inspection."""
    facts = seen(tmp_path, capsys, shared / "logs" / LEAF_62)
    sealed = read_records(Path(facts["files"][0]))
    public_key = open_unchecked_key(sealed[0])
    records = [open_sealed(one, public_key) for one in sealed]
    assert box_id_of(public_key) == facts["box"]
    assert [r.envelope.seq for r in records] == list(range(1, len(records) + 1))
    assert [r.envelope.previous for r in records] == [NO_PREVIOUS, *(digest(one) for one in sealed[:-1])]
    kinds = [type(r.message) for r in records]
    assert kinds[0] is Hello
    assert {Soh, Cells} <= set(kinds)
    last = records[-1].message
    assert isinstance(last, Health)
    assert (last.frames_sent, last.text) == (0, "inspection; trouble codes not read")


def open_unchecked_key(sealed: bytes) -> bytes:
    from packwire.seal import peek, read

    hello = read(peek(sealed)).message
    assert isinstance(hello, Hello)
    return hello.public_key


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.fetched += [v or "" for name, v in attrs if name in ("src", "href")]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_by_itself(shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is mailed, printed and kept for years: nothing in it may need a network."""
    facts = seen(tmp_path, capsys, shared / "logs" / LEAF_62)
    text = Path(facts["files"][2]).read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert page.fetched == []
    assert "http" not in text
    assert text.count("<rect") == 96
    assert "駆動用バッテリー検査票" in text
    assert "Traction battery inspection" in text


def test_every_inspection_takes_the_next_number(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Twenty-five cars in an afternoon, and none overwrites another."""
    for _ in range(2):
        inspect(tmp_path, shared / "logs" / ION)
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == [f"000{n}-mitsubishi-imiev.{end}" for n in (1, 2) for end in ("html", "records", "txt")]
    assert "未取得 / not seen" in capsys.readouterr().out


def test_detect_only_says_which_car(shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The first question at any unknown plug; nothing is written for it."""
    inspect(tmp_path, "--detect", shared / "logs" / ION)
    assert capsys.readouterr().out.startswith("mitsubishi-imiev: imiev-14")
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "data").exists()


def test_a_simulated_car_is_inspected_like_a_bus(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A live source ends after so many seconds, whatever it is."""
    inspect(tmp_path, "sim:leaf-24,speed=max", "--seconds", "30", "--detect")
    assert capsys.readouterr().out.startswith("nissan-leaf:")


@pytest.mark.parametrize(
    ("content", "code", "said"),
    [
        ("no log at all\n", 2, "no log"),
        ("".join(f"({k / 10:.6f}) can0 7AB#01020304\n" for k in range(50)), 1, "fit no known family"),
    ],
)
def test_bad_input_is_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, code: int, said: str
) -> None:
    """In the field nobody reads a traceback."""
    path = tmp_path / "some.log"
    path.write_text(content)
    inspect(tmp_path, path, code=code)
    err = capsys.readouterr().err
    assert err.startswith("packbox inspect: ")
    assert len(err.splitlines()) == 1
    if code == 1:
        assert said in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments", [("nowhere.log",), ("log:nowhere",), ("sim:no-such-car",), ("a", "--source", "b")]
)
def test_a_source_that_is_none_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    """Wrong usage is exit code 2, so that scripts can tell it from a car that is not known."""
    inspect(tmp_path, *arguments, code=2)
    assert capsys.readouterr().err.startswith("packbox inspect: ")


def test_every_remark_has_words_in_both_languages() -> None:
    """A remark without words would be a hole in somebody's sheet."""
    assert set(REMARK_WORDS) == set(REMARKS)


def test_a_file_of_records_is_never_written_over(tmp_path: Path) -> None:
    """It is evidence."""
    path = tmp_path / "a.records"
    write_records(path, [b"\x01", b"\x82\x01\x02"])
    with pytest.raises(RecordFileError, match="there already"):
        write_records(path, [b"\x02"])
    assert read_records(path) == [b"\x01", b"\x82\x01\x02"]


def test_a_torn_file_of_records_is_named(tmp_path: Path) -> None:
    """Half a record must not look like a whole inspection."""
    path = tmp_path / "torn.records"
    path.write_bytes(b"\x01\x82\x01")
    with pytest.raises(RecordFileError, match="byte 1"):
        read_records(path)
