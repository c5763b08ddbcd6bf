"""Outcomes become records: the door from the fold to the wire.

In:  outcomes, the head of the chain, the box's key behind `sign`.
Out: `SealedRow`, one per outcome, and the new head.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, fields
from typing import Final

from packbox.core.charging import BAND_PCT, ChargeCurve
from packbox.core.outcome import (
    Agreement,
    BoxHealth,
    CellsSeen,
    ConsentSaid,
    EventSeen,
    Introduced,
    LogLines,
    Outcome,
    ReadingsTaken,
    Session,
    SessionClosed,
    SohComputed,
    UsageDue,
)
from packbox.core.record import ChainHead, SealedRow
from packbox.core.soh.energy_series import EnergyFull
from packbox.core.soh.panel import Readings
from packbox.core.soh.reading import CapacityTold, RestsSeen, RestSwing
from packbox.core.stamp import NS_PER_MS
from packwire import ids, messages, seal

TEXT_MAX: Final = 200  # of the wire
MV_PER_V: Final = 1000

Sign = Callable[[bytes], bytes]


def seal_outcomes(
    outcomes: Iterable[Outcome], head: ChainHead, sign: Sign, public_key: bytes
) -> tuple[ChainHead, tuple[SealedRow, ...]]:
    """Records for outcomes, in order, chained to the head. Envelopes carry each outcome's own stamp."""
    key_id = ids.key_id_of(public_key)
    rows: list[SealedRow] = []
    seq, previous = head.next_seq, head.previous
    for outcome in outcomes:
        stamp = outcome.stamp
        mono_ms = stamp.mono_ns // NS_PER_MS
        message = message_of(outcome, public_key)
        envelope = seal.Envelope(
            ids.BoxId(head.box), ids.StoreId(head.store), seq, previous, ids.BootId(stamp.boot), mono_ms, stamp.wall_ms
        )
        sealed = seal.seal(message, envelope, sign, key_id)
        number = outcome.session.number if isinstance(outcome, SessionClosed) else None
        rows.append(SealedRow(seq, int(message.KIND), number, mono_ms, stamp.wall_ms, sealed))
        seq, previous = seq + 1, seal.digest(sealed)
    return ChainHead(head.box, head.store, seq, previous), tuple(rows)


def message_of(outcome: Outcome, public_key: bytes) -> messages.Message:
    """The wire message of an outcome."""
    match outcome:
        case Introduced():
            return _hello(outcome, public_key)
        case SessionClosed():
            return _session(outcome.session)
        case UsageDue():
            return _usage(outcome)
        case SohComputed():
            return _soh(outcome)
        case ReadingsTaken():
            return _reading(outcome.readings)
        case CellsSeen():
            return _cells(outcome)
        case EventSeen():
            return _event(outcome)
        case BoxHealth():
            return _health(outcome)
        case ConsentSaid():
            return messages.Consent(**{f.name: getattr(outcome.agreement, f.name) for f in fields(Agreement)})
        case LogLines():
            return messages.Log(command=outcome.command, lines=outcome.lines)


def _hello(outcome: Introduced, public_key: bytes) -> messages.Hello:
    identity, pack = outcome.identity, outcome.identity.pack
    return messages.Hello(
        public_key=public_key,
        battery=ids.BatteryId(identity.battery),
        battery_source=identity.battery_source,
        vehicle=_text(identity.vehicle),
        software=identity.software,
        profile=identity.profile,
        profile_digest=bytes.fromhex(identity.profile_digest),
        variant=identity.variant,
        pack=pack.id if pack else None,
        reference_ah=pack.reference_ah if pack else None,
        reference_source=_text(pack.reference_source) if pack else None,
        cells_in_series=pack.cells_in_series if pack else None,
        chemistry=pack.chemistry.value if pack else None,
        nominal_kwh=pack.nominal_kwh if pack else None,
        rated_ah=pack.rated_ah if pack else None,
        ocv=pack.ocv if pack else (),
        current_gain_sigma_pct=pack.current_gain_sigma_pct if pack else None,
        resistance_slope_k=pack.resistance_slope_k if pack else None,
        capacity_start_ah=pack.capacity_start_ah if pack else None,
        packs_before=identity.packs_before,
    )


_COMMON: Final = tuple(f.name for f in fields(Session) if f.name in messages.Session.__struct_fields__)


def _session(session: Session) -> messages.Session:
    common = {name: getattr(session, name) for name in _COMMON}
    common["session"] = session.number
    common["boot"] = ids.BootId(session.start.boot)
    common["start_mono_ms"] = session.start.mono_ns // NS_PER_MS
    common["start_wall_ms"] = session.start.wall_ms
    if session.kind == "charge":
        return messages.Charge(
            **common,
            charge_kind=messages.ChargeKind(session.charge_kind or "unknown"),
            segments=session.segments or 1,
            power_max_kw=session.power_max_kw,
            curve=_curve(session.curve),
        )
    if session.kind == "drive":
        return messages.Drive(
            **common,
            distance_km=session.distance_km,
            speed_max_kmh=session.speed_max_kmh,
            energy_regenerated_wh=session.energy_regenerated_wh or 0.0,
        )
    return messages.Rest(**common, unseen_s=session.unseen_s)


def _curve(curve: ChargeCurve | None) -> messages.CurveItem | None:
    if curve is None:
        return None
    warm = curve.temp_degc if any(t is not None for t in curve.temp_degc) else ()
    return messages.CurveItem(
        soc_from_pct=curve.soc_from_pct,
        band_pct=BAND_PCT,
        power_kw=curve.power_kw,
        temp_degc=warm,
        shown=curve.shown,
    )


def _usage(outcome: UsageDue) -> messages.Usage:
    usage = outcome.usage
    return messages.Usage(
        observed_s=usage.observed_s,
        inferred_s=usage.inferred_s,
        unobserved_s=usage.unobserved_s,
        charge_in_ah=usage.charge_in_ah,
        charge_out_ah=usage.charge_out_ah,
        energy_in_wh=usage.energy_in_wh,
        energy_out_wh=usage.energy_out_wh,
        energy_ac_in_wh=usage.energy_ac_in_wh,
        energy_dc_in_wh=usage.energy_dc_in_wh,
        equivalent_full_cycles=usage.equivalent_full_cycles(outcome.reference_ah),
        charges_ac=usage.charges_ac,
        charges_dc=usage.charges_dc,
        drives=usage.drives,
        distance_km=usage.distance_km,
        odometer_km=usage.odometer_km,
        soc_temp_s=tuple(usage.soc_temp_s.ravel().tolist()),
        c_rate_temp_s=tuple(usage.c_rate_temp_s.ravel().tolist()),
        depth_counts=tuple(usage.depth_counts.ravel().tolist()),
        arrhenius_s=usage.arrhenius_s,
        events=tuple(sorted(usage.events.items())),
        charge_count_ac_reported=usage.charge_count_ac_reported,
        charge_count_dc_reported=usage.charge_count_dc_reported,
        first_wall_ms=usage.first_wall_ms,
        charging_temp_s=tuple(usage.charging_temp_s.tolist()),
    )


def _soh(outcome: SohComputed) -> messages.Soh:
    soh = outcome.soh
    return messages.Soh(
        state=messages.SohState(soh.state.value),
        why=_text(soh.why),
        soh_pct=soh.soh_pct,
        sigma_pct=soh.sigma_pct,
        lo90_pct=soh.lo90_pct,
        hi90_pct=soh.hi90_pct,
        capacity_ah=soh.capacity_ah,
        sigma_ah=soh.sigma_ah,
        reference_ah=soh.reference_ah,
        reference_source=_text(soh.reference_source),
        basis=soh.basis.value if soh.basis else None,
        method=soh.method,
        estimates=tuple(
            messages.EstimateItem(
                method=e.method,
                capacity_ah=e.capacity_ah,
                sigma_ah=e.sigma_ah,
                n=e.n,
                evidence=e.evidence,
                why=_text(e.why),
            )
            for e in outcome.estimates
        ),
        soh_reported_pct=outcome.soh_reported_pct,
        capacity_reported_ah=outcome.capacity_reported_ah,
        observed_s=outcome.observed_s,
        inferred_s=outcome.inferred_s,
        unobserved_s=outcome.unobserved_s,
        observed_ah=outcome.observed_ah,
        observed_km=outcome.observed_km,
        odometer_km=outcome.odometer_km,
        soce_pct=outcome.soce_pct,
        resistance_ohm=outcome.resistance_ohm,
        line_s=outcome.line_s,
        energy=_energy(outcome.energy),
    )


def _energy(energy: EnergyFull | None) -> messages.EnergyItem | None:
    """Most cars tell none: that is not said every day."""
    if energy is None or energy.energy_full_kwh is None or energy.sigma_kwh is None:
        return None
    return messages.EnergyItem(
        method=energy.method,
        energy_full_kwh=energy.energy_full_kwh,
        sigma_kwh=energy.sigma_kwh,
        n=energy.n,
        evidence=energy.evidence,
        gids=energy.gids,
    )


def _reading(readings: Readings) -> messages.Reading:
    """What of `rest_bands` stands before its swings is used before them."""
    rests = readings.rest_bands
    swings = [k for k, one in enumerate(rests) if isinstance(one, RestSwing)]
    prior = [
        messages.ToldItem(**asdict(one)) for one in rests[: swings[0] if swings else 0] if isinstance(one, CapacityTold)
    ]
    told = [messages.ToldItem(**asdict(one)) for one in rests[len(prior) :] if isinstance(one, CapacityTold)]
    seen = [messages.SeenItem(**asdict(one)) for one in rests if isinstance(one, RestsSeen)]
    return messages.Reading(
        number=readings.number,
        session=readings.end.number,
        line_s=readings.end.at_s,
        legs=tuple(messages.LegItem(**asdict(one)) for one in readings.charge_ratio),
        bms=next((messages.BmsItem(**asdict(one)) for one in readings.bms_value), None),
        prior=next(iter(prior), None),
        swings=tuple(messages.SwingItem(**asdict(rests[k])) for k in swings),
        told=next(iter(told), None),
        seen=next(iter(seen), None),
        span=next((messages.SpanItem(**asdict(one)) for one in readings.full_span), None),
        refused=readings.refused,
        energy=tuple(messages.LeftItem(**asdict(one)) for one in readings.energy),
    )


def _cells(outcome: CellsSeen) -> messages.Cells:
    return messages.Cells(
        voltages_mv=tuple(None if v is None else round(v * MV_PER_V) for v in outcome.voltages_v),
        soc_pct=outcome.soc_pct,
        pack_current_a=outcome.pack_current_a,
        temps_degc=outcome.temps_degc,
        cell_voltage_min_v=outcome.cell_voltage_min_v,
        cell_voltage_max_v=outcome.cell_voltage_max_v,
        quiet_s=outcome.quiet_s,
    )


def _event(outcome: EventSeen) -> messages.Event:
    began = outcome.began or outcome.stamp
    return messages.Event(
        event=messages.EventKind(outcome.event.value),
        duration_s=outcome.duration_s,
        extreme=outcome.extreme,
        text=_text(outcome.text),
        wall_ms=began.wall_ms,
        mono_ms=began.mono_ns // NS_PER_MS,
        boot=ids.BootId(began.boot),
    )


def _health(outcome: BoxHealth) -> messages.Health:
    return messages.Health(**{f.name: getattr(outcome, f.name) for f in fields(BoxHealth) if f.name != "stamp"})


def _text(text: str | None) -> str | None:
    return text if text is None or len(text) <= TEXT_MAX else text[: TEXT_MAX - 1] + "…"
