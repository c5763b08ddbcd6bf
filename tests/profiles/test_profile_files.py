"""Profiles as files: what ships holds together, and what does not is refused with file, key and reason."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from can_frames import PROFILES
from packbox.adapters.profile_dir import Catalogue, load_profile, load_vectors, profiles_folder
from packbox.core.profile import Grade, Profile, agreed_messages
from packbox.core.readings import Reader
from packbox.ports import ProfileError

Spoil = Callable[[str, str], Path]


@pytest.fixture
def spoil(tmp_path: Path) -> Spoil:
    """A copy of the Leaf profile in which one text of profile.toml is another."""

    def change(old: str, new: str) -> Path:
        home = tmp_path / "profiles"
        shutil.copytree(PROFILES / "nissan-leaf", home / "nissan-leaf")
        file = home / "nissan-leaf/profile.toml"
        content = file.read_text(encoding="utf-8")
        assert old in content
        file.write_text(content.replace(old, new, 1), encoding="utf-8")
        return home

    return change


@pytest.mark.parametrize(
    ("old", "new", "key", "reason"),
    [
        ('id = "nissan-leaf"', 'id = "nissan-leafs"', "id", "the folder is 'nissan-leaf'"),
        ('checksum = "leaf_crc8"', 'checksum = "crc99"', "messages.1DB.checksum", "leaf_crc8"),
        ('checksum = "leaf_crc8"', 'check = "leaf_crc8"', "messages.1DB.check", "unknown key"),
        (
            'quantity = "pack_current_a"',
            'quantity = "pack_curent_a"',
            "messages.1DB.signals.pack_current",
            "pack_current_a",
        ),
        ("pack_current = {", "pack_curent = {", "messages.1DB.signals.pack_curent", "near: pack_current"),
        ("[messages.108]", "[messages.109]", "messages.108", "missing, but ev-can.dbc has this message"),
        ('bus = "EV-CAN"', 'bus = "EVCAN"', "messages.1DB.bus", "'EVCAN' is not one of"),
        ('source = "recordings"', 'source = "hearsay"', "messages.1DB.source", "'hearsay' is not in [sources]"),
        ('request = "21 01"', 'request = "2E 01 02"', "polls.0", "service 2E is not one of those that only read"),
        ('request = "19 02 0E"', 'request = "14 FF FF"', "polls.8", "service 14"),
        ('tx = "79B"', 'tx = "0x79B"', "polls.0.tx", "three hex digits"),
        ('tx = "79B"', 'tx = "1DB"', "polls.0.tx", "1DB is a frame that the car itself sends"),
        ('pack = "leaf-24"\ndbc', 'pack = "leaf-25"\ndbc', "variants.ze0.pack", "'leaf-25' is not in [[packs]]"),
        ('when = ["gids-full-62"]', 'when = ["gids-full-63"]', "choose.0.when", "near: gids-full-62"),
        ('"nissan-leaf-ze0" = "ze0"', '"nissan-leaf-ze0" = "ze9"', "vehicles.nissan-leaf-ze0", "'ze9' is not in"),
        ('needs = "odometer-km"', 'needs = "kilometres"', "messages.5C5.signals.odometer_raw.needs", "'kilometres'"),
        ("reference_ah = 65.4", "reference_ah = -1", "packs.0.reference_ah", "greater than 0"),
        ("[0, 3.2286]", "[0, 3.9]", "packs.0", "ocv must rise"),
        ("[care]", "[care]\naux_voltage_min_v = 11.0", "care.aux_voltage_min_v", "greater than or equal to 12.2"),
        ('dbc = ["ev-can.dbc",', 'dbc = ["nowhere.dbc",', "nowhere.dbc", "No such file"),
        ('signal = "gids_when_full"', 'signal = "temp_gauge"', "evidence.3.value", "not the same in all variants"),
        ('field = "capacity_ah"', 'field = "capacity"', "evidence.9.answer.field", "near: capacity_ah"),
        ("lengths = [41]", "lengths = []", "evidence.7.answer", "lengths or field"),
        ("lengths = [41]", 'lengths = [41], over = "soc_bms"', "evidence.7.answer", "over needs field"),
        ("lengths = [41, 43]", 'lengths = [41, 43]\nvoid_keeps = ["soc"]', "void_keeps", "near: soc_bms"),
        ('id = "leaf-30"', 'id = "leaf-24"', "packs", "'leaf-24' stands there twice"),
        ("[[evidence]]", "[[evidence", "profile.toml", "not TOML"),
    ],
)
def test_a_profile_that_does_not_hold_names_file_key_and_reason(
    spoil: Spoil, old: str, new: str, key: str, reason: str
) -> None:
    """Someone with a car and an evening must see what to mend, not a trace."""
    home = spoil(old, new)
    with pytest.raises(ProfileError) as caught:
        load_profile("nissan-leaf", home)
    message = str(caught.value)
    assert message.startswith(str(home / "nissan-leaf"))
    assert key in message
    assert reason in message


def test_a_dbc_file_that_is_none_is_named(spoil: Spoil) -> None:
    """A truncated download."""
    home = spoil("id", "id")
    (home / "nissan-leaf/ev-can.dbc").write_text("BO_ 475 Broken", encoding="utf-8")
    with pytest.raises(ProfileError, match=r"ev-can\.dbc: not a DBC file that can be used"):
        load_profile("nissan-leaf", home)


def test_signals_that_do_not_fit_the_shortest_frame_are_refused(spoil: Spoil) -> None:
    """A seven-byte frame has no eighth byte to read."""
    home = spoil("lengths = [7, 8]", "lengths = [2, 8]")
    with pytest.raises(ProfileError, match=r"messages\.5A9\.signals\.range_displayed: does not fit into 2 bytes"):
        load_profile("nissan-leaf", home)


def test_one_broken_profile_does_not_stop_the_others(spoil: Spoil) -> None:
    """Somebody's unfinished profile lies in the same folder."""
    home = spoil("[sources]", "[sourcery]")
    shutil.copytree(PROFILES / "mitsubishi-imiev", home / "mitsubishi-imiev")
    catalogue = Catalogue(home)
    assert catalogue.find("Peugeot-iOn-14.5kWh")[1] == "imiev-14"
    with pytest.raises(ProfileError, match=r"sources: Field required"):
        catalogue.find("nissan-leaf-ze0")


def test_names_lead_to_profile_and_variant(catalogue: Catalogue) -> None:
    """Family, family:variant, a vehicle's name, and the same with remarks behind it."""
    found = {
        name: (catalogue.find(name)[0].id, catalogue.find(name)[1])
        for name in (
            "nissan-leaf",
            "nissan-leaf:ze0",
            "nissan-leaf-ze1-62kwh",
            "NISSAN-LEAF-ZE1",
            "peugeot-ion (i-MiEV family, 80 cells, 14.5 kWh)",
            "mitsubishi-outlander-phev-12kwh, 2013",
        )
    }
    assert found == {
        "nissan-leaf": ("nissan-leaf", None),
        "nissan-leaf:ze0": ("nissan-leaf", "ze0"),
        "nissan-leaf-ze1-62kwh": ("nissan-leaf", "ze1-62"),
        "NISSAN-LEAF-ZE1": ("nissan-leaf", None),
        "peugeot-ion (i-MiEV family, 80 cells, 14.5 kWh)": ("mitsubishi-imiev", "imiev-14"),
        "mitsubishi-outlander-phev-12kwh, 2013": ("mitsubishi-imiev", "outlander-12"),
    }


def test_a_name_that_fits_several_variants_reads_what_they_agree_on(catalogue: Catalogue) -> None:
    """Every AZE0 has the same capacity frame, whatever its pack; a ZE1's lies elsewhere."""
    frame = bytes.fromhex("10AF18F188000000")
    aze0 = Reader(*catalogue.candidates("nissan-leaf-aze0")).frame(0x59E, frame)
    assert aze0["full_capacity"].value == pytest.approx(39.9)
    assert "full_capacity" not in Reader(*catalogue.candidates("nissan-leaf")).frame(0x59E, frame)


@pytest.mark.parametrize(
    "name", ["", "leaf", "peugeot-ion:imiev-14", "nissan-leaf:ze7", "nissan-leafs", "../nissan-leaf"]
)
def test_a_name_nothing_answers_to_lists_what_is_known(catalogue: Catalogue, name: str) -> None:
    """The next try should succeed."""
    with pytest.raises(ProfileError, match=r"nissan-leaf|ze1-62"):
        catalogue.find(name)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    """A setting with a typing error."""
    with pytest.raises(ProfileError, match="nowhere: no such folder of profiles"):
        profiles_folder(tmp_path / "nowhere")


def test_installed_profiles_are_found_when_there_is_no_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A box installed from a wheel has them under share/."""
    installed = tmp_path / "share/packbox/can_profiles"
    installed.mkdir(parents=True)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr("packbox.adapters.profile_dir.__file__", str(tmp_path / "a/b/c/profile_dir.py"))
    assert profiles_folder() == installed


def test_every_signal_carries_its_grade_and_source(catalogue: Catalogue) -> None:
    """A reader must be able to ask how well a figure is known, and from where."""
    for profile_id in catalogue.ids:
        profile = catalogue.profile(profile_id)
        for variant in profile.variants:
            for message in variant.messages:
                for signal in message.signals:
                    assert signal.grade in Grade
                    assert signal.source


def test_vectors_that_ship_are_free_to_ship() -> None:
    """Only what we made, and what others gave away under Apache-2.0, MIT or CC0, with credit."""
    free = re.compile(r"\((Apache-2\.0|MIT|CC0)\)")
    for path in PROFILES.glob("*/vectors.json"):
        for vector in json.loads(path.read_text(encoding="utf-8")):
            assert vector["origin"] == "synthetic-from-layout" or free.search(vector["source"]), vector["id"]


@pytest.mark.parametrize("path", sorted(PROFILES.glob("*/vectors-obdb.json")), ids=lambda p: p.parent.name)
def test_vectors_under_another_licence_say_so_themselves(path: Path) -> None:
    """CC BY-SA goes with the file, not with the folder, and names those who collected the answers."""
    content = json.loads(path.read_text(encoding="utf-8"))
    assert "CC BY-SA 4.0" in content["licence"]
    for vector in content["vectors"]:
        assert vector["source"].split()[0].removeprefix("OBDb/") in content["credit"], vector["id"]
    shipped = [v["id"] for v in load_vectors(path.parent.name)]
    assert [v["id"] for v in content["vectors"] if v["id"] not in shipped] == []


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("[]", "must be an object with licence, credit and vectors"),
        ('{"licence": "CC BY-SA 4.0", "vectors": []}', "must be an object with licence, credit and vectors"),
        ('{"licence": "CC BY-SA 4.0", "credit": "them", "vectors": {}}', "vectors must be a list of objects"),
        ('{"licence": "CC BY-SA 4.0", "credit": "them"}', "vectors must be a list of objects"),
        ('{"licence"', "not JSON"),
    ],
)
def test_further_vectors_without_licence_or_form_are_refused(spoil: Spoil, content: str, reason: str) -> None:
    """Nobody can ship others' work by forgetting whose it is."""
    home = spoil("id", "id")
    (home / "nissan-leaf/vectors-friends.json").write_text(content, encoding="utf-8")
    with pytest.raises(ProfileError, match=rf"vectors-friends\.json: {reason}"):
        load_vectors("nissan-leaf", home)


def test_what_all_variants_agree_on_is_read_before_the_variant_is_known(leaf: Profile) -> None:
    """Current and voltage lie at the same bits in every Leaf; the capacity does not."""
    agreed = {m.label: {s.name for s in m.signals} for m in agreed_messages(leaf.variants)}
    assert {"pack_current", "pack_voltage"} <= agreed["1DB"]
    assert "soc_displayed" not in agreed["1DB"]
    assert "full_capacity" not in agreed["59E"]
    assert {"gids", "gids_when_full", "gids_kind"} <= agreed["5BC"]
