"""One battery as Home Assistant's MQTT integration discovers it: a device, its sensors, their state.

In:  what the book holds of the battery now.
Out: the discovery message (device based: Home Assistant 2024.12 and later) and the state message, as JSON values.
Unknown is null, which Home Assistant shows as unknown. Figures of a history in dispute are not told, and SoH is told
no finer than its interval supports.

Facts: https://www.home-assistant.io/integrations/mqtt/ "Device discovery payload"; which shared options stand at the
root: homeassistant/components/mqtt/schemas.py, DEVICE_DISCOVERY_SCHEMA; device classes, units and state classes that
go together: https://developers.home-assistant.io/docs/core/entity/sensor (energy knows no state class `measurement`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from packbook.core import rounding
from packbook.core.history import Battery, BoxRow, SessionRow, SohPoint, UsageTotals
from packbook.core.words import iso

Language = Literal["en", "ja"]
Json = dict[str, object]

ONLINE: Final = b"online"  # what Home Assistant takes for available where nothing else is said
OFFLINE: Final = b"offline"
NODE_KEY_BYTES: Final = 4  # of the book's key: tells two books at one broker apart
NAME_DIGEST: Final = 6
WH_PER_KWH: Final = 1000.0
DIAGNOSTIC: Final = {"entity_category": "diagnostic"}


@dataclass(frozen=True, slots=True)
class Shown:
    """What is told of one battery. `sessions`: its newest first, enough to hold a charge."""

    battery: Battery
    usage: UsageTotals | None
    sessions: Sequence[SessionRow]
    charge: SessionRow | None
    boxes: Sequence[BoxRow]


@dataclass(frozen=True, slots=True)
class Entity:
    key: str
    names: Mapping[Language, str]
    config: Mapping[str, object]
    platform: str = "sensor"


def _percent(**more: object) -> dict[str, object]:
    return {
        "unit_of_measurement": "%",
        "state_class": "measurement",
        "suggested_display_precision": 1,
    } | more


ENTITIES: Final = (
    Entity("soh_pct", {"en": "State of health", "ja": "健全度 (SoH)"}, _percent(icon="mdi:battery-heart-variant")),
    Entity("lo90_pct", {"en": "State of health, lower end", "ja": "健全度の下限"}, _percent(**DIAGNOSTIC)),
    Entity("hi90_pct", {"en": "State of health, upper end", "ja": "健全度の上限"}, _percent(**DIAGNOSTIC)),
    Entity("soc_pct", {"en": "Charge last seen", "ja": "最後に確認した充電率"}, _percent(device_class="battery")),
    Entity("soc_at", {"en": "Charge seen at", "ja": "充電率の確認時刻"}, {"device_class": "timestamp"} | DIAGNOSTIC),
    Entity(
        "odometer_km",
        {"en": "Odometer", "ja": "走行距離計"},
        {"device_class": "distance", "unit_of_measurement": "km", "state_class": "total_increasing"},
    ),
    Entity(
        "last_charge_kwh",
        {"en": "Last charge", "ja": "直近の充電量"},
        {"device_class": "energy", "unit_of_measurement": "kWh", "suggested_display_precision": 1},
    ),
    Entity(
        "charged_kwh",
        {"en": "Charged in all", "ja": "総充電量"},
        {"device_class": "energy", "unit_of_measurement": "kWh", "state_class": "total_increasing"},
    ),
    Entity(
        "box",
        {"en": "Box", "ja": "車載ボックス"},
        {"device_class": "connectivity"} | DIAGNOSTIC,
        platform="binary_sensor",
    ),
)


@dataclass(frozen=True, slots=True)
class Topics:
    """Where one book speaks. `prefix`: Home Assistant's discovery prefix."""

    prefix: str
    node: str

    @property
    def status(self) -> str:
        """Whether the book is there; the broker says so for us when the connection breaks."""
        return f"{self.node}/status"

    @property
    def configs(self) -> str:
        """Every device that this book ever told of, for a subscription."""
        return f"{self.prefix}/device/{self.node}/+/config"

    def config(self, battery: str) -> str:
        return f"{self.prefix}/device/{self.node}/{object_id(battery)}/config"

    def state(self, battery: str) -> str:
        return f"{self.node}/{object_id(battery)}/state"

    def state_beside(self, config: str) -> str:
        """The state topic of a device known by its discovery topic alone."""
        return f"{self.node}/{config.split('/')[-2]}/state"


def topics_of(prefix: str, book_key: bytes) -> Topics:
    return Topics(prefix, f"packbook_{book_key[:NODE_KEY_BYTES].hex()}")


def object_id(battery: str) -> str:
    """Letters, digits, _ and - alone, and still one for each battery."""
    digest = hashlib.sha256(battery.encode()).hexdigest()[:NAME_DIGEST]
    return f"{re.sub(r'[^A-Za-z0-9_-]', '_', battery)}_{digest}"


def discovery(shown: Shown, topics: Topics, language: Language, version: str, page: str | None) -> Json:
    """`page`: the address of the pages, for the device's link; None: they have none that others reach."""
    battery = shown.battery
    name = object_id(battery.battery)
    device: Json = {
        "identifiers": [f"{topics.node}_{name}"],
        "name": battery.vehicle or battery.battery,
        "manufacturer": "Packbook",
        "model": " ".join(filter(None, (battery.profile, battery.pack))),
        "sw_version": battery.software,
    }
    if page is not None:
        device["configuration_url"] = page
    return {
        "device": device,
        "origin": {"name": "Packbook", "sw_version": version},
        "components": {entity.key: _component(entity, topics, name, language) for entity in ENTITIES},
        "state_topic": topics.state(battery.battery),
        "availability_topic": topics.status,
        "qos": 1,
    }


def state(shown: Shown) -> Json:
    sure = not shown.battery.doubts
    seen = next((row for row in shown.sessions if _soc(row) is not None), None)
    usage = shown.usage if sure else None
    return _soh(shown.battery.soh if sure else None) | {
        "soc_pct": None if seen is None else _soc(seen),
        "soc_at": None if seen is None else _ended_at(seen),
        "odometer_km": None if usage is None else usage.odometer_km,
        "last_charge_kwh": None if shown.charge is None else _kwh(shown.charge.energy_in_wh),
        "charged_kwh": None if usage is None else _kwh(usage.energy_ac_in_wh + usage.energy_dc_in_wh),
        "box": _online(shown.boxes),
    }


def _soh(point: SohPoint | None) -> Json:
    if point is None or point.soh_pct is None or point.lo90_pct is None or point.hi90_pct is None:
        return dict.fromkeys(("soh_pct", "lo90_pct", "hi90_pct"))
    read = rounding.shown(point.soh_pct, point.lo90_pct, point.hi90_pct)
    return {"soh_pct": read.value_pct, "lo90_pct": read.lo_pct, "hi90_pct": read.hi_pct}


def _component(entity: Entity, topics: Topics, name: str, language: Language) -> Json:
    return {
        "platform": entity.platform,
        "unique_id": f"{topics.node}_{name}_{entity.key}",
        "name": entity.names[language],
        "value_template": f"{{{{ value_json.{entity.key} }}}}",
        **entity.config,
    }


def _soc(row: SessionRow) -> float | None:
    """As the dashboard shows it, which is what its owner knows."""
    return row.soc_end_pct if row.soc_shown_end_pct is None else row.soc_shown_end_pct


def _ended_at(row: SessionRow) -> str | None:
    return None if row.start_ms is None else iso(row.start_ms + round(row.duration_s * 1000))


def _online(boxes: Sequence[BoxRow]) -> str | None:
    """ON while any box that watches it is there; None: none of them ever said."""
    known = [box.online for box in boxes if box.online is not None]
    return None if not known else "ON" if any(known) else "OFF"


def _kwh(energy_wh: float) -> float:
    return round(energy_wh / WH_PER_KWH, 3)
