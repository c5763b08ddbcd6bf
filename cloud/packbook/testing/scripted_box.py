"""A box without a car: it seals whatever messages it is told to, with a real key and a real chain.

In:  messages of the wire contract.
Out: sealed records and the arrivals a collector would see.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cache
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from packbook.core.intake import Arrival
from packwire.ids import BootId, BoxId, StoreId, box_id_of, key_id_of
from packwire.messages import (
    Charge,
    ChargeKind,
    Drive,
    EstimateItem,
    Event,
    EventKind,
    Hello,
    Message,
    Rest,
    Soh,
    SohState,
    Usage,
)
from packwire.seal import NO_PREVIOUS, Envelope, digest, seal
from packwire.topics import Leaf, topic

HOUR_MS: Final = 3_600_000
SOME_DAY_MS: Final = 1_790_000_000_000  # a day in 2026
RECEIVED_MS: Final = SOME_DAY_MS + 1000 * HOUR_MS


def _id(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


@cache
def _key_of(name: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())


@cache
def _public_key_of(name: str) -> bytes:
    return _key_of(name).public_key().public_bytes_raw()


@dataclass(slots=True)
class ScriptedBox:
    """One store of one box. The same `name` gives the same key; the same `store` the same store id."""

    name: str = "alfa"
    store_name: str = "first"
    clock_set: bool = True
    mono_ms: int = 60_000
    boot_name: str = "boot-1"
    seq: int = 0
    previous: bytes = NO_PREVIOUS
    sealed: list[bytes] = field(default_factory=list)
    sessions: int = 0

    @property
    def key(self) -> Ed25519PrivateKey:
        return _key_of(self.name)

    @property
    def public_key(self) -> bytes:
        return _public_key_of(self.name)

    @property
    def box(self) -> BoxId:
        return box_id_of(self.public_key)

    @property
    def store(self) -> StoreId:
        return StoreId(_id("store", self.name, self.store_name))

    @property
    def boot(self) -> BootId:
        return BootId(_id("boot", self.name, self.boot_name))

    @property
    def wall_ms(self) -> int:
        """True time, whether the box's clock is set or not."""
        return SOME_DAY_MS + self.mono_ms

    def say(self, message: Message) -> bytes:
        """Seal the next record of the chain."""
        self.seq += 1
        self.mono_ms += HOUR_MS
        envelope = Envelope(
            box=self.box,
            store=self.store,
            seq=self.seq,
            previous=self.previous,
            boot=self.boot,
            mono_ms=self.mono_ms,
            wall_ms=self.wall_ms if self.clock_set else None,
        )
        sealed = seal(message, envelope, self.key.sign, key_id_of(self.public_key))
        self.previous = digest(sealed)
        self.sealed.append(sealed)
        return sealed

    def hello(self, battery: str = "BAT-1", **more: object) -> bytes:
        fields: dict[str, object] = {
            "battery_source": "configured",
            "vehicle": "Leaf",
            "software": "0.1.0",
            "profile": "nissan-leaf",
            "variant": "ze0",
            "pack": "leaf-24",
            "reference_ah": 66.0,
            "reference_source": "maker",
            "cells_in_series": 96,
            "chemistry": "lmo",
            "nominal_kwh": 24.0,
        }
        return self.say(msgspec.convert({"public_key": self.public_key, "battery": battery, **fields, **more}, Hello))

    def charge(self, energy_in_wh: float = 9000.0) -> bytes:
        self.sessions += 1
        return self.say(
            Charge(
                session=self.sessions,
                boot=self.boot,
                start_mono_ms=self.mono_ms,
                start_wall_ms=self.wall_ms if self.clock_set else None,
                duration_s=3000.0,
                observed_s=2990.0,
                soc_start_pct=40.0,
                soc_end_pct=80.0,
                charge_in_ah=24.0,
                energy_in_wh=energy_in_wh,
                current_max_a=16.0,
                temp_mean_degc=18.5,
                charge_kind=ChargeKind.AC,
                power_max_kw=6.0,
            )
        )

    def drive(self, distance_km: float = 12.0) -> bytes:
        self.sessions += 1
        return self.say(
            Drive(
                session=self.sessions,
                boot=self.boot,
                start_mono_ms=self.mono_ms,
                start_wall_ms=self.wall_ms if self.clock_set else None,
                duration_s=1200.0,
                observed_s=1200.0,
                charge_out_ah=5.5,
                energy_out_wh=2000.0,
                distance_km=distance_km,
            )
        )

    def rest(self) -> bytes:
        self.sessions += 1
        return self.say(
            Rest(
                session=self.sessions,
                boot=self.boot,
                start_mono_ms=self.mono_ms,
                start_wall_ms=self.wall_ms if self.clock_set else None,
                duration_s=3600.0,
                unseen_s=3500.0,
            )
        )

    def usage(self, charge_in_ah: float = 100.0, charges_ac: int = 4) -> bytes:
        return self.say(
            Usage(
                observed_s=10_000.0,
                charge_in_ah=charge_in_ah,
                charge_out_ah=charge_in_ah * 0.9,
                energy_in_wh=36_000.0,
                equivalent_full_cycles=charge_in_ah / 66,
                charges_ac=charges_ac,
                odometer_km=1000.0 + charge_in_ah,
                soc_temp_s=(0, 0, 0, 600, 0, 1200),
                c_rate_temp_s=(0, 30),
                depth_counts=(4, 0, 1),
                events=(("cell_low", 1),),
                first_wall_ms=SOME_DAY_MS,
            )
        )

    def soh(self, soh_pct: float = 88.0) -> bytes:
        estimate = EstimateItem(method="bms_value/1", capacity_ah=58.0, sigma_ah=1.5, n=7, evidence=(1, 2))
        return self.say(
            Soh(
                state=SohState.OK,
                soh_pct=soh_pct,
                sigma_pct=1.0,
                lo90_pct=soh_pct - 1.6,
                hi90_pct=soh_pct + 1.6,
                capacity_ah=58.0,
                reference_ah=66.0,
                reference_source="maker",
                basis="bms-value",
                method="weigh/1",
                estimates=(estimate,),
                observed_s=10_000.0,
            )
        )

    def event(self, kind: EventKind = EventKind.CELL_LOW, **more: object) -> bytes:
        return self.say(msgspec.convert({"event": kind, **more}, Event))

    def clock_anchor(self) -> bytes:
        """The network came: from here on the box knows the date."""
        self.clock_set = True
        return self.event(EventKind.CLOCK_SET, boot=self.boot, mono_ms=self.mono_ms, wall_ms=self.wall_ms, extreme=20.0)

    def life(self) -> list[bytes]:
        """A short life: one of each message that a view shows."""
        begin = len(self.sealed)
        self.hello()
        self.drive()
        self.charge()
        self.rest()
        self.usage()
        self.soh()
        self.event()
        return self.sealed[begin:]

    @property
    def arrivals(self) -> list[Arrival]:
        """Everything said so far, as a collector sees it."""
        return [arrival(self.box, sealed) for sealed in self.sealed]


def arrival(box: BoxId, sealed: bytes, received_ms: int = RECEIVED_MS) -> Arrival:
    return Arrival(topic(box, Leaf.RECORD), sealed, received_ms)
