"""What operators do on pages: with a reason, written down by name, through the same acts as the commands."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Sequence
from io import BytesIO

import sqlalchemy as sa

from packbook.adapters.store import tables
from packbook.core.accounts import EVERYWHERE
from packbook.core.fleet_papers import AuditQuery, CodeLine, Trail
from packbook.core.fleet_table import FleetQuery
from packbook.web.fleet.enrol import BOOT_FILE
from packwire.enrolment import BOOT_FILE as WIRES_BOOT_FILE
from packwire.enrolment import code_digest

from .conftest import Open, Opened

BOX = "7f3a90c2d1e85b46"
HERE = f"/fleet/boxes/{BOX}"
CODE = re.compile(r'name="code" value="([^"]+)"')


async def acts_of(fleet: Opened, trail: Trail) -> list[tuple[str, str | None, str]]:
    rows = await fleet.fleet.papers.audit(EVERYWHERE, AuditQuery(trail), 20)
    return [(row.act, row.who, row.detail) for row in rows]


async def test_codes_are_shown_once_and_kept_as_digests(opened: Open) -> None:
    """Whoever reads the database, or the page again, must not be able to enrol a box."""
    async with opened("one") as fleet:
        answer = await fleet.send("/fleet/enrol", "/fleet/enrol/codes", count=3, fleet="vans-north", days=7)
        codes = CODE.findall(answer.text)
        async with fleet.database.transaction() as connection:
            kept = set(await connection.scalars(sa.select(tables.enrol_code.c.digest)))
        listed = await fleet.text("/fleet/enrol")
        noted = await acts_of(fleet, Trail.ENROL)
    assert answer.headers["cache-control"] == "no-store"
    assert len(set(codes)) == 3
    assert {code_digest(code) for code in codes} <= kept
    assert not any(code in listed for code in codes)
    assert noted[0] == ("codes made", "operator", "3 for fleet vans-north")


async def test_labels_can_be_taken_along_in_every_shape(opened: Open) -> None:
    """A printer takes PDF, a label maker pictures, a card writer boot files; all hold the same codes."""
    async with opened("one") as fleet:
        answer = await fleet.send("/fleet/enrol", "/fleet/enrol/codes", count=25, fleet="vans-north", days=7)
        codes = CODE.findall(answer.text)
        taken = {"code": codes, "fleet": "vans-north", "expires_ms": "1800000000000"}
        files = {
            kind: (await fleet.send("/fleet/enrol", "/fleet/enrol/labels", **taken, **{"as": kind})).content
            for kind in ("pdf", "html", "svg", "boot")
        }
    assert files["pdf"].startswith(b"%PDF")
    assert files["pdf"].count(b"/Type /Page\n") == 2  # 24 on one
    assert all(code.split("-")[0] in files["html"].decode() for code in codes)
    with zipfile.ZipFile(BytesIO(files["svg"])) as pictures, zipfile.ZipFile(BytesIO(files["boot"])) as boot:
        assert len(pictures.namelist()) == len(boot.namelist()) == 25
        assert codes[0] in boot.read(f"001/{BOOT_FILE}").decode()


def test_the_boot_file_has_the_name_that_boxes_look_for() -> None:
    """The page may not ask the wire, so the name stands twice."""
    assert BOOT_FILE == WIRES_BOOT_FILE


async def test_without_an_authority_the_page_says_what_is_missing(opened: Open) -> None:
    """A form that can only fail is worse than none."""
    async with opened("one", ca_dir=None) as fleet:
        text = await fleet.text("/fleet/enrol")
    assert "ca_dir" in text
    assert 'action="/fleet/enrol/codes"' not in text


async def test_unused_codes_of_a_fleet_can_be_taken_back(opened: Open) -> None:
    """A sheet of labels was lost: nobody may enrol with it, and other fleets' codes go on."""
    async with opened("one") as fleet:
        await fleet.send("/fleet/enrol", "/fleet/enrol/codes", count=2, fleet="lease", days=7)
        answer = await fleet.send("/fleet/enrol", "/fleet/enrol/drop", fleet="lease")
        codes = await fleet.fleet.boxes.codes(EVERYWHERE, 10, 0)
    assert answer.status_code == 303
    assert {code.fleet: code.state(answer_ms(codes)) for code in codes if code.fleet == "lease"} == {"lease": "expired"}
    assert any(code.state(0) == "open" for code in codes if code.fleet != "lease")


def answer_ms(codes: Sequence[CodeLine]) -> int:
    return max(code.expires_ms for code in codes if code.fleet == "lease")


async def test_a_box_is_revoked_with_a_reason_and_a_name(opened: Open) -> None:
    """A stolen box: who decided, when and why must stand beside it for good."""
    async with opened("one") as fleet:
        lacking = await fleet.send(HERE, f"{HERE}/state", state="revoked", why=" ")
        answer = await fleet.send(HERE, f"{HERE}/state", state="revoked", why="stolen in Osaka")
        text = await fleet.text(f"{HERE}?done=box_revoked")
        again = await fleet.send("/fleet/enrol", f"{HERE}/state", state="revoked", why="twice")
        noted = await acts_of(fleet, Trail.ENROL)
    assert lacking.status_code == 422
    assert (answer.status_code, answer.headers["location"]) == (303, f"{HERE}?done=box_revoked")
    assert "The box is revoked." in text
    assert "stolen in Osaka" in text
    assert again.status_code == 422
    assert noted[0] == ("revoked", "operator", "stolen in Osaka")


async def test_a_box_moves_only_into_a_fleet_that_is_there(opened: Open) -> None:
    """A mistyped fleet would take the box out of everybody's sight."""
    async with opened("lived") as fleet:
        wrong = await fleet.send(HERE, f"{HERE}/fleet", fleet="vans-nroth", why="tired")
        right = await fleet.send(HERE, f"{HERE}/fleet", fleet="vans-south", why="sold")
        life = await fleet.fleet.boxes.one(EVERYWHERE, BOX)
    assert (wrong.status_code, right.status_code) == (422, 303)
    assert life is not None
    assert life.line.fleet == "vans-south"


async def test_a_refused_message_is_looked_at_and_dropped(opened: Open) -> None:
    """Its bytes are gone; that it came, and who threw it away and why, stays."""
    async with opened("lived") as fleet:
        before = await fleet.text("/fleet/quarantine/1")
        raw = (await fleet.client.get("/fleet/quarantine/1/bytes")).content
        answer = await fleet.send("/fleet/quarantine/1", "/fleet/quarantine/1", act="drop", why="a test bench")
        after = await fleet.text("/fleet/quarantine/1")
        noted = await acts_of(fleet, Trail.QUARANTINE)
    assert "00 01 02 03" in before
    assert raw == bytes(range(40))
    assert answer.headers["location"] == "/fleet/quarantine/1?done=message_drop"
    assert "Its bytes were thrown away." in after
    assert "a test bench" in after
    assert 'action="/fleet/quarantine/1"' not in after
    assert noted == [("drop", "operator", "#1 a test bench")]


async def test_a_message_that_still_cannot_be_believed_is_refused_again(opened: Open) -> None:
    """No button lets into the ledger what its box did not sign."""
    async with opened("lived") as fleet:
        answer = await fleet.send("/fleet/quarantine/1", "/fleet/quarantine/1", act="release", why="let us see")
    assert answer.headers["location"] == "/fleet/quarantine/1?done=refused_again"


async def test_nothing_is_done_without_the_forms_token(opened: Open) -> None:
    """Another site must not be able to revoke our boxes through an operator's browser."""
    async with opened("one") as fleet:
        answer = await fleet.client.post(
            f"{HERE}/state", data={"state": "revoked", "why": "x"}, headers={"Origin": "http://evil.test"}
        )
        life = await fleet.fleet.boxes.one(EVERYWHERE, BOX)
    assert answer.status_code == 403
    assert life is not None
    assert life.line.state == "active"


async def test_what_is_not_there_is_not_found(opened: Open) -> None:
    """Boxes and messages of others are as unknown as those that never were."""
    async with opened("one") as fleet:
        for path in ("/fleet/boxes/0000000000000000", "/fleet/quarantine/99", "/fleet/quarantine/99/bytes"):
            assert (await fleet.client.get(path)).status_code == 404, path


async def test_an_alert_is_taken_on_with_a_note(opened: Open) -> None:
    """Two people must not drive to the same car; whoever goes says so, and the list shows it."""
    async with opened("lived") as fleet:
        async with fleet.database.transaction() as connection:
            raised = {"kind": "box_silent", "subject": BOX, "severity": "warning", "state": "raised", "box": BOX}
            told = {"figure": 9.0, "detail": {"last_seen_ms": 1}, "rules": "1", "since_ms": 1, "raised_ms": 2}
            await connection.execute(sa.insert(tables.alert), [raised | told])
        (row,) = await fleet.fleet.batteries.rows(EVERYWHERE, FleetQuery(alerted=True), 0)
        listed = await fleet.text(f"/fleet/alerts?battery={row.battery}")
        answer = await fleet.send("/fleet/alerts", "/fleet/alerts/1", why="I call the depot")
        after = await fleet.text("/fleet/alerts?done=alert_taken")
        missing = await fleet.send("/fleet/enrol", "/fleet/alerts/77", why="which?")
    assert (row.battery, row.alerts) == ("leaf-24-0001", 1)
    assert BOX in listed
    assert answer.status_code == 303
    assert "I call the depot" in after
    assert "The alert is yours now." in after
    assert 'action="/fleet/alerts/1"' not in after
    assert missing.status_code == 404
