"""Real recordings through the decoder: what their README states must come out."""

from __future__ import annotations

from pathlib import Path

import pytest

from packbox.adapters.logs import read_log
from packbox.adapters.profile_dir import Catalogue
from packbox.core.decode import Decoder
from packbox.core.signals import Refused, Signal

LEAF_ZE0 = "nissan-leaf-ze0/ZE0w24kWhstock.log"
LEAF_62 = "nissan-leaf-ze1-62kwh/EV-CANeplus2.log"
LEAF_62_QC = "nissan-leaf-ze1-62kwh/EV_can-bus_from_62_ZE1_QCcharging.txt"
VAN_STARTUP = "nissan-env200-40kwh/ME0_40kWh Startup.log"
VAN_CHARGE = "nissan-env200-40kwh/env200-2015-with-40kWh-normal-charge-coldbattery-nocooling-nobridge.crtd"
ION_DRIVE = "imiev-peugeot-ion/Triplet_2017-04-14_191849.log"
ION_STANDING = "imiev-peugeot-ion/Triplet_2017-04-15_132733.log"
KONA = "hyundai-kona/230112-7-2019-pcan-ccan-power-off-on-ready-off.csv"
KONA_BATTERY = "hyundai-kona/bms-idle-30sec.asc"
KONA_SCANNER = "hyundai-kona/221210-1-2021-dcan-car-scanner-elm327.csv"
OUTLANDER = "mitsubishi-outlander-phev/202109061515-steering-lock-to-lock.csv"

Ranges = dict[str, tuple[float, float]]


@pytest.mark.parametrize(
    ("profile", "log", "variant", "ranges"),
    [
        (
            "nissan-leaf",
            LEAF_ZE0,
            "ze0",
            {"pack_current_a": (-3, 2), "pack_voltage_v": (385, 386.5), "soc_bms_pct": (75.1, 75.2)}
            | {"soh_reported_pct": (51, 51), "pack_temp_max_degc": (3, 3), "charge_kind": (0, 0)},
        ),
        (
            "nissan-leaf",
            LEAF_62,
            "ze1-62",
            {"pack_current_a": (-482.5, 40), "pack_voltage_v": (367.5, 393.5), "soc_bms_pct": (93.0, 93.5)}
            | {"capacity_reported_ah": (162.1998, 162.1998), "cell_voltage_min_v": (3.853, 4.095), "gear": (3, 3)},
        ),
        (
            "nissan-leaf",
            LEAF_62_QC,
            "ze1-62",
            {"pack_current_a": (-0.5, 34), "pack_voltage_v": (366.5, 376), "charge_kind": (0, 2)},
        ),
        (
            "nissan-leaf",
            VAN_STARTUP,
            "aze0-40",
            {"soc_bms_pct": (20.8, 20.8), "soc_shown_pct": (12, 12), "pack_voltage_v": (340, 340)},
        ),
        (
            "nissan-leaf",
            VAN_CHARGE,
            "aze0-40",
            {"soc_bms_pct": (58.4, 58.5), "charger_power_kw": (0, 2.2), "charge_kind": (0, 1)}
            | {"pack_current_a": (-3.5, 5.5), "pack_temp_min_degc": (17, 17), "pack_temp_max_degc": (21, 21)},
        ),
        (
            "mitsubishi-imiev",
            ION_DRIVE,
            "imiev-14",
            {"pack_current_a": (-76.33, 31.17), "pack_voltage_v": (317.6, 325.2), "soc_shown_pct": (90.5, 91.5)}
            | {"capacity_reported_ah": (45.5, 45.5), "pack_temp_min_degc": (12, 12), "pack_temp_max_degc": (14, 14)},
        ),
        ("mitsubishi-imiev", ION_STANDING, "imiev-14", {"soc_bms_pct": (80, 80), "plugged": (0, 0)}),
        (
            "mitsubishi-imiev",
            OUTLANDER,
            "outlander-12",
            {"pack_current_a": (-8.22, 0), "soc_bms_pct": (59.5, 59.5), "soc_shown_pct": (60, 60)}
            | {"capacity_reported_ah": (31.5, 31.5)},
        ),
        # Two buses in one recording: 595 and 596 of the other one mean something else and leave no trace.
        (
            "hyundai-kia",
            KONA,
            "first-98",
            {"pack_current_a": (-3.4, 0), "pack_voltage_v": (354.9, 355.1), "soc_shown_pct": (36.5, 36.5)}
            | {"pack_temp_min_degc": (22, 22), "pack_temp_max_degc": (23, 23), "aux_voltage_v": (12, 13.4)},
        ),
        (
            "hyundai-kia",
            KONA_BATTERY,
            "first-98",
            {"pack_current_a": (0, 0), "pack_voltage_v": (360.8, 360.9), "soc_shown_pct": (50, 50)}
            | {"pack_temp_min_degc": (11, 11), "pack_temp_max_degc": (11, 11)},
        ),
        # An app asks what ECUs there are and nothing of the battery's.
        ("hyundai-kia", KONA_SCANNER, None, {}),
    ],
)
def test_a_recording_gives_the_figures_that_its_readme_states(
    shared: Path, catalogue: Catalogue, profile: str, log: str, variant: str | None, ranges: Ranges
) -> None:
    """Nobody tells the decoder which car it is; not one frame of these fails its checksum."""
    decoder = Decoder(catalogue.profile(profile))
    state = decoder.start()
    values: dict[str, list[Signal]] = {}
    refused = Refused()
    for batch in read_log(shared / "logs" / log):
        state, decoded = decoder.decode(state, batch)
        refused += decoded.refused
        for name, signal in decoded.signals.items():
            values.setdefault(name, []).append(signal)
    assert decoder.variant(state) == variant
    assert (refused.bad_checksum, refused.stuck_counter, refused.implausible_values) == (0, 0, 0)
    found = {n: (min(s.value.min() for s in values[n]), max(s.value.max() for s in values[n])) for n in ranges}
    assert found == {name: pytest.approx(limits, abs=1e-6) for name, limits in ranges.items()}
