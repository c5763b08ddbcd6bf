"""What was refused, and who did what: messages in quarantine and one list of all acts, as operators look at them.

In:  parameters of an address. Out: queries, and the plain values that answer them.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from packbook.core.fleet_table import TEXT_MAX, Parameters, within
from packbook.core.intake import Fate, Reason

ROWS_PER_PAGE: Final = 50
PAGE_MAX: Final = 1000


class Trail(StrEnum):
    """Where an act was written down."""

    READ = "read"  # who read what
    ENROL = "enrol"  # codes, boxes, certificates
    QUARANTINE = "quarantine"
    ACCOUNT = "account"


@dataclass(frozen=True, slots=True)
class AuditQuery:
    trail: Trail | None = None
    who: str = ""
    about: str = ""  # a battery, box, fleet or account
    from_ms: int | None = None
    until_ms: int | None = None
    page: int = 1


def read_audit_query(parameters: Parameters) -> AuditQuery:
    """What cannot be understood is not asked for. Days are UTC, both ends included."""
    said = {name: value.strip() for name, value in reversed(parameters) if value.strip()}
    until = day_ms(said.get("until", ""))
    page = within(said.get("page", "1"), 1, PAGE_MAX)
    return AuditQuery(
        trail=next((trail for trail in Trail if trail == said.get("trail")), None),
        who=said.get("who", "")[:TEXT_MAX],
        about=said.get("about", "")[:TEXT_MAX],
        from_ms=day_ms(said.get("from", "")),
        until_ms=None if until is None else until + DAY_MS - 1,
        page=int(page) if page is not None else 1,
    )


DAY_MS: Final = 86_400_000


def day_ms(text: str) -> int | None:
    """The beginning of a UTC day written as 2026-11-22. None: it is none."""
    try:
        day = datetime.datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=datetime.UTC)
    except ValueError:
        return None
    return round(day.timestamp() * 1000)


@dataclass(frozen=True, slots=True)
class AuditRow:
    """`about` None: the whole book."""

    at_ms: int
    trail: Trail
    act: str
    who: str | None
    about: str | None
    detail: str


@dataclass(frozen=True, slots=True)
class MessageQuery:
    reason: Reason | None = None
    box: str = ""
    fate: Fate | None = Fate.OPEN  # None: whatever became of it
    page: int = 1


def read_message_query(parameters: Parameters) -> MessageQuery:
    said = {name: value.strip() for name, value in reversed(parameters) if value.strip()}
    page = within(said.get("page", "1"), 1, PAGE_MAX)
    fate = said.get("fate", Fate.OPEN)
    return MessageQuery(
        reason=next((reason for reason in Reason if reason == said.get("reason")), None),
        box=said.get("box", "")[:TEXT_MAX],
        fate=None if fate == "all" else next((each for each in Fate if each == fate), Fate.OPEN),
        page=int(page) if page is not None else 1,
    )


@dataclass(frozen=True, slots=True)
class MessageLine:
    id: int
    received_ms: int
    last_ms: int
    times: int
    reason: str
    detail: str
    topic: str
    box: str | None
    store: str | None
    seq: int | None
    fate: str


@dataclass(frozen=True, slots=True)
class MessageAct:
    at_ms: int
    act: str
    who: str
    why: str


@dataclass(frozen=True, slots=True)
class MessageDetail:
    line: MessageLine
    digest: bytes
    payload: bytes
    acts: Sequence[MessageAct]


@dataclass(frozen=True, slots=True)
class DisputeLine:
    """A store with two histories."""

    box: str
    store: str
    battery: str | None
    from_seq: int
    since_ms: int
    held_out: int
    settled_ms: int | None


@dataclass(frozen=True, slots=True)
class Messages:
    """`counts`: open messages by reason, in the whole reach."""

    lines: Sequence[MessageLine]
    total: int
    counts: Mapping[str, int]
    disputes: Sequence[DisputeLine]


@dataclass(frozen=True, slots=True)
class CodeLine:
    """A one-time code on file; `digest` tells one from another and is of no use to who finds it."""

    digest: str
    fleet: str
    made_ms: int
    expires_ms: int
    replaces: str | None
    used_ms: int | None
    used_by: str | None

    def state(self, now_ms: int) -> str:
        if self.used_by is not None:
            return "used"
        return "expired" if self.expires_ms <= now_ms else "open"
