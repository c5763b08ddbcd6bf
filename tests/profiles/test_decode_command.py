"""`packbox decode` and `packbox profiles` as other programs drive them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from can_frames import PROFILES
from packbox.__main__ import main
from packbox.adapters.profile_dir import Catalogue
from packbox.app.decode import LineDecoder

# Beginnings of vehicle names, and how many shared vectors they have at least.
FAMILIES = [
    (("nissan-leaf", "nissan-env200", "mitsubishi-", "peugeot-ion"), 190),
    (("hyundai-", "kia-"), 107),
    (("chevrolet-",), 8),
    (("vw-", "tesla-", "byd-", "j1939-"), 83),
]
GOOD = {"vehicle": "nissan-leaf-ze1-62kwh", "kind": "frame", "can_id": "0x1DB", "data_hex": "8760B86A00C3B259"}


def packbox(*words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "packbox", *words], input=stdin, capture_output=True, text=True, timeout=60, check=False
    )


def decode_lines(*lines: Any, words: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    stdin = "".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines)
    done = packbox("decode", *words, stdin=stdin)
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize(("names", "count"), FAMILIES, ids=lambda p: p[0] if isinstance(p, tuple) else "")
def test_every_shared_vector_of_a_family_passes_through_the_command(
    shared: Path, names: tuple[str, ...], count: int
) -> None:
    """Real frames and answers, judged by what others measured, the vehicle's name alone to go by."""
    vectors = json.loads((shared / "facts/vehicle-test-vectors.json").read_bytes())
    vectors = [v for v in vectors if v["vehicle"].startswith(names)]
    assert len(vectors) >= count
    wrong = []
    for vector, answer in zip(vectors, decode_lines(*vectors), strict=True):
        got = answer.get("signals", {})
        for name, want in vector["expected"].items():
            if not agrees(got.get(name), in_our_sign(vector, name, want)):
                wrong.append((vector["id"], name, got.get(name), want, answer.get("error")))
        if vector["origin"] == "altered-capture":
            assert got == {"checksum_ok": {"value": False, "unit": "bool"}}
    assert wrong == []


def in_our_sign(vector: dict[str, Any], name: str, want: dict[str, Any]) -> dict[str, Any]:
    """The file keeps the car's own sign of the current and says which it is; we say positive into the pack."""
    if name == "pack_current" and vector.get("current_positive_means") == "discharge":
        return want | {"value": -want["value"]}
    return want


def agrees(got: dict[str, Any] | None, want: dict[str, Any]) -> bool:
    if got is None or got["unit"] != want["unit"]:
        return False
    a, b = got["value"], want["value"]
    if isinstance(b, int | float) and not isinstance(b, bool) and isinstance(a, int | float):
        return abs(a - b) <= max(1e-4 * abs(b), 1e-6)
    return bool(a == b)


def test_a_frame_with_a_bad_checksum_says_only_that() -> None:
    """Nothing of it may be used by accident."""
    assert decode_lines(GOOD | {"data_hex": "9760B86A00C3B259"}) == [
        {"signals": {"checksum_ok": {"value": False, "unit": "bool"}}}
    ]


def test_bad_lines_are_answered_in_their_place_and_the_rest_goes_on() -> None:
    """Each answer belongs to its line; a driver counts on the order."""
    bad = [
        "half a line {",
        "",
        "[1, 2]",
        GOOD | {"kind": "fame"},
        GOOD | {"can_id": "0xXYZ"},
        GOOD | {"can_id": "0x123"},
        GOOD | {"data_hex": "876"},
        GOOD | {"data_hex": "8760B86A"},
        GOOD | {"vehicle": "lada-niva"},
        {k: v for k, v in GOOD.items() if k != "vehicle"},
        GOOD | {"vehicle": "nissan-leaf-ze0", "can_id": "0x59E"},
        {"vehicle": "nissan-leaf", "kind": "uds-response", "tx": "0x79B", "rx": "0x7BB", "request_hex": "2101"},
    ]
    answers = decode_lines(*(line for pair in ((b, GOOD) for b in bad) for line in pair))
    assert all(answer["signals"]["pack_current"]["value"] == -482.5 for answer in answers[1::2])
    errors = [answer["error"] for answer in answers[::2]]
    for error, named in zip(
        errors,
        (
            "not a JSON object",
            "not a JSON object",
            "object",
            "'frame', 'uds-response'",
            "can_id",
            "frame 123: not in profile nissan-leaf",
            "data_hex",
            "frame 1DB: 4 bytes, the profile says 8",
            "lada-niva",
            "vehicle: missing",
            "frame 59E: not sent by nissan-leaf:ze0",
            "data_hex: Field required",
        ),
        strict=True,
    ):
        assert named in error


@pytest.mark.parametrize(
    ("request_hex", "data_hex", "named"),
    [
        ("2101", "7F2112", "refused by the car (12)"),
        ("2101", "6102", "another answer"),
        ("2101", "6101" + "00" * 42, "known to mean nothing"),
        ("2101", "6101" + "00" * 10, "12 bytes is no length that the profile knows"),
        ("2199", "6199AA", "not in profile nissan-leaf"),
        ("2E0102", "6E0102", "service 2E is not one of those that only read"),
        ("2101", "", "empty"),
    ],
)
def test_answers_that_cannot_be_read_say_why(request_hex: str, data_hex: str, named: str) -> None:
    """A technician sees at once whether the car refused or the profile is short."""
    line = {"kind": "uds-response", "tx": "0x79B", "rx": "0x7BB", "request_hex": request_hex, "data_hex": data_hex}
    assert named in LineDecoder(Catalogue(), "nissan-leaf").decode(json.dumps(line))["error"]


def test_a_profile_named_on_the_command_line_needs_no_vehicle() -> None:
    """`--profile` takes a family, a variant or the name of a car."""
    line = {k: v for k, v in GOOD.items() if k != "vehicle"}
    wide = {
        name: "pack_current_wide" in LineDecoder(Catalogue(), name).decode(json.dumps(line))["signals"]
        for name in ("nissan-leaf", "nissan-leaf:ze1-62", "nissan-leaf-ze1-62kwh")
    }
    assert wide == {"nissan-leaf": False, "nissan-leaf:ze1-62": True, "nissan-leaf-ze1-62kwh": True}
    assert "pack_current" in decode_lines(line, words=("--profile", "nissan-leaf:ze0", "--json"))[0]["signals"]


def test_an_unknown_profile_is_wrong_usage() -> None:
    """Said once on stderr, with what is known, before any line is read."""
    done = packbox("decode", "--profile", "nissan-laef")
    assert (done.returncode, done.stdout) == (2, "")
    assert "no profile or vehicle 'nissan-laef'; profiles: " in done.stderr
    assert "nissan-leaf" in done.stderr


def test_each_line_is_answered_before_the_next_is_sent() -> None:
    """A program may keep the pipe open and wait for every answer."""
    with subprocess.Popen(
        [sys.executable, "-m", "packbox", "decode"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        for _ in range(3):
            running.stdin.write(json.dumps(GOOD) + "\n")
            running.stdin.flush()
            assert json.loads(running.stdout.readline())["signals"]["pack_voltage"] == {"value": 368.5, "unit": "V"}
        running.stdin.close()
        assert running.wait(timeout=10) == 0


def test_a_line_that_is_not_text_is_an_error_like_any_other() -> None:
    """A serial adapter's noise in the pipe."""
    done = subprocess.run(
        [sys.executable, "-m", "packbox", "decode"],
        input=b"\xff\xfe\x00\n",
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert "error" in json.loads(done.stdout)


# -- profiles ----------------------------------------------------------------------------------------------------------


def test_all_profiles_prove_themselves(shared: Path) -> None:
    """Vectors, ranges, bits and reading only: the command anyone can run on a profile of their own."""
    done = packbox("profiles", "check", "--json", "--vectors", str(shared / "facts/vehicle-test-vectors.json"))
    findings = [json.loads(line) for line in done.stdout.splitlines()]
    assert [f for f in findings if f["problems"]] == []
    assert done.returncode == 0
    examined = {(f["profile"], f["examined"]): f["count"] for f in findings}
    assert examined["nissan-leaf", "vectors"] >= 200
    assert examined["mitsubishi-imiev", "vectors"] >= 70
    assert examined["hyundai-kia", "vectors"] >= 220
    assert examined["chevrolet-bolt", "vectors"] >= 20
    assert all(
        examined[p, e] for p in ("nissan-leaf", "mitsubishi-imiev") for e in ("files", "ranges", "bits", "only reads")
    )


def test_a_wrong_vector_is_found_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A check that never fails proves nothing."""
    wrong = GOOD | {"id": "made-up", "expected": {"pack_current": {"value": 482.5, "unit": "A"}}}
    vectors = tmp_path / "vectors.json"
    vectors.write_text(json.dumps([wrong]), encoding="utf-8")
    assert main(["profiles", "check", "nissan-leaf", "--vectors", str(vectors)]) == 1
    assert "vector made-up: pack_current -482.5, expected 482.5" in capsys.readouterr().err


def test_the_list_and_the_sheet_of_a_family_can_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    """A person looks for their car; a program wants the same as JSON."""

    def said(*words: str) -> str:
        assert main(["profiles", *words]) == 0
        return capsys.readouterr().out

    table = said("list")
    assert [w for w in ("nissan-leaf", "ze1-62", "mitsubishi-imiev") if w not in table] == []
    sheet = said("show", "nissan-leaf:ze1-62")
    assert [w for w in ("pack_current_wide", "leaf-62", "176.4", "79B 21 01", "recordings") if w not in sheet] == []
    listed = [json.loads(line) for line in said("list", "--json").splitlines()]
    assert {p["id"] for p in listed} >= {"nissan-leaf", "mitsubishi-imiev"}
    assert "pack_current_a" in json.loads(said("show", "mitsubishi-imiev", "--json"))["quantities"]


def test_a_car_nobody_knows_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    """The message lists what is known."""
    assert main(["profiles", "show", "trabant"]) == 2
    assert "no profile or vehicle 'trabant'" in capsys.readouterr().err
    assert main(["profiles", "check", "trabant"]) == 2
    assert "no profile 'trabant'; known: " in capsys.readouterr().err


def test_profiles_of_another_folder_are_used_when_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Someone writes a profile of their own outside the installed ones."""
    (tmp_path / "mitsubishi-imiev").symlink_to(PROFILES / "mitsubishi-imiev", target_is_directory=True)
    assert main(["profiles", "list", "--json", "--profiles-folder", str(tmp_path)]) == 0
    assert [json.loads(line)["id"] for line in capsys.readouterr().out.splitlines()] == ["mitsubishi-imiev"]


def test_a_broken_profile_is_listed_as_such_and_the_others_stand(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder somebody works in."""
    (tmp_path / "mitsubishi-imiev").symlink_to(PROFILES / "mitsubishi-imiev", target_is_directory=True)
    (tmp_path / "trabant").mkdir()
    (tmp_path / "trabant/profile.toml").write_text('id = "trabant"', encoding="utf-8")
    assert main(["profiles", "list", "--profiles-folder", str(tmp_path)]) == 1
    told = capsys.readouterr()
    assert "mitsubishi-imiev" in told.out
    assert "trabant/profile.toml: name: Field required" in told.err
    assert main(["profiles", "check", "--profiles-folder", str(tmp_path)]) == 1
