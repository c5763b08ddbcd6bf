"""Say an alert in words: what it is, what was seen, and what to do about it.

In:  an alert, `Words`. Out: plain text. A detail that is not there (an alert of an older version) is a dash.
"""

from __future__ import annotations

from packbook.core.alerts import Alert
from packbook.core.words import ABSENT, Words

_MOMENTS = ("last_seen_ms", "at_ms", "from_ms", "until_ms")
_FIGURES = ("free_mb", "dropped", "dropped_pct", "drop_pct", "fade_pct", "messages", "times", "disputed_from")
_DIGITS = {"dropped_pct": 2, "fade_pct": 1}


def alert_title(t: Words, alert: Alert) -> str:
    return t(f"alert.title.{alert.kind}")


def alert_text(t: Words, alert: Alert) -> str:
    """One sentence or two, with the figures."""
    told = alert.detail
    cause = told.get("cause")
    key = f"alert.text.{alert.kind}" + (f"_{cause}" if cause else "")
    said = {name: _moment(t, told.get(name)) for name in _MOMENTS}
    said |= {name: _number(t, told.get(name), _DIGITS.get(name, 0)) for name in _FIGURES}
    said["event"] = t.or_raw("event", str(told.get("event", ABSENT)))
    said["reason"] = t.or_raw("fleet.reason", str(told.get("reason", ABSENT)))
    template = t.or_raw("alert.text", key.removeprefix("alert.text."))
    return template.format(
        box=alert.box or ABSENT, store=alert.store or ABSENT, battery=alert.battery or ABSENT, **said
    )


def alert_advice(t: Words, alert: Alert) -> str:
    return t(f"alert.advice.{alert.kind}")


def alert_severity(t: Words, alert: Alert) -> str:
    return t(f"alert.severity.{alert.severity}")


def alert_state(t: Words, alert: Alert) -> str:
    return t(f"alert.state.{alert.state}")


def alerts_subject(t: Words, raised: int, cleared: int) -> str:
    """Of a message about many at once."""
    return t("alert.message.subject", raised=t.number(raised), cleared=t.number(cleared))


def alerts_more(t: Words, more: int) -> str:
    return t("alert.message.more", n=t.number(more))


def _moment(t: Words, at_ms: object) -> str:
    return t.moment(at_ms) if isinstance(at_ms, int) else ABSENT


def _number(t: Words, value: object, digits: int) -> str:
    return t.number(value, digits) if isinstance(value, int | float) else ABSENT
