"""A record as the box keeps it: sealed bytes plus the few columns the journal and the outbox need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NewType

BoxId = NewType("BoxId", str)
StoreId = NewType("StoreId", str)
BatteryId = NewType("BatteryId", str)


@dataclass(frozen=True, slots=True)
class SealedRow:
    seq: int  # from 1, without holes, within one store
    kind: int  # packwire message kind number
    session: int | None  # session number, for charge, drive and rest
    mono_ms: int
    wall_ms: int | None
    sealed: bytes  # exactly what travels


@dataclass(frozen=True, slots=True)
class ChainHead:
    """Where the next record of a store goes."""

    box: BoxId
    store: StoreId
    next_seq: int
    previous: bytes  # digest of the newest record, zeros before the first
