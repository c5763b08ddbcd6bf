"""What programs do to a fleet: the same acts as the pages' forms, and nothing where what is there forbids it."""

from __future__ import annotations

import httpx
import sqlalchemy as sa

from packbook.adapters.store import tables
from packbook.core.accounts import EVERYWHERE
from packbook.core.fleet_papers import Trail
from packbook.web.app import V1
from packwire.enrolment import code_digest

from .conftest import Open, Opened
from .test_fleet_forms import BOX, acts_of


async def alerted(fleet: Opened) -> None:
    raised = {"kind": "box_silent", "subject": BOX, "severity": "warning", "state": "raised", "box": BOX}
    told = {"figure": 9.0, "detail": {"last_seen_ms": 1}, "rules": "1", "since_ms": 1, "raised_ms": 2}
    async with fleet.database.transaction() as connection:
        await connection.execute(sa.insert(tables.alert), [raised | told])


def said(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json().get("type", "").rpartition("/")[2]


async def test_an_alert_is_taken_on_once(opened: Open) -> None:
    """A program that did not hear the answer asks again; another one must not believe that it got it."""
    async with opened("one") as fleet:
        await alerted(fleet)
        to = f"{V1}/alerts/1/acknowledge"
        listed = (await fleet.client.get(f"{V1}/alerts?box={BOX}")).json()["alerts"]
        taken, again = [await fleet.client.post(to, json={"note": "I call the depot"}) for _ in range(2)]
        late = await fleet.client.post(to, json={"note": "I call the depot, too"})
        open_now = (await fleet.client.get(f"{V1}/alerts?state=raised")).json()["alerts"]
        missing = await fleet.client.post(f"{V1}/alerts/77/acknowledge", json={"note": "which?"})
        wrong = [await fleet.client.post(to, json=each) for each in ({}, {"note": " "}, {"note": 7}, {"node": "x"})]
    assert [alert["state"] for alert in listed] == ["raised"]
    assert (
        taken.json()
        == again.json()
        == listed[0]
        | {
            "state": "acknowledged",
            "acknowledged_by": "operator",
            "acknowledged_ms": taken.json()["acknowledged_ms"],
            "note": "I call the depot",
        }
    )
    assert open_now == []
    assert (said(late), said(missing)) == ((409, "conflict"), (404, "not-found"))
    assert [said(answer) for answer in wrong] == [(422, "invalid")] * 4


async def test_codes_are_told_once(opened: Open) -> None:
    """As on the page: the book has their digests alone, and no cache has the answer."""
    async with opened("one") as fleet:
        made = await fleet.client.post(f"{V1}/codes", json={"count": 3, "fleet": "vans-north", "days": 7})
        codes = [label["code"] for label in made.json()["labels"]]
        async with fleet.database.transaction() as connection:
            kept = set(await connection.scalars(sa.select(tables.enrol_code.c.digest)))
        listed = await fleet.client.get(f"{V1}/codes")
        twice = await fleet.client.post(f"{V1}/codes", json={"count": 2, "fleet": "vans-north", "replaces": BOX})
        noted = await acts_of(fleet, Trail.ENROL)
    assert (made.status_code, made.headers["cache-control"], len(set(codes))) == (201, "no-store", 3)
    assert {code_digest(code) for code in codes} <= kept
    assert [code["state"] for code in listed.json()["codes"]][:3] == ["open"] * 3
    assert not any(code in listed.text for code in codes)
    assert said(twice) == (409, "conflict")
    assert noted[0] == ("codes made", "operator", "3 for fleet vans-north")


async def test_without_an_authority_no_code_is_promised(opened: Open) -> None:
    """Which setting lacks is said."""
    async with opened("one", ca_dir=None) as fleet:
        answer = await fleet.client.post(f"{V1}/codes", json={"fleet": "vans-north"})
    assert said(answer) == (503, "unavailable")
    assert "ca_dir" in answer.json()["detail"]


async def test_a_box_is_put_into_a_fleet_that_is_there(opened: Open) -> None:
    """Said twice it is done once, and written down once."""
    to = f"{V1}/boxes/{BOX}/fleet"
    async with opened("lived") as fleet:
        wrong = await fleet.client.put(to, json={"fleet": "vans-nroth", "why": "tired"})
        right = [await fleet.client.put(to, json={"fleet": "vans-south", "why": "sold"}) for _ in range(2)]
        missing = await fleet.client.put(f"{V1}/boxes/0000/fleet", json={"fleet": "vans-south", "why": "sold"})
        life = await fleet.fleet.boxes.one(EVERYWHERE, BOX)
        acts = [act for act, _, _ in await acts_of(fleet, Trail.ENROL)]
    assert [answer.json() for answer in right] == [{"box": BOX, "fleet": "vans-south"}] * 2
    assert (said(wrong), said(missing)) == ((409, "conflict"), (404, "not-found"))
    assert life is not None
    assert life.line.fleet == "vans-south"
    assert acts.count("transferred") == 1
