"""Honest messages of every kind, typical and as large as a box makes them; and the script that adds goldens.

In:  nothing: fixed key, ids and times.
Out: `SAMPLES`; run as a program, a golden file for every sample that has none yet. A golden is never edited.
"""

from __future__ import annotations

import json
import random
from enum import Enum
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec.structs import fields, replace

from packwire.ack import Ack, ack_of, encode_ack
from packwire.codec import Body
from packwire.command import Command, CommandKind, encode_command
from packwire.config import Config, encode_config
from packwire.ids import BatteryId, BootId, StoreId, box_id_of, key_id_of
from packwire.messages import (
    BmsItem,
    Cells,
    Charge,
    ChargeKind,
    Consent,
    CurveItem,
    Drive,
    EnergyItem,
    EstimateItem,
    Event,
    EventKind,
    Health,
    Hello,
    LeftItem,
    LegItem,
    Log,
    Message,
    Reading,
    Rest,
    SeenItem,
    Soh,
    SohState,
    SpanItem,
    SwingItem,
    ToldItem,
    Usage,
)
from packwire.presence import encode_heartbeat
from packwire.seal import NO_PREVIOUS, Envelope, digest, open_sealed, seal

RELEASED: Final = Path(__file__).resolve().parents[1] / "wire/packwire/released/v1"
KEY: Final = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))  # known to everybody: for goldens only
PUBLIC_KEY: Final = KEY.public_key().public_bytes_raw()
BOX: Final = box_id_of(PUBLIC_KEY)
STORE: Final = StoreId("0123456789abcdef")
BOOT: Final = BootId("fedcba9876543210")
WALL_MS: Final = 1_790_000_000_000
SOFTWARE: Final = "packbox 0.1.0"
REFERENCE: Final = "an example of a source: document, date, paragraph"
WHY: Final = "fewer than 3 charges with a rest of 2 h before and after; 1 seen"

_SESSION: Final[dict[str, Any]] = {
    "session": 412, "boot": BOOT, "start_mono_ms": 1_234_567, "start_wall_ms": WALL_MS, "duration_s": 5_432.1,
    "observed_s": 5_431.0, "soc_start_pct": 34.5, "soc_end_pct": 81.2, "charge_in_ah": 28.417, "charge_out_ah": 0.021,
    "energy_in_wh": 10_812.0, "energy_out_wh": 8.0, "current_max_a": 16.4, "current_min_a": -0.7,
    "pack_voltage_start_v": 362.5, "pack_voltage_end_v": 389.0, "cell_voltage_min_v": 3.771,
    "cell_voltage_max_v": 4.072, "temp_min_degc": 17.0, "temp_mean_degc": 19.4, "temp_max_degc": 21.5,
}  # fmt: skip
_SESSION_FULL: Final[dict[str, Any]] = _SESSION | {
    "session": 123_456, "start_mono_ms": 31_536_000_000, "duration_s": 2_592_000.0, "observed_s": 2_591_999.9,
    "interrupted": True, "soc_shown_start_pct": 30.0, "soc_shown_end_pct": 100.0, "charge_in_ah": 12_345.678,
    "charge_out_ah": 12_345.678, "energy_in_wh": 1_234_567.0, "energy_out_wh": 1_234_567.0, "current_max_a": 400.1,
    "current_min_a": -400.1, "temp_min_degc": -30.5, "ambient_temp_degc": -31.0, "odometer_start_km": 345_678.9,
    "odometer_end_km": 345_999.9, "soh_reported_pct": 87.65, "capacity_reported_ah": 123.45,
}  # fmt: skip

_DICE: Final = random.Random(1)


def _histogram(rows: int, columns: int, most: int, used_rows: range, used_columns: range) -> tuple[int, ...]:
    """A car lives in one climate and habit: a patch of the grid is filled, the rest is zero."""
    used = [row * columns + column for row in used_rows for column in used_columns]
    counts = [0] * (rows * columns)
    for cell in used:
        counts[cell] = _DICE.randint(1, most)
    return tuple(counts)


# What usage counts: not what the operator did to the box.
OF_BATTERY: Final = [kind for kind in EventKind if not kind.value.startswith(("config_", "command_"))]

TYPICAL: Final[tuple[Message, ...]] = (
    Hello(
        public_key=PUBLIC_KEY, battery=BatteryId("230A0-3NA0A.4711"), battery_source="configured", vehicle="van 7",
        software=SOFTWARE, profile="leaf", profile_digest=bytes(range(32)), variant="aze0-24", pack="leaf-24",
        reference_ah=65.0, reference_source=REFERENCE, cells_in_series=96, chemistry="lmo", nominal_kwh=24.0,
    ),
    Charge(
        **_SESSION, charge_kind=ChargeKind.AC, power_max_kw=6.2,
        curve=CurveItem(
            soc_from_pct=30.0, power_kw=(*(6.1,) * 10, 5.3), temp_degc=(*(17.0,) * 3, *(19.0,) * 4, *(21.0,) * 4)
        ),
    ),
    Drive(**_SESSION, odometer_end_km=45_678.9, distance_km=23.4, speed_max_kmh=98.0, energy_regenerated_wh=612.0),
    Rest(**_SESSION, unseen_s=5_000.0),
    Usage(
        observed_s=1_234_567.0, inferred_s=23_456_789.0, unobserved_s=321.0, charge_in_ah=5_432.1,
        charge_out_ah=5_398.7,
        energy_in_wh=2_012_345.0, energy_out_wh=1_934_567.0, energy_ac_in_wh=1_700_000.0, energy_dc_in_wh=312_345.0,
        equivalent_full_cycles=83.321, charges_ac=301, charges_dc=22, drives=812, distance_km=11_234.5,
        odometer_km=45_678.9, soc_temp_s=_histogram(10, 9, 2_000_000, range(2, 10), range(1, 5)),
        c_rate_temp_s=_histogram(20, 9, 90_000, range(16), range(1, 4)),
        depth_counts=_histogram(7, 10, 300, range(5), range(3, 9)), arrhenius_s=21_234_567.0,
        events=(("cell_low", 3), ("cold_charge", 1)),
        first_wall_ms=WALL_MS - 31_536_000_000, charging_temp_s=(0, 1_234, 123_456, 456_789, 345_678, 45_678),
    ),
    Soh(
        state=SohState.OK, soh_pct=84.21, sigma_pct=1.43, lo90_pct=81.86, hi90_pct=86.56, capacity_ah=54.737,
        sigma_ah=0.930, reference_ah=65.0, reference_source=REFERENCE, basis="bms-soc", method="weigh/1",
        estimates=(
            EstimateItem(method="bms_value/1", capacity_ah=54.9, sigma_ah=2.745, n=811, evidence=(410, 411, 412)),
            EstimateItem(method="charge_ratio/1", capacity_ah=54.7, sigma_ah=1.012, n=44, evidence=(399, 405, 412)),
        ),
        soh_reported_pct=85.0, observed_s=1_234_567.0, inferred_s=23_456_789.0, unobserved_s=321.0, observed_ah=5_432.1,
        observed_km=11_234.5, odometer_km=45_678.9, line_s=24_691_677,
    ),
    Reading(
        number=702, session=412, line_s=24_691_677, bms=BmsItem(at_s=24_691_001, capacity_ah=54.9, soh_pct=85.0),
        swings=(
            SwingItem(
                at_s=24_690_512, from_soc_pct=81.22, to_soc_pct=34.51, charge_in_ah=-25.61, counted_h=1.72,
                soc_sigma_pct=1.412, charge_sigma_ah=0.144, lean_pct_per_v=-412.3,
            ),
        ),
        seen=SeenItem(visits=(0, 0, 1, 4, 9, 12, 31, 7, 8, 41, 12, 7, 22, 81, 44, 90, 81), apart_n=450, apart_pct=2.41),
    ),
    Cells(
        voltages_mv=tuple(4_050 + n % 17 for n in range(96)), soc_pct=93.1, pack_current_a=-0.2,
        temps_degc=(19.0, 18.5, 18.0, 19.5), cell_voltage_min_v=4.05, cell_voltage_max_v=4.066, quiet_s=27_123.0,
    ),
    Event(event=EventKind.CLOCK_SET, extreme=40.0, wall_ms=WALL_MS, mono_ms=1_234_567, boot=BOOT),
    Consent(purposes=("diagnostics", "history", "passport"), text_version="2026-11", decided_ms=WALL_MS),
    Log(command="0011223344556677", lines=tuple("INFO packbox.app.carry: link to the broker is up" for _ in range(12))),
    Health(
        uptime_s=86_400.0, frames=87_654_321, frames_unknown=1_234_567, outbox_waiting=2, oldest_waiting_s=31.0,
        journal_bytes=12_345_678, disk_free_bytes=23_456_789_012, clock="set", uplink_bytes=345_678,
        cpu_temp_degc=51.2, software=SOFTWARE,
    ),
)  # fmt: skip

MAXIMAL: Final[tuple[Message, ...]] = (
    Hello(
        public_key=PUBLIC_KEY, battery=BatteryId("B" * 63), battery_source="provisional", vehicle="v" * 63,
        software="packbox 12.34.56+linux-aarch64-3.13", profile="outlander-phev", profile_digest=bytes(range(32)),
        variant="second generation 20 kWh", pack="outlander-phev-20", reference_ah=123.45, reference_source="s" * 120,
        cells_in_series=216, chemistry="unknown", nominal_kwh=123.45, packs_before=99,
        rated_ah=123.45, ocv=tuple((1.0 * n, 2.5 + 0.01 * n) for n in range(101)),
        current_gain_sigma_pct=0.1234, resistance_slope_k=2700.55, capacity_start_ah=123.456,
    ),
    Charge(
        **_SESSION_FULL, charge_kind=ChargeKind.UNKNOWN, segments=96, power_max_kw=350.0,
        curve=CurveItem(
            soc_from_pct=5.0, band_pct=4.0, power_kw=(*(350.0,) * 19, None), temp_degc=(*(-30.0,) * 19, None),
            shown=True,
        ),
    ),
    Drive(**_SESSION_FULL, distance_km=1_234.5, speed_max_kmh=250.0, energy_regenerated_wh=123_456.0),
    Rest(**_SESSION_FULL, unseen_s=31_536_000.0),
    Usage(
        observed_s=630_720_000.0, inferred_s=630_720_000.0, unobserved_s=630_720_000.0, charge_in_ah=1_234_567.89,
        charge_out_ah=1_234_567.89, energy_in_wh=1_234_567_890.0, energy_out_wh=1_234_567_890.0,
        energy_ac_in_wh=1_234_567_890.0, energy_dc_in_wh=1_234_567_890.0, equivalent_full_cycles=12_345.678,
        charges_ac=99_999, charges_dc=99_999, drives=999_999, distance_km=2_999_999.9, odometer_km=2_999_999.9,
        soc_temp_s=_histogram(10, 9, 630_720_000, range(10), range(9)),
        c_rate_temp_s=_histogram(20, 9, 630_720_000, range(20), range(9)),
        depth_counts=_histogram(7, 10, 99_999, range(7), range(10)), arrhenius_s=9_999_999_999.0,
        events=tuple((kind.value, 99_999) for kind in OF_BATTERY), charge_count_ac_reported=99_999,
        charge_count_dc_reported=99_999, first_wall_ms=WALL_MS, charging_temp_s=(630_720_000,) * 9,
    ),
    Soh(
        state=SohState.INCONSISTENT, why=WHY, soh_pct=100.01, sigma_pct=12.34, lo90_pct=81.23, hi90_pct=119.99,
        capacity_ah=234.567, sigma_ah=12.345, reference_ah=234.56, reference_source="s" * 120, basis="bms-value",
        method="weigh/12",
        estimates=tuple(
            EstimateItem(
                method=f"long_method_name/{n}", capacity_ah=234.567, sigma_ah=12.345, n=99_999,
                evidence=tuple(range(99_980, 99_996)), why=WHY,
            )
            for n in range(4)
        ),
        soh_reported_pct=119.99, capacity_reported_ah=234.567, observed_s=630_720_000.0, inferred_s=630_720_000.0,
        unobserved_s=630_720_000.0, observed_ah=1_234_567.8, observed_km=2_999_999.9, odometer_km=2_999_999.9,
        soce_pct=99.99, resistance_ohm=0.12345, line_s=630_720_000,
        energy=EnergyItem(
            method="long_method_name/5", energy_full_kwh=234.567, sigma_kwh=12.345, n=99_999,
            evidence=tuple(range(99_980, 99_996)), gids=True,
        ),
    ),
    Reading(
        number=99_999, session=123_456, line_s=630_720_000,
        legs=tuple(
            LegItem(
                charge_ah=1_234.56, soc_change_pct=100.01, charge_sigma_ah=123.456, soc_sigma_pct=12.345, bms=True
            )
            for _ in range(3)
        ),
        bms=BmsItem(at_s=630_720_000, capacity_ah=234.567, soh_pct=119.999),
        prior=ToldItem(at_s=630_720_000, capacity_ah=234.567),
        swings=tuple(
            SwingItem(
                at_s=630_720_000, from_soc_pct=100.01, to_soc_pct=100.01, charge_in_ah=-1_234.56, counted_h=8_760.01,
                soc_sigma_pct=12.345, charge_sigma_ah=123.456, lean_pct_per_v=-12_345.6,
            )
            for _ in range(2)
        ),
        told=ToldItem(at_s=630_720_000, capacity_ah=234.567),
        seen=SeenItem(visits=(9_999,) * 20, off_curve=9_999, stuck_n=9_999, apart_n=99_999, apart_pct=100.01),
        span=SpanItem(charge_ah=1_234.56, soc_change_pct=100.01), refused="r" * 120,
        energy=tuple(LeftItem(energy_left_kwh=234.567, soc_pct=100.01, gids=True, bms=True) for _ in range(2)),
    ),
    Cells(
        voltages_mv=(*(4_050 + n % 17 for n in range(214)), None, None), soc_pct=100.1, pack_current_a=-400.1,
        temps_degc=tuple(-30.5 for _ in range(32)), cell_voltage_min_v=2.345, cell_voltage_max_v=4.345,
        quiet_s=31_536_000.0,
    ),
    Event(
        event=EventKind.BATTERY_CHANGED, duration_s=99_999.9, extreme=-12_345.678, text="t" * 120, wall_ms=WALL_MS,
        mono_ms=31_536_000_000, boot=BOOT, session=123_456,
    ),
    Consent(
        purposes=("diagnostics", "history", "passport", "polling"), by="operator", text_version="2026-11.2",
        decided_ms=WALL_MS,
    ),
    Log(command="0011223344556677", lines=tuple("l" * 200 for _ in range(64))),
    Health(
        uptime_s=31_536_000.0, frames=99_999_999_999, frames_dropped=99_999_999, frames_bad=99_999_999,
        frames_unknown=99_999_999_999, frames_sent=99_999_999, bus_errors=99_999_999, outbox_waiting=999_999,
        oldest_waiting_s=31_536_000.0, journal_bytes=268_435_456, disk_free_bytes=999_999_999_999, clock="unset",
        uplink_bytes=9_999_999_999, uplink_refused=999_999, cpu_temp_degc=-12.3,
        software="packbox 12.34.56+linux-aarch64-3.13", config_version=99_999, text="t" * 80,
        wrong_length=99_999_999, bad_checksum=99_999_999, stuck_counter=99_999_999, unknown_mux=99_999_999,
        broken_answers=99_999_999, foreign_answers=99_999_999, void_values=99_999_999_999,
        implausible_values=99_999_999, cells_not_sum=99_999_999,
    ),
)  # fmt: skip

# With the rest curve and sensor of its pack, which a stranger needs to work SoH out again.
HELLO_WITH_PACK: Final = replace(
    TYPICAL[0],
    rated_ah=66.2, ocv=tuple((2.0 * n, 3.2286 + 0.0185 * n) for n in range(51)),
    current_gain_sigma_pct=0.5, resistance_slope_k=2700.0, capacity_start_ah=65.123,
)  # fmt: skip

ACKS: Final = {
    "empty": Ack(STORE),
    "typical": ack_of(STORE, range(1, 4712)),
    "holes": ack_of(STORE, [*range(1, 100), 105, *range(110, 120)]),
    "way-out": Ack(STORE, 99, ((105, 105),), head=bytes(range(16)), resend_from=42),
    "widest": ack_of(STORE, range(2, 10_000_000, 150_000)),
}


CONFIGS: Final = {
    "typical": Config(version=1_790_000_000, made_ms=WALL_MS, profile="nissan-leaf:aze0-24", heartbeat_every_s=900.0),
    "maximal": Config(
        version=1_790_000_001, made_ms=WALL_MS, profile="p" * 63, battery="B" * 63, commit_every_s=30.5,
        heartbeat_every_s=86_400.0, usage_every_s=604_800.0, soh_every_s=604_800.0, broker_host="h" * 253,
        broker_port=8883, trial_h=24.0, operator_key=bytes(range(32)),
    ),
}  # fmt: skip
COMMANDS: Final = {
    "resend": Command(id=bytes(range(8)), command=CommandKind.RESEND, expires_ms=WALL_MS, from_seq=17),
    "log-slice": Command(id=bytes(range(8)), command=CommandKind.LOG_SLICE, expires_ms=WALL_MS, lines=20),
    "inspect": Command(id=bytes(range(8)), command=CommandKind.INSPECT, expires_ms=WALL_MS),
}

PLACES: Final = {"typical": 4_711, "maximal": 9_007_199}
PREVIOUS: Final = digest(b"previous")


def envelope(seq: int, previous: bytes, wall_ms: int | None = WALL_MS) -> Envelope:
    return Envelope(BOX, STORE, seq, previous, BOOT, 1_000 * seq, wall_ms)


def sealed_sample(message: Message, *, largest: bool) -> bytes:
    """One record where a young (typical) or very old (largest) store would put it."""
    place = envelope(PLACES["maximal" if largest else "typical"], PREVIOUS)
    return seal(message, place, KEY.sign, key_id_of(PUBLIC_KEY))


def meaning(value: Any) -> Any:
    """A message as plain JSON, defaults left out: a field added later does not change what an old record means."""
    if isinstance(value, Body):
        told = [(field, getattr(value, field.name)) for field in fields(type(value))]
        return {field.name: meaning(v) for field, v in told if v != field.default}
    if isinstance(value, tuple):
        return [meaning(item) for item in value]
    if isinstance(value, bytes):
        return value.hex()
    return value.value if isinstance(value, Enum) else value


def goldens() -> dict[str, dict[str, Any]]:
    """What the golden files would hold if they were written today, by file name."""
    files = {
        f"{message.KIND.name.lower()}-{size}.json": _record(sealed_sample(message, largest=size == "maximal"))
        for size, messages in (("typical", TYPICAL), ("maximal", MAXIMAL))
        for message in messages
    }
    first = seal(TYPICAL[0], envelope(1, NO_PREVIOUS, None), KEY.sign, key_id_of(PUBLIC_KEY))
    files["hello-first.json"] = _record(first)
    files["hello-pack.json"] = _record(sealed_sample(HELLO_WITH_PACK, largest=False))
    # Released before the refusals were told one by one; `health-maximal.json` keeps that shape.
    files["health-refusals.json"] = _record(sealed_sample(MAXIMAL[-1], largest=True))
    # Likewise before a hello told the pack's facts, and how many packs had gone.
    files["hello-facts.json"] = _record(sealed_sample(MAXIMAL[0], largest=True))
    # Likewise before a state of health told the second that it holds for.
    files["soh-line.json"] = _record(sealed_sample(MAXIMAL[5], largest=True))
    # Likewise before readings told why nothing counted stands.
    files["reading-refused.json"] = _record(sealed_sample(MAXIMAL[6], largest=True))
    # Likewise both before the car's own count of energy was told.
    files["soh-energy.json"] = _record(sealed_sample(MAXIMAL[5], largest=True))
    files["reading-energy.json"] = _record(sealed_sample(MAXIMAL[6], largest=True))
    # Likewise before a charge told its curve, usage its charges by temperature, and cells how long it was quiet.
    files["charge-curve.json"] = _record(sealed_sample(MAXIMAL[1], largest=True))
    files["usage-charging.json"] = _record(sealed_sample(MAXIMAL[4], largest=True))
    files["cells-quiet.json"] = _record(sealed_sample(MAXIMAL[7], largest=True))
    for name, ack in ACKS.items():
        ranges = [list(pair) for pair in ack.ranges]
        more: dict[str, object] = {} if ack.head is None else {"head_hex": ack.head.hex()}
        more |= {} if ack.resend_from is None else {"resend_from": ack.resend_from}
        files[f"ack-{name}.json"] = {
            "ack_hex": encode_ack(ack).hex(), "store": ack.store, "upto": ack.upto, "ranges": ranges, **more
        }  # fmt: skip
    for name, config in CONFIGS.items():
        signed = encode_config(config, BOX, KEY.sign, PUBLIC_KEY)
        files[f"config-{name}.json"] = {"config_hex": signed.hex(), "message": meaning(config)}
    for name, command in COMMANDS.items():
        signed = encode_command(command, BOX, KEY.sign, PUBLIC_KEY)
        files[f"command-{name}.json"] = {"command_hex": signed.hex(), "message": meaning(command)}
    heartbeat = TYPICAL[-1]
    assert isinstance(heartbeat, Health)
    encoded = encode_heartbeat(heartbeat)
    files["heartbeat-typical.json"] = {"heartbeat_hex": encoded.hex(), "message": meaning(heartbeat)}
    return files


def _record(sealed: bytes) -> dict[str, Any]:
    record = open_sealed(sealed, PUBLIC_KEY)
    place = record.envelope
    return {
        "sealed_hex": sealed.hex(),
        "kind": record.kind.name.lower(),
        "envelope": {"seq": place.seq, "previous_hex": place.previous.hex(), "wall_ms": place.wall_ms},
        "message": meaning(record.message),
    }


def main() -> None:
    RELEASED.mkdir(parents=True, exist_ok=True)
    for name, golden in goldens().items():
        file = RELEASED / name
        if not file.exists():
            file.write_text(json.dumps(golden, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            print("added", file.name)


if __name__ == "__main__":
    main()
