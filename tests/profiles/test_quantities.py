"""The names everything else is keyed by."""

from __future__ import annotations

from packbox.core.decoding.meaning import plausible_range
from packbox.core.packs import Chemistry, PackFacts
from packbox.core.quantities import QUANTITIES

UNITS = {"A": "a", "V": "v", "%": "pct", "°C": "degc", "Ah": "ah", "kWh": "kwh", "kW": "kw", "km": "km", "gid": "gid"}


def test_a_quantity_ends_in_its_unit() -> None:
    """A reader of a table must not have to look the unit up."""
    for quantity in QUANTITIES.values():
        if quantity.unit in UNITS:
            assert quantity.name.endswith(f"_{UNITS[quantity.unit]}")
        assert quantity.low < quantity.high


def test_a_pack_narrows_what_its_voltage_may_be() -> None:
    """200 V is a fine voltage, but not of 96 cells that are 3.7 V each."""
    leaf = PackFacts("x", Chemistry.NMC, 96, None, None)
    lto = PackFacts("y", Chemistry.LTO, 96, None, None)
    assert plausible_range("pack_voltage_v", leaf) == (192.0, 4.35 * 96)
    assert plausible_range("cell_voltage_min_v", leaf) == (2.0, 4.35)
    assert plausible_range("cell_voltage_min_v", lto) == (0.5, 5)
    assert plausible_range("pack_voltage_v", None) == (0, 1000)
