"""What changed is told against its uncertainty: noise is never called decay, and other scales are not compared."""

from __future__ import annotations

from dataclasses import replace

import pytest

from packbook.core.changes import DAY_MS, Break, Change, Moved, Since, Verdict, changes_of
from packbook.core.history import Estimate, SohPoint
from packbook.testing.rows import soh_point


def at(day: float, soh_pct: float, sigma_pct: float = 1.5, **more: object) -> SohPoint:
    return soh_point(int(day) + 1, at_ms=int(day * DAY_MS), soh_pct=soh_pct, sigma_pct=sigma_pct, **more)


def by_since(points: list[SohPoint]) -> dict[Since, Change]:
    found = changes_of(points)
    assert found is not None
    return {change.since: change for change in found.changes}


def test_nothing_sure_is_no_news() -> None:
    """A figure without its uncertainty or date cannot be compared."""
    assert changes_of([]) is None
    assert changes_of([soh_point(sigma_pct=None), soh_point(at_ms=None)]) is None


def test_a_single_figure_has_nothing_to_be_compared_with() -> None:
    """The page then says so."""
    found = changes_of([at(0, 88.0)])
    assert found is not None
    assert found.changes == ()
    assert found.stopped is None


def test_a_difference_within_the_uncertainty_says_nothing_of_the_battery() -> None:
    """Owners look daily; the figure breathes."""
    change = by_since([at(0, 88.0), at(3, 87.4)])[Since.PREVIOUS]
    assert change.diff_pct == pytest.approx(-0.6)
    assert change.half_pct == pytest.approx(1.645 * 1.5 / 3)
    assert change.verdict is Verdict.WITHIN


def test_a_fall_that_chance_does_not_explain_is_called_one() -> None:
    """Errors of scale are in both figures, so a difference is surer than either (facts/soh.md §6)."""
    found = by_since([at(0, 88.0), at(100, 87.5), at(200, 86.0)])
    assert found[Since.START].verdict is Verdict.FALLEN
    assert found[Since.MONTH].before.soh_pct == 87.5
    assert by_since([at(0, 80.0), at(40, 83.0)])[Since.MONTH].verdict is Verdict.RISEN


def test_a_wide_early_figure_is_not_held_against_a_sharp_one() -> None:
    """What the first one had more of was its own noise."""
    assert by_since([at(0, 93.0, 4.0), at(60, 88.0, 1.2)])[Since.START].verdict is Verdict.WITHIN


def test_the_start_is_the_newest_of_the_first_ninety_days() -> None:
    """The first of all knows least."""
    found = by_since([at(0, 90.0, 4.0), at(80, 88.0), at(95, 87.9), at(300, 86.0)])
    assert found[Since.START].before.soh_pct == 88.0


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"reference_ah": 60.0}, Break.REFERENCE),
        ({"basis": "ocv"}, Break.BASIS),
    ],
    ids=["reference", "basis"],
)
def test_another_scale_is_not_compared(change: dict[str, object], reason: Break) -> None:
    """80 % of 60 Ah is another thing than 80 % of 65."""
    found = changes_of([at(0, 95.0, **change), at(50, 88.0), at(90, 87.0)])
    assert found is not None
    assert found.stopped is reason
    assert {c.before.soh_pct for c in found.changes} == {88.0}


def test_a_replaced_battery_begins_anew() -> None:
    """What was before it was another battery's."""
    found = changes_of([at(0, 70.0), at(50, 98.0, state="replaced"), at(60, 97.5)])
    assert found is not None
    assert found.stopped is Break.REPLACED
    assert [c.before.soh_pct for c in found.changes] == [98.0]


def test_the_methods_that_moved_the_figure_are_named_with_their_sessions() -> None:
    """ "Why" is answered by sessions that the reader can open."""
    before = (
        Estimate("charge_ratio/1", 57.0, 0.8, 10, (1, 2), None),
        Estimate("bms_value/1", 55.0, 1.5, 5, (2,), None),
    )
    after = (
        Estimate("bms_value/1", 55.0, 1.5, 5, (2,), None),
        Estimate("charge_ratio/1", 56.2, 0.7, 13, (2, 5, 7), None),
        Estimate("full_span/1", 56.0, 1.4, 1, (7,), None),
    )
    found = changes_of([at(0, 88.0, estimates=before), at(40, 86.5, estimates=after)])
    assert found is not None
    assert found.moved == (
        Moved("charge_ratio/1", 57.0, 56.2, 3, (5, 7)),
        Moved("full_span/1", None, 56.0, 1, (7,)),
    )
    gone = changes_of([at(0, 88.0, estimates=before), at(40, 86.5, estimates=(replace(before[0], capacity_ah=None),))])
    assert gone is not None
    assert [(move.method, move.now_ah) for move in gone.moved] == [("charge_ratio/1", None)]
