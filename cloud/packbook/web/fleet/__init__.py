"""The operator's pages, all below /fleet. Reading asks for READ_FLEET, doing something for OPERATE."""

from __future__ import annotations

from typing import Final

from packbook.core.accounts import May
from packbook.web.fleet import alerts, audit, boxes, enrol, fit, quarantine, reports, table
from packbook.web.routes import Page

PAGES: Final = (
    Page("/fleet", table.fleet, May.READ_FLEET),
    Page("/fleet.csv", table.fleet_csv, May.READ_FLEET),
    Page("/fleet/distribution", table.spreads, May.READ_FLEET),
    Page("/fleet/distribution.csv", table.spreads_csv, May.READ_FLEET),
    Page("/fleet/boxes", boxes.boxes, May.READ_FLEET),
    Page("/fleet/boxes.csv", boxes.boxes_csv, May.READ_FLEET),
    Page("/fleet/boxes/{box}/health.csv", boxes.box_csv, May.READ_FLEET),
    Page("/fleet/boxes/{box}", boxes.box, May.READ_FLEET),
    Page("/fleet/boxes/{box}/state", boxes.decide, May.OPERATE, "POST"),
    Page("/fleet/boxes/{box}/fleet", boxes.transfer, May.OPERATE, "POST"),
    Page("/fleet/alerts", alerts.alerts, May.READ_FLEET),
    Page("/fleet/alerts/{number:int}", alerts.acknowledge, May.OPERATE, "POST"),
    Page("/fleet/enrol", enrol.enrol, May.OPERATE),
    Page("/fleet/enrol/codes", enrol.make, May.OPERATE, "POST"),
    Page("/fleet/enrol/labels", enrol.take_labels, May.OPERATE, "POST"),
    Page("/fleet/enrol/drop", enrol.drop, May.OPERATE, "POST"),
    Page("/fleet/reports/lease-return", reports.lease, May.READ_FLEET),
    Page("/fleet/reports/lease-return.csv", reports.lease_csv, May.READ_FLEET),
    Page("/fleet/reports/guarantee", reports.guarantee, May.READ_FLEET),
    Page("/fleet/reports/guarantee.csv", reports.guarantee_csv, May.READ_FLEET),
    Page("/fleet/reports/triage", reports.triage, May.READ_FLEET),
    Page("/fleet/reports/triage.csv", reports.triage_csv, May.READ_FLEET),
    Page("/fleet/profile-fit", fit.fit, May.READ_FLEET),
    Page("/fleet/profile-fit.csv", fit.fit_csv, May.READ_FLEET),
    Page("/fleet/quarantine", quarantine.quarantine, May.OPERATE),
    Page("/fleet/quarantine/disputes", quarantine.settle, May.OPERATE, "POST"),
    Page("/fleet/quarantine/{number:int}", quarantine.message, May.OPERATE),
    Page("/fleet/quarantine/{number:int}", quarantine.act, May.OPERATE, "POST"),
    Page("/fleet/quarantine/{number:int}/bytes", quarantine.message_bytes, May.OPERATE),
    Page("/fleet/audit", audit.audit, May.ADMINISTER),
    Page("/fleet/audit.csv", audit.audit_csv, May.ADMINISTER),
)
