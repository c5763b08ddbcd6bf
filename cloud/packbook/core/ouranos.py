"""A battery as a part of the Ouranos Ecosystem: what is sent to register one, and what its answer must say.

In:  who registers (operator, plant: the platform's UUIDs), the battery's model and its id.
Out: the platform's `PartsModel`; from the answer the trace id, which the platform gives.
Registering is all there is: the platform has no place for a battery's condition (facts/passport.md §8), and its notes
on this call warn that changing a part that has children takes them away. So a part is made once and never changed.
The platform gives one trace id per operator, plant, name and support name: asking twice gives the same one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

NAME_MAX: Final = 50
SCHEME: Final = "ouranos"  # of the identifier that the trace id becomes
UNIT: Final = "unit"  # of the platform's closed list; a whole thing is counted


class NotAPart(ValueError):
    """The battery cannot be registered as it is, or the answer is not about it. It says why."""


@dataclass(frozen=True, slots=True)
class PartEntry:
    operator_id: str
    plant_id: str
    model: str
    battery: str


def parts_model(entry: PartEntry) -> dict[str, Any]:
    """Raises NotAPart."""
    for name, text in (("model", entry.model), ("battery", entry.battery)):
        if not 1 <= len(text) <= NAME_MAX:
            raise NotAPart(f"{name}: {len(text)} characters; the platform takes 1 to {NAME_MAX}")
    return {
        "operatorId": _uuid("operator_id", entry.operator_id),
        "plantId": _uuid("plant_id", entry.plant_id),
        "traceId": None,  # make one
        "partsName": entry.model,
        "supportPartsName": entry.battery,
        "terminatedFlag": False,
        "amountRequired": None,  # of a parent part the platform wants none
        "amountRequiredUnit": UNIT,
    }


def trace_id(answer: object, asked: Mapping[str, Any]) -> str:
    """Raises NotAPart."""
    if not isinstance(answer, dict):
        raise NotAPart("the answer is no part")
    for name in ("operatorId", "plantId", "partsName", "supportPartsName"):
        if answer.get(name) != asked[name]:
            raise NotAPart(f"the answer is about another part: {name} differs")
    return _uuid("traceId", answer.get("traceId"))


def _uuid(name: str, text: object) -> str:
    try:
        found = str(UUID(str(text)))
    except ValueError:
        raise NotAPart(f"{name}: {text!r} is not a UUID") from None
    if found != text:
        raise NotAPart(f"{name}: {text!r} is not written as a UUID in small letters with hyphens")
    return found
