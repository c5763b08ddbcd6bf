"""What the box says, and that it says nothing before it has said about whom.

In:  what became true in the fold: a session that ended, harm, a swap, a clock that was set.
Out: outcomes, in order, and in the state that they were said.
"""

from __future__ import annotations

from dataclasses import replace

from packbox.core import sample as sampling
from packbox.core import usage
from packbox.core.box_state import BoxPlan, BoxState
from packbox.core.cells import QuietCells
from packbox.core.fit import TRIAL_FRAMES, misfit
from packbox.core.harm import Harm
from packbox.core.outcome import (
    CellsSeen,
    EventName,
    EventSeen,
    Identity,
    Introduced,
    Outcome,
    ReadingsTaken,
    SessionClosed,
    SohComputed,
    UsageDue,
)
from packbox.core.packs import PackFacts
from packbox.core.record import BatteryId
from packbox.core.sample import Col, Sum
from packbox.core.segment import Cut, Phase
from packbox.core.sessions import session_of
from packbox.core.soh import panel
from packbox.core.soh.method import SessionEnd
from packbox.core.soh.reading import in_steps
from packbox.core.stamp import NS_PER_S, Stamp
from packbox.core.timeline import Timeline


class Telling:
    """The state on its way through one call, and what is said on the way."""

    def __init__(self, plan: BoxPlan, state: BoxState) -> None:
        self.plan = plan
        self.state = state
        self.outcomes: list[Outcome] = []

    @property
    def line(self) -> Timeline:
        assert self.state.line is not None
        return self.state.line

    @property
    def pack(self) -> PackFacts | None:
        return self.plan.decoder.pack(self.state.decode)

    def introduce(self, stamp: Stamp) -> None:
        """Who we are and whose battery this is, once, and again when it is another."""
        plan, profile = self.plan, self.plan.decoder.profile
        gone = self.state.packs_before
        battery, source = plan.battery, plan.battery_source
        if gone:  # the name we were given belongs to a pack that is no longer here
            battery, source = BatteryId(f"prov-{plan.box}-{gone + 1}"), "provisional"
        identity = Identity(
            battery,
            source,
            plan.vehicle,
            plan.software,
            profile.id,
            profile.digest,
            plan.decoder.variant(self.state.decode),
            self.pack,
            gone,
        )
        if identity != self.state.introduced:
            self.state = replace(self.state, introduced=identity)
            self.outcomes.append(Introduced(stamp, identity))

    def say(self, outcome: Outcome) -> None:
        """Nothing is said before it is said about whom."""
        if self.state.introduced is None:
            self.introduce(outcome.stamp)
        self.outcomes.append(outcome)

    def close_session(self, cut: Cut) -> None:
        """And what may be said at the end of one: usage and state of health, where they are due or new."""
        stamp = self.line.stamp(cut.at_s * NS_PER_S)
        session = session_of(cut, self.line.stamp(cut.stretch.start_s * NS_PER_S))
        self.say(SessionClosed(stamp, session))
        used = self.state.usage
        if cut.phase is Phase.CHARGING:
            temp_s = None if cut.stretch.charged is None else cut.stretch.charged.temp_s
            used = usage.add_charge(used, session.energy_in_wh, temp_s, dc=session.charge_kind == "dc")
        elif cut.phase is Phase.DRIVING:
            used = usage.add_drive(used, session.distance_km)
        readings = self.state.soh.readings
        after, taken = panel.closed(self.state.soh, SessionEnd(cut.number, cut.at_s), self.pack)
        self.state = replace(self.state, usage=used, soh=after)
        if taken is not None:
            self.say(ReadingsTaken(stamp, taken))
        if _due(self.state.usage_said_s, cut.at_s, self.plan.cadence.usage_every_s):
            self.say_usage(cut.at_s)
        if after.readings != readings or _due(self.state.soh_said_s, cut.at_s, self.plan.cadence.soh_every_s):
            self.say_soh(cut.at_s)

    def say_usage(self, at_s: int) -> None:
        self.date_first()
        pack = self.pack
        used = usage.usage_of(self.state.usage, self.state.first_wall_ms)
        self.say(UsageDue(self.line.stamp(at_s * NS_PER_S), used, None if pack is None else pack.reference_ah))
        self.state = replace(self.state, usage_said_s=float(at_s))

    def say_soh(self, at_s: int) -> None:
        used = usage.usage_of(self.state.usage, None)
        newest = self.state.usage.newest
        told_pct = sampling.known(newest[Col.SOH_REPORTED_PCT])
        reported_pct = None if told_pct is None else in_steps("soh_reported_pct", told_pct)
        said = panel.verdict(self.state.soh, float(at_s), self.pack, reported_pct)
        self.say(
            SohComputed(
                self.line.stamp(at_s * NS_PER_S),
                said.soh,
                said.estimates,
                reported_pct,
                sampling.known(newest[Col.CAPACITY_REPORTED_AH]),
                used.observed_s,
                used.inferred_s,
                used.unobserved_s,
                used.charge_in_ah + used.charge_out_ah,
                float(self.state.usage.total[Sum.DISTANCE_KM]),
                used.odometer_km,
                said.soce_pct,
                said.r25_ohm,
                at_s,
                said.energy,
            )
        )
        self.state = replace(self.state, soh_said_s=float(at_s))

    def date_first(self) -> None:
        """The first frame's wall time, as soon as its boot's clock was set; a later boot cannot tell it."""
        first_s = self.state.first_s
        if self.state.first_wall_ms is None and first_s is not None:
            wall_ms = self.line.stamp(first_s * NS_PER_S).wall_ms if self.line.covers(first_s * NS_PER_S) else None
            self.state = replace(self.state, first_wall_ms=wall_ms)

    def say_harm(self, one: Harm) -> None:
        stamp, began = self.line.stamp(one.at_s * NS_PER_S), self.line.stamp(one.start_s * NS_PER_S)
        self.say_event(EventSeen(stamp, EventName(one.name), began, one.duration_s, one.extreme, one.text))

    def say_cells(self, one: QuietCells) -> None:
        self.say(
            CellsSeen(
                self.line.stamp(one.at_s * NS_PER_S),
                one.cells_v,
                one.soc_pct,
                one.current_a,
                one.temps_degc,
                one.low_v,
                one.high_v,
                float(one.quiet_s),
            )
        )

    def say_event(self, event: EventSeen) -> None:
        self.say(event)
        self.state = replace(self.state, usage=usage.add_event(self.state.usage, event.event.value))

    def judge(self, *, last: bool = False) -> None:
        """Once, when there are frames enough: does this profile fit what is on the bus?"""
        if self.state.judged or (self.state.frames < TRIAL_FRAMES and not last):
            return
        self.state = replace(self.state, judged=True)
        text = misfit(self.state.frames, self.state.refused, self.state.seen)
        if text is not None:
            at_s = self.state.segment.end_s
            assert at_s is not None  # there were frames, so there were samples
            self.say_event(EventSeen(self.line.stamp(at_s * NS_PER_S), EventName.WRONG_PROFILE, text=text))


def _due(said_s: float | None, at_s: float, every_s: float) -> bool:
    return said_s is None or at_s - said_s >= every_s
