"""What commands say of hand-overs: a line for people, an object for programs."""

from __future__ import annotations

from typing import Any

from packbook.core.custody import Chain
from packbook.core.handover import Statement
from packbook.core.lifecycle import LifeCycle


def line(told: Statement) -> str:
    kept = told.giver == told.taker
    went = (
        f"{told.taker.name} ({told.role}) holds it" if kept else f"{told.giver.name} -> {told.taker.name} ({told.role})"
    )
    more = [f"passport {told.passport_id}"] if told.passport_id else []
    more += ["recycled"] if told.recycled else []
    return ", ".join([f"battery {told.battery}: {went}", told.status, *more, *told.documents])


def as_json(number: int, told: Statement, digest: bytes) -> dict[str, Any]:
    return {
        "number": number,
        "digest": digest.hex(),
        "battery": told.battery,
        "on": told.on,
        "from": {"name": told.giver.name, "did": told.giver.did},
        "to": {"name": told.taker.name, "did": told.taker.did, "role": told.role},
        "status": told.status,
        "category": told.category,
        "passport": told.passport_id,
        "passport_before": list(told.passport_before),
        "documents": list(told.documents),
        "recycled": told.recycled,
        "rules": told.rules,
    }


def in_words(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {told}" for name, told in value.items())
    if isinstance(value, list):
        return "; ".join(in_words(one) for one in value) or "none"
    if value is None:
        return "not known"
    return str(value) if not isinstance(value, bool) else "yes" if value else "no"


def standing(battery: str, chain: Chain, law: LifeCycle) -> dict[str, Any]:
    """What a battery counts as now, its passports, and what may come next."""
    last = chain.last
    told: dict[str, Any] = {"battery": battery, "status": None, "holder": None}
    if last is None:
        return told | {"why": "no hand-over was written down; 'packbook declare' may have said more"}
    return {
        "battery": battery,
        "status": last.status,
        "recycled": last.recycled,
        "holder": {"name": last.taker.name, "role": last.role, "did": last.taker.did, "since": last.on},
        "passport": chain.passport_id,
        "passports_closed": [{"id": before, "on": on} for before, on in chain.closed],
        "may_follow": [] if last.recycled else list(law.next_of(last.status)),
        "rules": law.version,
    }
