"""Every quantity the box knows, named once: our name with its unit, the VSS path beside it, and the range it must fit.

VSS paths: COVESA Vehicle Signal Specification 5.0, `Vehicle.` left out; None where VSS has no such signal.
Ranges: facts/vehicles.md §2 rule 4, wide enough for every honest car; outside is void, never a value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Quantity:
    name: str
    unit: str  # as shown to people
    low: float
    high: float
    vss: str | None = None
    doc: str = ""


_BATTERY: Final = "Powertrain.TractionBattery"

QUANTITIES: Final[dict[str, Quantity]] = {
    q.name: q
    for q in (
        Quantity("pack_current_a", "A", -1000, 1000, f"{_BATTERY}.CurrentCurrent", "positive into the pack"),
        Quantity("pack_voltage_v", "V", 0, 1000, f"{_BATTERY}.CurrentVoltage"),
        Quantity("soc_bms_pct", "%", -1, 106, f"{_BATTERY}.StateOfCharge.Current", "between the BMS's empty and full"),
        Quantity("soc_shown_pct", "%", -1, 106, f"{_BATTERY}.StateOfCharge.Displayed", "what the driver sees"),
        Quantity("cell_voltage_min_v", "V", 0.5, 5, f"{_BATTERY}.CellVoltage.Min"),
        Quantity("cell_voltage_max_v", "V", 0.5, 5, f"{_BATTERY}.CellVoltage.Max"),
        Quantity("pack_temp_min_degc", "°C", -40, 80, f"{_BATTERY}.Temperature.Min"),
        Quantity("pack_temp_mean_degc", "°C", -40, 80, f"{_BATTERY}.Temperature.Average"),
        Quantity("pack_temp_max_degc", "°C", -40, 80, f"{_BATTERY}.Temperature.Max"),
        Quantity("soh_reported_pct", "%", 0, 120, f"{_BATTERY}.StateOfHealth", "the car's own opinion"),
        Quantity("capacity_reported_ah", "Ah", 0.5, 1000, None, "the car's own opinion"),
        Quantity("energy_left_kwh", "kWh", 0, 500, f"{_BATTERY}.StateOfCharge.CurrentEnergy"),
        Quantity("energy_full_kwh", "kWh", 0, 500, f"{_BATTERY}.NetCapacity"),
        Quantity("energy_left_gid", "gid", 0, 1022, None, "Nissan energy unit, about 80 Wh; never for SoH"),
        Quantity("charge_left_ah", "Ah", 0, 1000),
        Quantity("power_discharge_limit_kw", "kW", 0, 1000),
        Quantity("power_charge_limit_kw", "kW", 0, 1000),
        Quantity("charger_power_kw", "kW", 0, 500, None),
        Quantity("charge_kind", "", 0, 2, None, "0 none, 1 AC, 2 DC"),
        Quantity(
            "plugged", "", 0, 1, f"{_BATTERY}.Charging.ChargingPort.AnyPosition.IsChargingCableConnected", "0 no, 1 yes"
        ),
        Quantity(
            "gear", "", -1, 4, "Powertrain.Transmission.SelectedGear", "0 P, 1 R, 2 N, 3 D, 4 B; VSS numbers them else"
        ),
        Quantity("contactor_closed", "", 0, 1, f"{_BATTERY}.IsPowerConnected", "0 open, 1 closed"),
        Quantity("car_on", "", 0, 1, None, "0 off, 1 on"),
        Quantity("speed_kmh", "km/h", -10, 300, "Speed"),
        Quantity("odometer_km", "km", 0, 3_000_000, "TraveledDistance"),
        Quantity("ambient_temp_degc", "°C", -40, 80, "Exterior.AirTemperature"),
        Quantity("aux_voltage_v", "V", 5, 32, "LowVoltageBattery.CurrentVoltage", "12 V side"),
        Quantity("isolation_kohm", "kΩ", 0, 100_000),
        Quantity("charge_count_ac", "", 0, 1_000_000, None, "the car's own counter"),
        Quantity("charge_count_dc", "", 0, 1_000_000, None, "the car's own counter"),
        Quantity("lifetime_charge_in_ah", "Ah", 0, 1e9, f"{_BATTERY}.AccumulatedChargedThroughput"),
        Quantity("lifetime_charge_out_ah", "Ah", 0, 1e9, f"{_BATTERY}.AccumulatedConsumedThroughput"),
        Quantity("lifetime_energy_in_kwh", "kWh", 0, 1e9, f"{_BATTERY}.AccumulatedChargedEnergy"),
        Quantity("lifetime_energy_out_kwh", "kWh", 0, 1e9, f"{_BATTERY}.AccumulatedConsumedEnergy"),
        Quantity("health_hx_pct", "%", 0, 200, None, "Nissan Hx: behaves as a conductance"),
    )
}
