"""A DBC file becomes a draft that holds together and claims nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from packbox.__main__ import main
from packbox.adapters.profile_dir import Catalogue
from packbox.core.profile import Grade

ODD = """VERSION ""
BS_:
BU_: A
BO_ 256 Short: 8 A
 SG_ speed : 0|16@1+ (0.01,0) [0|655] "km/h" A
BO_ 2566844926 Long: 8 A
 SG_ level : 7|8@0+ (1,-40) [-40|215] "degC" A
BO_ 512 TooLong: 12 A
 SG_ x : 0|8@1+ (1,0) [0|0] "" A
"""


def drafted(folder: Path, dbc: Path, code: int = 0, name: str = "my-car") -> None:
    assert main(["profiles", "import-dbc", str(dbc), "--id", name, "--profiles-folder", str(folder)]) == code


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    path = tmp_path / "odd.dbc"
    path.write_text(ODD)
    return path


@pytest.mark.parametrize("dbc", ["nissan-leaf/ev-can.dbc", "mitsubishi-imiev/car-imiev.dbc"])
def test_a_draft_passes_the_check(tmp_path: Path, root: Path, dbc: str) -> None:
    """Somebody with a DBC file and an evening begins with something that works."""
    drafted(tmp_path, root / "can_profiles" / dbc)
    assert main(["profiles", "check", "--profiles-folder", str(tmp_path)]) == 0


def test_a_draft_claims_nothing(tmp_path: Path, odd: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing feeds a quantity before somebody proved it on a car."""
    drafted(tmp_path, odd)
    profile = Catalogue(tmp_path).profile("my-car")
    messages = profile.variants[0].messages
    assert profile.experimental
    assert sorted(m.label for m in messages) == ["100", "18FEF1FE"]
    assert {s.grade for m in messages for s in m.signals} == {Grade.DISPUTED}
    assert not any(s.uses for m in messages for s in m.signals)
    assert "left out TooLong: 12 bytes" in capsys.readouterr().out


def test_a_profile_is_never_written_over(tmp_path: Path, odd: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An evening's work must survive a second import."""
    drafted(tmp_path, odd)
    before = {p.name: p.read_bytes() for p in (tmp_path / "my-car").iterdir()}
    drafted(tmp_path, odd, code=2)
    assert {p.name: p.read_bytes() for p in (tmp_path / "my-car").iterdir()} == before
    assert "is there already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "name", "said"),
    [("# no DBC", "my-car", "not a DBC file"), (ODD, "My Car", "lower case"), ('VERSION ""\n', "my-car", "no message")],
)
def test_what_cannot_be_a_profile_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, name: str, said: str
) -> None:
    """One line that says why, and nothing half written."""
    path = tmp_path / "some.dbc"
    path.write_text(content)
    drafted(tmp_path, path, code=2, name=name)
    assert said in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["some.dbc"]
