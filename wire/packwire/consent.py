"""What may be told under which consent: one rule, kept by the box when it seals and by the book when it takes in.

In:  a record's kind, the event it tells if it is one, and the purposes that the owner agrees to.
Out: whether the record is within them.
Always within: who speaks (hello), what is agreed (consent), how the box is (health, events of the box itself). They say
nothing of how somebody drives, and without them nobody could tell a silent box from a stolen one.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum
from functools import cache
from typing import Final

from packwire.messages import EventKind, Kind


class Purpose(StrEnum):
    HISTORY = "history"  # everything, drive by drive, for the owner himself
    PASSPORT = "passport"  # the battery's state and sums, to be shown to others
    POLLING = "polling"  # the box may ask the car, not only listen
    DIAGNOSTICS = "diagnostics"  # lines of the box's log, for whoever looks for a fault


# What holds where nobody has decided: the box was installed to keep its owner's history, and for nothing else.
UNDECIDED: Final = frozenset({Purpose.HISTORY})

_OF_THE_BOX: Final = frozenset({Kind.HELLO, Kind.CONSENT, Kind.HEALTH})
_EVENTS_OF_THE_BOX: Final = frozenset(
    {
        EventKind.CLOCK_SET,
        EventKind.TIME_BACK,
        EventKind.STORE_BEGUN,
        EventKind.WRONG_PROFILE,
        EventKind.DATA_LOST,
        EventKind.CONFIG_APPLIED,
        EventKind.CONFIG_REFUSED,
        EventKind.CONFIG_UNDONE,
        EventKind.COMMAND_DONE,
        EventKind.COMMAND_REFUSED,
    }
)
_NEEDS: Final = {
    Kind.CHARGE: frozenset({Purpose.HISTORY}),
    Kind.DRIVE: frozenset({Purpose.HISTORY}),
    Kind.REST: frozenset({Purpose.HISTORY}),
    Kind.LOG: frozenset({Purpose.DIAGNOSTICS}),
}
_OF_THE_BATTERY: Final = frozenset({Purpose.HISTORY, Purpose.PASSPORT})  # either is enough


@cache
def needed_for(kind: Kind, event: EventKind | None = None) -> frozenset[Purpose]:
    """Any one of these purposes is enough; none is needed where the set is empty."""
    if kind in _OF_THE_BOX or (kind is Kind.EVENT and event in _EVENTS_OF_THE_BOX):
        return frozenset()
    return _NEEDS.get(kind, _OF_THE_BATTERY)


def is_within(purposes: Collection[str], kind: Kind, event: EventKind | None = None) -> bool:
    needed = needed_for(kind, event)
    return not needed or not needed.isdisjoint(purposes)
