"""How alerts are raised and cleared, by rules that are data."""

from __future__ import annotations

import random
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from packbook.adapters.rules import OWN_FOLDER, RuleBook, RulesError
from packbook.core.alerts import (
    Alert,
    AlertRules,
    BoxSilent,
    CertificateEnding,
    Glimpse,
    Kind,
    Severity,
    Sighting,
    State,
    Steps,
    coverage_drop_pct,
    fade_pct_per_year,
    step,
)
from packbook.core.words_of_alerts import alert_advice, alert_severity, alert_state, alert_text, alert_title
from packbook.web.words import ALL_WORDS, LANGUAGES

SILENT = BoxSilent(
    severity=Severity.WARNING, reason="a test", raise_silent_days=14.0, clear_silent_days=1.0, hold_s=60, calm_s=120
)
BY_THE_MINUTE_MS = 60_000


class Watch:
    """One box, looked at once a minute."""

    def __init__(self, rule: BoxSilent = SILENT) -> None:
        self.rule = rule
        self.now_ms = 0
        self.standing: list[Alert] = []
        self.heard: list[State] = []

    def see(self, figure: float | None) -> State | None:
        """One pass; gives the state of the alert that stands after it."""
        self.now_ms += BY_THE_MINUTE_MS
        seen = [] if figure is None else [Sighting("box", figure, box="box")]
        steps = step(Kind.BOX_SILENT, self.rule, "1", self.standing, seen, self.now_ms)
        kept = {alert.subject: alert for alert in self.standing}
        for alert in steps.forgotten:
            del kept[alert.subject]
        for alert in steps.changed:
            moved = alert.subject not in kept or kept[alert.subject].state is not alert.state
            if moved and alert.state is not State.PENDING:
                self.heard.append(alert.state)
            kept[alert.subject] = replace(alert, id=alert.id or 1)
        self.standing = [alert for alert in kept.values() if alert.state is not State.CLEARED]
        return self.standing[0].state if self.standing else None

    def acknowledge(self) -> None:
        self.standing = [replace(alert, state=State.ACKNOWLEDGED, acknowledged_by="me") for alert in self.standing]


def test_an_alert_is_raised_when_its_cause_has_lasted_and_cleared_when_it_is_gone() -> None:
    """The whole life of one: seen, held, raised, gone, calm, cleared."""
    watch = Watch()
    states = [watch.see(figure) for figure in (13.9, 14.0, 14.1, None, None, None)]
    assert states == [None, State.PENDING, State.RAISED, State.RAISED, State.RAISED, None]
    assert watch.heard == [State.RAISED, State.CLEARED]


def test_a_figure_that_trembles_about_the_limit_raises_one_alert() -> None:
    """Somebody who is woken twenty times for one cause switches the alerts off."""
    watch = Watch()
    for n in range(40):
        watch.see(13.5 if n % 2 else 14.5)
        watch.see(14.5)
    assert watch.heard == [State.RAISED]


def test_a_cause_that_comes_and_goes_does_not_clear_in_between() -> None:
    """Gone for a minute is not gone."""
    watch = Watch()
    for _ in range(20):
        watch.see(20.0)
        watch.see(20.0)
        watch.see(None)
    assert watch.heard == [State.RAISED]


def test_what_passed_before_anybody_heard_of_it_is_forgotten() -> None:
    """A glitch of a minute is not worth a message, nor a second one that it is over."""
    watch = Watch()
    watch.see(20.0)
    watch.see(None)
    assert (watch.heard, watch.standing) == ([], [])


def test_an_acknowledged_alert_stays_so_until_its_cause_is_gone_and_comes_anew_then() -> None:
    """Who has taken it on is not asked again; a new cause is a new alert."""
    watch = Watch()
    watch.see(20.0)
    watch.see(20.0)
    watch.acknowledge()
    assert [watch.see(f) for f in (30.0, 5.0, None, 30.0)] == [State.ACKNOWLEDGED] * 4
    for _ in range(3):
        watch.see(None)
    watch.see(20.0)
    assert watch.see(20.0) is State.RAISED
    assert watch.heard == [State.RAISED, State.CLEARED, State.RAISED]


@pytest.mark.parametrize("seed", range(5))
def test_no_sequence_of_figures_makes_news_twice_in_a_row(seed: int) -> None:
    """Whatever is seen, raised and cleared take turns, and raised comes first."""
    dice = random.Random(seed)
    watch = Watch()
    for _ in range(300):
        watch.see(dice.choice([None, 0.5, 5.0, 13.9, 14.0, 40.0]))
    assert watch.heard == [State.RAISED if n % 2 == 0 else State.CLEARED for n in range(len(watch.heard))]


def test_a_rule_switched_off_clears_what_it_raised() -> None:
    """Nobody must go through old alerts of a kind he no longer wants."""
    watch = Watch()
    watch.see(20.0)
    watch.see(20.0)
    watch.rule = replace(SILENT, enabled=False)
    for _ in range(3):
        watch.see(20.0)
    assert watch.heard == [State.RAISED, State.CLEARED]


def test_where_less_is_worse_the_band_lies_the_other_way() -> None:
    """Days left of a certificate fall."""
    rule = CertificateEnding(
        severity=Severity.WARNING,
        reason="a test",
        raise_left_days=21.0,
        clear_left_days=30.0,
        life_share_max_pct=16.0,
    )
    assert [(rule.raises(days), rule.stands(days)) for days in (31.0, 30.0, 25.0, 21.0, -3.0)] == [
        (False, False),
        (False, False),
        (False, True),
        (True, True),
        (True, True),
    ]


def test_a_clock_that_jumps_back_changes_nothing() -> None:
    """The book's own clock is set too, now and then."""
    watch = Watch()
    watch.see(20.0)
    watch.now_ms -= 10 * BY_THE_MINUTE_MS
    assert watch.see(20.0) is State.PENDING
    assert step(Kind.BOX_SILENT, SILENT, "1", watch.standing, [Sighting("box", 20.0)], 0) == Steps()


# --- rules --------------------------------------------------------------------------------------------------------


def test_every_kind_has_a_rule_that_ships() -> None:
    """A kind without a rule would never be looked for."""
    rules = RuleBook().load("alerts", AlertRules)
    assert {kind: rules.rule(kind).enabled for kind in Kind} == dict.fromkeys(Kind, True)


@pytest.mark.parametrize(
    ("said", "instead", "named"),
    [
        ("raise_silent_days = 14.0", "raise_silent_days = 1.0", "box_silent: it is cleared at 1 and raised at 1"),
        ("raise_silent_days = 14.0", "raise_silent_days = nan", "box_silent: raise_silent_days: expected a number"),
        ("raise_silent_days = 14.0", "raise_silent_days = -1", "box_silent: raise_silent_days: expected a number"),
        ("raise_silent_days = 14.0", 'raise_silent_days = "long"', "box_silent.raise_silent_days: "),
        ("raise_silent_days = 14.0", "raise_silent_weeks = 2", "box_silent.raise_silent_days: Field required"),
        ("clear_left_days = 30.0", "clear_left_days = 3.0", "certificate_ending: it is cleared at 3 and raised at 21"),
        ("frames_min = 100000.0", "frames_min = 1.0\nframes_max = 2.0", "can_drops.frames_max: there is no such key"),
        ('severity = "critical"', 'severity = "loud"', "chain_broken.severity: "),
        ("every_s = 21600", "every_s = 0", "coverage_falling: every_s: expected 1 or more"),
    ],
)
def test_a_rule_file_that_cannot_be_meant_is_refused_by_name(
    tmp_path: Path, said: str, instead: str, named: str
) -> None:
    """Who edits a rule learns at the start, with file, field and reason, not from an alert that never came."""
    text = (OWN_FOLDER / "alerts-1.toml").read_text()
    (tmp_path / "alerts-1.toml").write_text(text.replace(said, instead, 1))
    with pytest.raises(RulesError) as refused:
        RuleBook(folders=[tmp_path]).load("alerts", AlertRules)
    assert str(tmp_path / "alerts-1.toml") in str(refused.value)
    assert named in str(refused.value)


def test_an_operators_own_rules_go_before_ours(tmp_path: Path) -> None:
    """A taxi fleet wants to know after a day, not after a fortnight."""
    shutil.copy(OWN_FOLDER / "alerts-1.toml", tmp_path / "alerts-taxi.toml")
    text = (tmp_path / "alerts-taxi.toml").read_text()
    text = text.replace('version = "1"', 'version = "taxi"').replace(
        "raise_silent_days = 14.0", "raise_silent_days = 2"
    )
    (tmp_path / "alerts-taxi.toml").write_text(text)
    rules = RuleBook({"alerts": "taxi"}, [tmp_path]).load("alerts", AlertRules)
    assert (rules.version, rules.box_silent.raise_silent_days) == ("taxi", 2.0)


# --- figures ------------------------------------------------------------------------------------------------------

YEAR_MS = 31_557_600_000
NOW = Glimpse(YEAR_MS, 88.0, 0.5, ("weigh/1", "ocv", 66.0), 900.0, 1000.0, 900.0, 1000.0)
THEN = replace(NOW, at_ms=0, soh_pct=96.0)


def test_fade_counts_only_what_the_uncertainty_leaves() -> None:
    """8 % in a year, of which 1.16 may be chance."""
    assert fade_pct_per_year(THEN, NOW) == pytest.approx(8.0 - 1.645 * 0.5**0.5, abs=1e-6)
    assert fade_pct_per_year(THEN, replace(NOW, sigma_pct=6.0)) == pytest.approx(-1.904, abs=0.01)


@pytest.mark.parametrize(
    "after",
    [
        replace(NOW, measured_as=("weigh/1", "bms-value", 66.0)),
        replace(NOW, measured_as=("weigh/1", "ocv", 62.0)),
        replace(NOW, sigma_pct=None),
        replace(NOW, at_ms=0),
    ],
)
def test_unlike_values_are_not_subtracted(after: Glimpse) -> None:
    """Another method, basis or reference is another quantity; a difference of them is no fade."""
    assert fade_pct_per_year(THEN, after) is None


def test_coverage_falls_by_time_or_by_distance() -> None:
    """A box that sleeps through drives loses kilometres and no time."""
    before = replace(NOW, seen_s=900.0, total_s=1000.0, observed_km=950.0, odometer_km=1000.0)
    by_km = replace(before, seen_s=1800.0, total_s=2000.0, observed_km=1000.0, odometer_km=1100.0)
    by_time = replace(before, seen_s=1000.0, total_s=2000.0, observed_km=1045.0, odometer_km=1100.0)
    assert coverage_drop_pct(before, by_km) == pytest.approx(45.0)
    assert coverage_drop_pct(before, by_time) == pytest.approx(80.0)
    assert coverage_drop_pct(before, replace(before, odometer_km=None)) is None


# --- words --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", list(Kind))
def test_every_kind_is_told_in_words(language: str, kind: Kind) -> None:
    """An alert that only names its code sends people to the manual at night. Details may be missing."""
    t = ALL_WORDS[language]
    causes = {Kind.CLOCK_BAD: ("unset", "wrong"), Kind.DISK_WORN: ("full", "lost")}.get(kind, (None,))
    for cause in causes:
        detail = {} if cause is None else {"cause": cause}
        alert = Alert(kind, Severity.WARNING, State.RAISED, "s", 1.0, 0, "1", box="b" * 16, detail=detail)
        said = [word(t, alert) for word in (alert_title, alert_text, alert_advice, alert_severity, alert_state)]
        assert all(said)
        assert not any("{" in text or "alert." in text for text in said)
