"""The tables of the book, as SQLAlchemy Core. Revisions of `adapters.migrations` make them; a test compares both.

Nine families. Evidence: `ledger` with `seen`, `box_key`, `quarantine`, `quarantine_act`, `checkpoint`, for good.
Projections: `chain` and everything keyed by a battery; `packbook rebuild` makes them anew from the ledger. Learned from
these, and kept: `fleet_model`. Who may speak: `enrol_code`, `enrolled_box`, `certificate`, `enrol_act`. Who may read,
and who read: `share_link`, `read_note`, `battery_name`; who may sign in stands in `store.account_tables`. What was
signed for others: `credential`. Who held a battery, signed by those who did: `custody`. What operators are alerted to:
`alert...`. Presence: `box`, latest only, and `heartbeat`.
Columns carry the names of the `core.history` values they hold.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

metadata: Final = sa.MetaData()

_ID: Final = sa.String(16)  # box, store or boot: 16 hex digits
_NAME: Final = sa.String(64)  # battery
_MS: Final = sa.BigInteger
_ROW_ID: Final = sa.BigInteger().with_variant(sa.Integer, "sqlite")  # only INTEGER counts up by itself there


def _place() -> list[sa.Column[object]]:
    """Provenance: which record this row came from."""
    return [
        sa.Column("box", _ID, primary_key=True),
        sa.Column("store", _ID, primary_key=True),
        sa.Column("seq", _MS, primary_key=True, autoincrement=False),
    ]


def _moment() -> list[sa.Column[object]]:
    """When, by the box's clocks: what a later clock anchor needs to date an undated row."""
    return [
        sa.Column("boot", _ID, nullable=False),
        sa.Column("mono_ms", _MS, nullable=False),
        sa.Column("wall_ms", _MS),
    ]


# --- evidence ---------------------------------------------------------------------------------------------------

ledger: Final = sa.Table(
    "ledger",
    metadata,
    *_place(),
    sa.Column("previous", sa.LargeBinary(16), nullable=False),
    sa.Column("digest", sa.LargeBinary(16), nullable=False),
    sa.Column("kind", sa.Integer, nullable=False),
    *_moment(),
    sa.Column("received_ms", _MS, nullable=False),
    sa.Column("sealed", sa.LargeBinary, nullable=False),
)

seen: Final = sa.Table(
    "seen",  # what the ledger holds, narrow: that of PostgreSQL is cut by month, and only this has one key for all
    metadata,
    *_place(),
    sa.Column("digest", sa.LargeBinary(16), nullable=False),
    sa.Column("received_ms", _MS, nullable=False),
    info={"view": "sqlite"},  # of the ledger, whose own key does it there (docs/decisions/ledger-by-month.md)
)

box_key: Final = sa.Table(
    "box_key",
    metadata,
    sa.Column("box", _ID, primary_key=True),
    sa.Column("key_id", sa.LargeBinary(4), primary_key=True),
    sa.Column("public_key", sa.LargeBinary(32), nullable=False),
    sa.Column("received_ms", _MS, nullable=False),
)

quarantine: Final = sa.Table(
    "quarantine",
    metadata,
    sa.Column("id", _ROW_ID, primary_key=True, autoincrement=True),
    sa.Column("received_ms", _MS, nullable=False),  # first time
    sa.Column("topic", sa.Text, nullable=False),
    sa.Column("reason", sa.String(32), nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("digest", sa.LargeBinary(32), nullable=False),  # SHA-256 over topic and payload
    sa.Column("payload", sa.LargeBinary, nullable=False),
    sa.Column("times", _MS, nullable=False),  # the same message again is counted, not kept again
    sa.Column("last_ms", _MS, nullable=False),
    sa.Column("box", _ID),  # whose topic it came on, if that is one of ours
    sa.Column("store", _ID),  # of a record that the box's key did sign: the place it claims
    sa.Column("seq", _MS),
    sa.Column("state", sa.String(8), nullable=False, server_default="open"),  # core.intake.Fate
    sa.UniqueConstraint("digest", name="quarantine_digest"),
    sa.Index("quarantine_by_box", "box", "state"),
)

quarantine_act: Final = sa.Table(
    "quarantine_act",  # what operators did about it; a row for each act, for good
    metadata,
    sa.Column("id", _ROW_ID, primary_key=True, autoincrement=True),
    sa.Column("at_ms", _MS, nullable=False),
    sa.Column("act", sa.String(16), nullable=False),
    sa.Column("who", sa.Text, nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("item", _MS),  # quarantine.id
    sa.Column("digest", sa.LargeBinary(32)),  # of that message, also when its bytes were dropped
    sa.Column("box", _ID),
    sa.Column("store", _ID),
)

checkpoint: Final = sa.Table(
    "checkpoint",  # what the book signed that it held; never changed
    metadata,
    sa.Column("box", _ID, primary_key=True),
    sa.Column("store", _ID, primary_key=True),
    sa.Column("upto", _MS, primary_key=True, autoincrement=False),
    sa.Column("battery", _NAME, nullable=False),  # of record `upto`
    sa.Column("at_ms", _MS, nullable=False),
    sa.Column("signed", sa.LargeBinary, nullable=False),
)

# --- learned from the projections, version by version: what a forecast rested on stays -------------------------

fleet_model: Final = sa.Table(
    "fleet_model",
    metadata,
    sa.Column("family", _NAME, primary_key=True),  # the pack's name in its profile
    sa.Column("version", sa.String(32), primary_key=True),
    sa.Column("learned_ms", _MS, nullable=False),  # last time that it came out
    sa.Column("newest_ms", _MS, nullable=False),  # newest reading learned from
    sa.Column("model", sa.JSON, nullable=False),
)

# --- projections ------------------------------------------------------------------------------------------------

chain: Final = sa.Table(
    "chain",
    metadata,
    sa.Column("box", _ID, primary_key=True),
    sa.Column("store", _ID, primary_key=True),
    sa.Column("upto", _MS, nullable=False),  # 1..upto is held and projected
    sa.Column("top", _MS, nullable=False),  # highest held; above upto there are holes
    sa.Column("records", _MS, nullable=False),
    sa.Column("battery", _NAME),  # whose records these are since `installed`
    sa.Column("installed", _MS),  # seq of the hello that began it
    sa.Column("head", sa.LargeBinary(16)),  # digest of record upto
    sa.Column("disputed_from", _MS),  # two histories have this store's name: from here on none enters the projections
    sa.Column("disputed_ms", _MS),
    sa.Column("settled_ms", _MS),  # an operator knows and leaves it at that
    sa.Column("purposes", sa.Text),  # what the owner agreed to last, in words; NULL: nobody decided
)

battery: Final = sa.Table(
    "battery",
    metadata,
    sa.Column("battery", _NAME, primary_key=True),
    sa.Column("records", _MS, nullable=False),
    sa.Column("charges", _MS, nullable=False),
    sa.Column("drives", _MS, nullable=False),
    sa.Column("rests", _MS, nullable=False),
)

battery_tenant: Final = sa.Table(
    "battery_tenant",  # who sees it (store.tenants); never made anew, for it remembers whose it was
    metadata,
    sa.Column("battery", _NAME, primary_key=True),
    sa.Column("tenant", _NAME, nullable=False),
    sa.Column("box", _ID, nullable=False),
    sa.Index("battery_tenant_by_tenant", "tenant", "battery"),
    sa.Index("battery_tenant_by_box", "box"),
)

installation: Final = sa.Table(
    "installation",
    metadata,
    *_place(),  # of the hello that began it
    sa.Column("battery", _NAME, nullable=False),
    sa.Column("hello_seq", _MS, nullable=False),  # the newest hello of this installation: the facts below are from it
    *_moment(),
    sa.Column("from_ms", _MS),
    sa.Column("battery_source", sa.Text, nullable=False),
    sa.Column("vehicle", sa.Text),
    sa.Column("profile", sa.Text, nullable=False),
    sa.Column("variant", sa.Text),
    sa.Column("pack", sa.Text),
    sa.Column("chemistry", sa.Text),
    sa.Column("cells_in_series", _MS),
    sa.Column("nominal_kwh", sa.Double),
    sa.Column("reference_ah", sa.Double),
    sa.Column("reference_source", sa.Text),
    sa.Column("software", sa.Text, nullable=False),
)

session: Final = sa.Table(
    "session",
    metadata,
    *_place(),
    sa.Column("battery", _NAME, nullable=False),
    *_moment(),
    sa.Column("kind", sa.String(8), nullable=False),
    sa.Column("session", _MS, nullable=False),
    sa.Column("start_ms", _MS),
    sa.Column("duration_s", sa.Double, nullable=False),
    sa.Column("observed_s", sa.Double, nullable=False),
    sa.Column("interrupted", sa.Boolean, nullable=False),
    sa.Column("soc_start_pct", sa.Double),
    sa.Column("soc_end_pct", sa.Double),
    sa.Column("soc_shown_start_pct", sa.Double),
    sa.Column("soc_shown_end_pct", sa.Double),
    sa.Column("charge_in_ah", sa.Double, nullable=False),
    sa.Column("charge_out_ah", sa.Double, nullable=False),
    sa.Column("energy_in_wh", sa.Double, nullable=False),
    sa.Column("energy_out_wh", sa.Double, nullable=False),
    sa.Column("current_max_a", sa.Double),
    sa.Column("current_min_a", sa.Double),
    sa.Column("cell_voltage_min_v", sa.Double),
    sa.Column("cell_voltage_max_v", sa.Double),
    sa.Column("temp_min_degc", sa.Double),
    sa.Column("temp_mean_degc", sa.Double),
    sa.Column("temp_max_degc", sa.Double),
    sa.Column("odometer_end_km", sa.Double),
    sa.Column("charge_kind", sa.String(8)),
    sa.Column("segments", _MS),
    sa.Column("power_max_kw", sa.Double),
    sa.Column("distance_km", sa.Double),
    sa.Column("energy_regenerated_wh", sa.Double),
    sa.Column("curve", sa.JSON(none_as_null=True)),
)

soh_point: Final = sa.Table(
    "soh_point",
    metadata,
    *_place(),
    sa.Column("battery", _NAME, nullable=False),
    *_moment(),
    sa.Column("at_ms", _MS),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("why", sa.Text),
    sa.Column("soh_pct", sa.Double),
    sa.Column("sigma_pct", sa.Double),
    sa.Column("lo90_pct", sa.Double),
    sa.Column("hi90_pct", sa.Double),
    sa.Column("capacity_ah", sa.Double),
    sa.Column("sigma_ah", sa.Double),
    sa.Column("reference_ah", sa.Double),
    sa.Column("reference_source", sa.Text),
    sa.Column("basis", sa.Text),
    sa.Column("method", sa.Text, nullable=False),
    sa.Column("estimates", sa.JSON, nullable=False),
    sa.Column("soh_reported_pct", sa.Double),
    sa.Column("capacity_reported_ah", sa.Double),
    sa.Column("observed_s", sa.Double, nullable=False),
    sa.Column("inferred_s", sa.Double, nullable=False),
    sa.Column("unobserved_s", sa.Double, nullable=False),
    sa.Column("observed_ah", sa.Double, nullable=False),
    sa.Column("observed_km", sa.Double, nullable=False),
    sa.Column("odometer_km", sa.Double),
    sa.Column("resistance_ohm", sa.Double),
    sa.Column("soce_pct", sa.Double),
    sa.Column("energy", sa.JSON(none_as_null=True)),
)

cells: Final = sa.Table(
    "cells",
    metadata,
    *_place(),
    sa.Column("battery", _NAME, nullable=False),
    *_moment(),
    sa.Column("at_ms", _MS),
    sa.Column("spread_mv", sa.Double, nullable=False),
    sa.Column("cell_voltage_min_v", sa.Double, nullable=False),
    sa.Column("cell_voltage_max_v", sa.Double, nullable=False),
    sa.Column("cells", _MS, nullable=False),
    sa.Column("lowest_cell", _MS),
    sa.Column("highest_cell", _MS),
    sa.Column("soc_pct", sa.Double),
    sa.Column("pack_current_a", sa.Double),
    sa.Column("temp_min_degc", sa.Double),
    sa.Column("temp_max_degc", sa.Double),
    sa.Column("quiet_s", sa.Double),
)

usage: Final = sa.Table(
    "usage",
    metadata,
    sa.Column("box", _ID, primary_key=True),
    sa.Column("store", _ID, primary_key=True),
    sa.Column("installed", _MS, primary_key=True, autoincrement=False),  # totals count from the installation
    sa.Column("seq", _MS, nullable=False),  # newest
    sa.Column("battery", _NAME, nullable=False),
    *_moment(),
    sa.Column("at_ms", _MS),
    sa.Column("observed_s", sa.Double, nullable=False),
    sa.Column("inferred_s", sa.Double, nullable=False),
    sa.Column("unobserved_s", sa.Double, nullable=False),
    sa.Column("charge_in_ah", sa.Double, nullable=False),
    sa.Column("charge_out_ah", sa.Double, nullable=False),
    sa.Column("energy_in_wh", sa.Double, nullable=False),
    sa.Column("energy_out_wh", sa.Double, nullable=False),
    sa.Column("energy_ac_in_wh", sa.Double, nullable=False),
    sa.Column("energy_dc_in_wh", sa.Double, nullable=False),
    sa.Column("equivalent_full_cycles", sa.Double),
    sa.Column("charges_ac", _MS, nullable=False),
    sa.Column("charges_dc", _MS, nullable=False),
    sa.Column("drives", _MS, nullable=False),
    sa.Column("distance_km", sa.Double, nullable=False),
    sa.Column("odometer_km", sa.Double),
    sa.Column("soc_temp_s", sa.JSON, nullable=False),
    sa.Column("c_rate_temp_s", sa.JSON, nullable=False),
    sa.Column("depth_counts", sa.JSON, nullable=False),
    sa.Column("events", sa.JSON, nullable=False),
    sa.Column("charge_count_ac_reported", _MS),
    sa.Column("charge_count_dc_reported", _MS),
    sa.Column("first_ms", _MS),
    sa.Column("charging_temp_s", sa.JSON(none_as_null=True)),
)

event: Final = sa.Table(
    "event",
    metadata,
    *_place(),
    sa.Column("battery", _NAME, nullable=False),
    *_moment(),
    sa.Column("event", sa.Text, nullable=False),
    sa.Column("at_ms", _MS),
    sa.Column("duration_s", sa.Double),
    sa.Column("extreme", sa.Double),
    sa.Column("text", sa.Text),
)

fleet_row: Final = sa.Table(
    "fleet_row",  # what the operator's list says of a battery; follows from the tables above (adapters.store.judging)
    metadata,
    sa.Column("battery", _NAME, primary_key=True),
    sa.Column("records", _MS, nullable=False),  # of the battery when it was worked out: more now, then again
    sa.Column("judged_ms", _MS, nullable=False),
    sa.Column("box", _ID),  # of its newest installation, whose names are read from there
    sa.Column("store", _ID),
    sa.Column("installed", _MS),
    sa.Column("soh_at_ms", _MS),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("soh_pct", sa.Double),
    sa.Column("lo90_pct", sa.Double),
    sa.Column("hi90_pct", sa.Double),
    sa.Column("soh_reported_pct", sa.Double),
    sa.Column("coverage_pct", sa.Double),
    sa.Column("odometer_km", sa.Double),
    sa.Column("promise_pct", sa.Double),
    sa.Column("promise_years", sa.Double),
    sa.Column("next_use", sa.String(16)),
    sa.Column("lacking", sa.String(16)),
    sa.Column("judged", sa.JSON, nullable=False),  # core.fleet_row.Judged
)

clock_anchor: Final = sa.Table(
    "clock_anchor",
    metadata,
    *_place(),
    sa.Column("boot", _ID, nullable=False),
    sa.Column("mono_ms", _MS, nullable=False),
    sa.Column("wall_ms", _MS, nullable=False),
)

# --- who may speak: decided by operators, never made anew ---------------------------------------------------------

enrol_code: Final = sa.Table(
    "enrol_code",
    metadata,
    sa.Column("digest", sa.LargeBinary(32), primary_key=True),  # SHA-256; the code itself is nowhere
    sa.Column("fleet", _NAME, nullable=False),
    sa.Column("made_ms", _MS, nullable=False),
    sa.Column("expires_ms", _MS, nullable=False),
    sa.Column("replaces", _ID),  # the box whose card was replaced
    sa.Column("used_ms", _MS),
    sa.Column("used_by", _ID),
)

enrolled_box: Final = sa.Table(
    "enrolled_box",
    metadata,
    sa.Column("box", _ID, primary_key=True),
    sa.Column("public_key", sa.LargeBinary(32), nullable=False),
    sa.Column("fleet", _NAME, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),  # core.enrolment.BoxState
    sa.Column("since_ms", _MS, nullable=False),  # in this state
    sa.Column("enrolled_ms", _MS, nullable=False),
    sa.Column("replaces", _ID),
)

certificate: Final = sa.Table(
    "certificate",
    metadata,
    sa.Column("serial", sa.String(40), primary_key=True),
    sa.Column("box", _ID, nullable=False),
    sa.Column("issuer", sa.String(64), nullable=False),  # fingerprint of the issuing certificate
    sa.Column("tls_key", sa.LargeBinary(32), nullable=False),  # SHA-256 of the SubjectPublicKeyInfo
    sa.Column("code", sa.LargeBinary(32)),  # digest of the code it was given for; none for a renewal
    sa.Column("issued_ms", _MS, nullable=False),
    sa.Column("until_ms", _MS, nullable=False),
    sa.Column("der", sa.LargeBinary, nullable=False),
    sa.Column("revoked_ms", _MS),
    sa.Index("certificate_by_box", "box", "issued_ms"),
)

enrol_act: Final = sa.Table(
    "enrol_act",
    metadata,
    sa.Column("id", _ROW_ID, primary_key=True, autoincrement=True),
    sa.Column("at_ms", _MS, nullable=False),
    sa.Column("act", sa.String(32), nullable=False),
    sa.Column("box", _ID),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("who", sa.Text),  # NULL: the box itself, or before it was written down
    sa.Column("fleet", _NAME),  # where it was about one
)

# --- the owner's relation: never made anew, ended on his word -----------------------------------------------------

vehicle: Final = sa.Table(
    "vehicle",
    metadata,
    sa.Column("association", sa.String(32), primary_key=True),
    sa.Column("battery", _NAME, nullable=False),
    sa.Column("since_ms", _MS, nullable=False),
    sa.Column("ended_ms", _MS),
    sa.Column("number", sa.LargeBinary),  # sealed (adapters.vin_vault); NULL: the relation was ended
    sa.Column("number_index", sa.LargeBinary(32)),  # keyed: found only with the vault's key
    sa.Index("vehicle_by_battery", "battery"),
    sa.Index("vehicle_by_number", "number_index"),
)

ended_relation: Final = sa.Table(
    "ended_relation",
    metadata,
    sa.Column("battery", _NAME, primary_key=True),
    sa.Column("at_ms", _MS, nullable=False),  # names of cars that came before are not shown again
)

# --- said by people and firms: only ever added to -----------------------------------------------------------------

declared: Final = sa.Table(
    "declared",
    metadata,
    sa.Column("id", _ROW_ID, primary_key=True, autoincrement=True),
    sa.Column("entered_ms", _MS, nullable=False),
    sa.Column("scope", sa.String(8), nullable=False),  # core.declared.Scope
    sa.Column("subject", _NAME, nullable=False),  # a battery's id or a pack's name in its profile
    sa.Column("field", sa.String(64), nullable=False),
    sa.Column("value", sa.JSON(none_as_null=True)),  # NULL: what was said before is taken back
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("on", sa.String(10)),
    sa.Column("method", sa.Text),
    sa.Column("document", sa.Text),
    sa.Column("sigma", sa.Double),
    sa.Column("conditions", sa.JSON, nullable=False),
    sa.Index("declared_by_subject", "scope", "subject", "id"),
)

# --- who may read, and who read: never made anew ------------------------------------------------------------------

share_link: Final = sa.Table(
    "share_link",
    metadata,
    sa.Column("digest", sa.LargeBinary(32), primary_key=True),  # SHA-256; the token itself is nowhere
    sa.Column("battery", _NAME, nullable=False),
    sa.Column("role", sa.String(32), nullable=False),
    sa.Column("purpose", sa.String(32)),
    sa.Column("fields", sa.JSON(none_as_null=True)),  # NULL: all that the role may see
    sa.Column("formats", sa.JSON(none_as_null=True)),  # NULL: all of them
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("made_ms", _MS, nullable=False),
    sa.Column("made_by", sa.Text, nullable=False),
    sa.Column("expires_ms", _MS, nullable=False),
    sa.Column("reads_max", _MS),
    sa.Column("reads", _MS, nullable=False),
    sa.Column("revoked_ms", _MS),
    sa.Index("share_link_by_battery", "battery"),
)

read_note: Final = sa.Table(
    "read_note",
    metadata,
    sa.Column("id", _ROW_ID, primary_key=True, autoincrement=True),
    sa.Column("at_ms", _MS, nullable=False),
    sa.Column("battery", _NAME, nullable=False),
    sa.Column("role", sa.String(32), nullable=False),
    sa.Column("purpose", sa.String(32)),
    sa.Column("link", sa.String(16)),
    sa.Column("account", sa.Text),
    sa.Column("door", sa.String(16), nullable=False),
    sa.Column("what", sa.Text, nullable=False),
    sa.Column("fields", sa.JSON, nullable=False),
    sa.Index("read_note_by_battery", "battery", "at_ms"),
    sa.Index("read_note_by_time", "at_ms"),
)

battery_name: Final = sa.Table(
    "battery_name",
    metadata,
    sa.Column("key", sa.String(300), primary_key=True),  # core.identifiers
    sa.Column("battery", _NAME, primary_key=True),
    sa.Column("since_ms", _MS, nullable=False),
)

# --- what the book signed about batteries and boxes: never made anew, for others hold it -----------------------------

credential: Final = sa.Table(
    "credential",
    metadata,
    sa.Column(
        "number", _ROW_ID, primary_key=True, autoincrement=True
    ),  # from 1; one less is its bit in the status list
    sa.Column("id", sa.String(36), nullable=False, unique=True),  # UUID
    sa.Column("about", _NAME, nullable=False),  # a battery, or a box
    sa.Column("part", sa.String(16), nullable=False),  # identity, value, or box
    sa.Column("content", sa.LargeBinary(32), nullable=False),  # SHA-256 of what is said, dates of issue apart
    sa.Column("issued_ms", _MS, nullable=False),
    sa.Column("until_ms", _MS),
    sa.Column("document", sa.Text),  # as it was signed; NULL: never finished
    sa.Column("revoked_ms", _MS),
    sa.Column("reason", sa.Text),
    sa.Index("credential_by_subject", "about", "part", "number"),
    sa.Index("credential_revoked", "revoked_ms", "number"),
)

# --- who held a battery, as giver and taker signed it: only ever added to ---------------------------------------------

custody: Final = sa.Table(
    "custody",
    metadata,
    sa.Column("battery", _NAME, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),  # of the link, from 1
    sa.Column("kept_ms", _MS, nullable=False),
    sa.Column("link", sa.LargeBinary, nullable=False),
)

# --- what operators are alerted to: made and cleared by `app.alert_watch` -----------------------------------------

alert: Final = sa.Table(
    "alert",
    metadata,
    sa.Column("id", _ROW_ID, primary_key=True, autoincrement=True),
    sa.Column("kind", sa.String(32), nullable=False),  # core.alerts.Kind
    sa.Column("subject", sa.String(128), nullable=False),
    sa.Column("severity", sa.String(16), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("box", _ID),
    sa.Column("store", _ID),
    sa.Column("battery", _NAME),
    sa.Column("figure", sa.Double, nullable=False),
    sa.Column("detail", sa.JSON, nullable=False),
    sa.Column("rules", sa.String(32), nullable=False),  # version
    sa.Column("since_ms", _MS, nullable=False),
    sa.Column("raised_ms", _MS),
    sa.Column("calm_ms", _MS),
    sa.Column("acknowledged_ms", _MS),
    sa.Column("acknowledged_by", sa.Text),
    sa.Column("note", sa.Text),
    sa.Column("cleared_ms", _MS),
    sa.Index("alert_by_box", "box"),
    sa.Index("alert_by_battery", "battery"),
    sa.Index("alert_by_time", "raised_ms"),
)
_stands: Final = alert.c.state != "cleared"
sa.Index("alert_standing", alert.c.kind, alert.c.subject, unique=True, sqlite_where=_stands, postgresql_where=_stands)

alert_watch: Final = sa.Table(
    "alert_watch",  # whose turn it is: of many processes one looks, and as often as the rule says
    metadata,
    sa.Column("kind", sa.String(32), primary_key=True),
    sa.Column("at_ms", _MS, nullable=False),
)

alert_delivery: Final = sa.Table(
    "alert_delivery",  # written with the alert, sent afterwards: a restart loses none
    metadata,
    sa.Column("id", _ROW_ID, primary_key=True, autoincrement=True),
    sa.Column("alert", _MS, nullable=False),
    sa.Column("receiver", sa.String(64), nullable=False),  # its name in the settings
    sa.Column("news", sa.String(16), nullable=False),  # raised or cleared
    sa.Column("made_ms", _MS, nullable=False),
    sa.Column("due_ms", _MS),  # NULL: sent, or given up
    sa.Column("tries", sa.Integer, nullable=False),
    sa.Column("sent_ms", _MS),
    sa.Column("problem", sa.Text),  # of the last try
    sa.Index("alert_delivery_by_alert", "alert"),
    sa.Index("alert_delivery_due", "receiver", "due_ms"),
)

# --- presence ---------------------------------------------------------------------------------------------------

box: Final = sa.Table(
    "box",
    metadata,
    sa.Column("box", _ID, primary_key=True),
    sa.Column("last_seen_ms", _MS, nullable=False),
    sa.Column("online", sa.Boolean),
    sa.Column("status", sa.Text),
    sa.Column("health", sa.JSON),
    sa.Column("unready", _MS, nullable=False),  # records offered while its key is not on file
)

heartbeat: Final = sa.Table(
    "heartbeat",  # the last one of each hour, forgotten after `heartbeat_days`
    metadata,
    sa.Column("box", _ID, primary_key=True),
    sa.Column("hour_ms", _MS, primary_key=True, autoincrement=False),
    sa.Column("at_ms", _MS, nullable=False),
    sa.Column("health", sa.JSON, nullable=False),
    sa.Index("heartbeat_by_age", "hour_ms"),
)

# Where a record itself lies, by database: what leaves one leaves all.
HOLD_RECORDS: Final = {"sqlite": (ledger,), "postgresql": (ledger, seen)}

# What shows a date, and the column that holds it.
DATED: Final[dict[sa.Table, str]] = {
    installation: "from_ms",
    session: "start_ms",
    soh_point: "at_ms",
    usage: "at_ms",
    event: "at_ms",
    cells: "at_ms",
}
PROJECTIONS: Final = (*DATED, clock_anchor, battery)  # `chain` is set back, not emptied: it says what is held

for _table, _column in DATED.items():
    sa.Index(f"{_table.name}_by_battery", _table.c.battery, _table.c[_column])
    sa.Index(
        f"{_table.name}_undated",
        _table.c.box,
        _table.c.boot,
        sqlite_where=_table.c.wall_ms.is_(None),
        postgresql_where=_table.c.wall_ms.is_(None),
    )
sa.Index("event_by_time", event.c.event, event.c.at_ms)
sa.Index("quarantine_by_time", quarantine.c.last_ms)
sa.Index("clock_anchor_by_boot", clock_anchor.c.box, clock_anchor.c.boot, clock_anchor.c.mono_ms)
