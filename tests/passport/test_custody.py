"""Who held a battery: signed by giver and taker, checked by anybody, kept for good and never changed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from packbook.adapters.rules import RuleBook
from packbook.adapters.signing_key import SigningKey
from packbook.app.passports import lifecycles
from packbook.core.custody import Broken, verify
from packbook.core.handover import (
    ACCEPT,
    OFFER,
    NotACustody,
    Party,
    Statement,
    accept,
    offer,
    read_file,
    read_link,
    read_offer,
    write_file,
)
from packbook.core.lifecycle import LifeCycle
from packwire.cbor import dumps
from packwire.signed import sign_whole

RULES = lifecycles(RuleBook())
LAW = RuleBook().load("lifecycle", LifeCycle)
OLD, NEW = "urn:uuid:8d3f0f0e-6a43-4c3b-9f0e-3f0a4a3c1b52", "urn:uuid:0c8b3d52-40f8-4b85-8f0c-1a6f1d0b9f11"


def key_of(name: str) -> SigningKey:
    return SigningKey(Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest()))


def party(name: str) -> Party:
    return Party(key_of(name).public_key, name)


def linked(links: list[bytes], giver: str, taker: str, role: str, **more: Any) -> list[bytes]:
    """One hand-over further, whether it may be or not."""
    before = read_link(links[-1]) if links else None
    said = Statement(
        battery="BAT-1",
        previous=before.digest if before else None,
        giver=party(giver),
        taker=party(taker),
        role=role,
        on=before.statement.on if before else "2026-05-03",
        status=before.statement.status if before else "original",
        rules="1",
    )
    return [*links, accept(offer(replace(said, **more), key_of(giver)), key_of(taker))]


def life() -> list[bytes]:
    """From the first owner to the last."""
    links = linked([], "Owner", "Dealer", "dealer", documents=("invoice 12",), passport_id=OLD)
    links = linked(links, "Dealer", "Auction house", "auction", on="2026-06-01")
    links = linked(links, "Auction house", "Dismantler", "dismantler", on="2026-06-20")
    return linked(
        links,
        "Dismantler",
        "Storage maker",
        "repurposer",
        on="2026-08-01",
        status="repurposed",
        category="stationary",
        passport_id=NEW,
        passport_before=(OLD,),
    )


def broken(links: list[bytes]) -> Broken:
    found = verify(links, RULES).broken
    assert found is not None
    return found


def test_a_chain_of_hand_overs_holds() -> None:
    """Dealers and dismantlers check it without us: two signatures a link, one thread of digests."""
    chain = verify(life(), RULES, first=party("Owner").key)
    assert (chain.broken, len(chain.links)) == (None, 4)
    assert chain.last is not None
    assert (chain.last.status, chain.last.taker.name) == ("repurposed", "Storage maker")
    assert (chain.passport_id, chain.closed) == (NEW, ((OLD, "2026-08-01"),))


@pytest.mark.parametrize(
    ("change", "number", "why"),
    [
        (lambda links: links[1:], 1, "another digest"),
        (lambda links: [links[0], *links[2:]], 2, "another digest"),
        (lambda links: [links[1], links[0], *links[2:]], 1, "another digest"),
        (lambda links: [*links, links[-1]], 5, "another digest"),
        (lambda links: [links[0], links[1], b"\x00", *links[3:]], 3, "not a signed whole"),
    ],
    ids=["first-out", "middle-out", "moved", "twice", "not-a-link"],
)
def test_a_changed_chain_names_its_first_broken_link(
    change: Callable[[list[bytes]], list[bytes]], number: int, why: str
) -> None:
    """Taking out a hand-over is how a bad year would be hidden."""
    found = broken(change(life()))
    assert found.number == number
    assert why in found.why


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_changed_byte_breaks_the_link_that_holds_it(data: st.DataObject) -> None:
    """No byte of a link is free: neither text nor signature nor key id."""
    links = life()
    number = data.draw(st.integers(0, len(links) - 1))
    link = bytearray(links[number])
    link[data.draw(st.integers(0, len(link) - 1))] ^= data.draw(st.integers(1, 255))
    links[number] = bytes(link)
    assert broken(links).number == number + 1


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"by": "Thief"}, "Thief (did:key:z"),
        ({"battery": "BAT-2"}, "it is of battery BAT-2, the chain of BAT-1"),
        ({"on": "2026-05-31"}, "is before 2026-06-01"),
        ({"role": "wizard"}, "role wizard"),
        ({"status": "as good as new"}, "status as good as new: cannot follow original"),
        ({"status": "repurposed"}, "begins a new passport, and none is named"),
        ({"status": "repurposed", "passport_id": NEW}, f"does not say that it follows {OLD}"),
        ({"passport_id": NEW}, f"does not say that it follows {OLD}"),
        ({"passport_id": OLD, "passport_before": (OLD,)}, "was closed and cannot begin again"),
        ({"passport_before": (OLD,)}, "none is named that follows it"),
        ({"recycled": True}, "only a recycler recycles"),
        ({"rules": "99"}, "version 99 are not known"),
    ],
)
def test_what_cannot_follow_is_a_broken_link(more: dict[str, Any], why: str) -> None:
    """A signature alone makes no statement true: what the rules forbid is refused though two parties signed it."""
    links = linked([], "Owner", "Dealer", "dealer", passport_id=OLD)
    links = linked(links, "Dealer", "Auction house", "auction", on="2026-06-01")
    told = {"by": "Auction house", "role": "dismantler"} | more
    found = broken(linked(links, told.pop("by"), "Dismantler", told.pop("role"), **told))
    assert found.number == 3
    assert why in found.why


def test_a_chain_begins_with_whom_one_trusts() -> None:
    """Anybody can begin a chain: who knows the maker's or the owner's key says so."""
    assert verify(life(), RULES, first=party("Dealer").key).broken == Broken(
        1, f"it begins with {party('Owner').did}, not with the party you named"
    )


def test_nobody_signs_for_another() -> None:
    """Neither an offer in somebody's name nor an acceptance of what was offered to another."""
    said = read_link(life()[0]).statement
    with pytest.raises(NotACustody, match="not the giver's"):
        offer(said, key_of("Thief"))
    with pytest.raises(NotACustody, match="not the taker's"):
        accept(offer(said, key_of("Owner")), key_of("Thief"))
    assert OFFER != ACCEPT
    with pytest.raises(NotACustody):
        read_link(offer(said, key_of("Owner")))  # an offer is not yet a hand-over


def test_an_open_offer_travels_with_its_chain() -> None:
    """One file to send: who takes over sees what came before."""
    links = life()
    said = read_link(links[-1]).statement
    more = offer(replace(said, previous=read_link(links[-1]).digest, giver=said.taker), key_of("Storage maker"))
    assert read_file(write_file(links, more)) == (links, more)
    assert read_offer(more).giver == party("Storage maker")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00",
        dumps([1, [], None]),
        dumps(["packbook-custody/1", [1], None]),
        dumps(["packbook-custody/1", 2, None]),
    ],
)
def test_a_file_that_is_none_says_so(data: bytes) -> None:
    """Whatever somebody mails to a dealer."""
    with pytest.raises(NotACustody):
        read_file(data)


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"giver": replace(party("Owner"), name="JN1AZ0CP8BT012345")}, "looks like a vehicle's number"),
        ({"documents": ("VIN JN1AZ0CP8BT012345",)}, "looks like a vehicle's number"),
        ({"documents": ("x\n",)}, "printable"),
        ({"documents": ("x",) * 17}, "at most 16"),
        ({"role": ""}, "printable"),
        ({"on": "2026-05"}, "not a day"),
        ({"rules": "../../x"}, "is no version"),
        ({"battery": "B" * 65}, "at most|1 to 64"),
    ],
)
def test_what_has_no_place_in_a_statement_is_never_signed(more: dict[str, Any], why: str) -> None:
    """What is signed cannot be taken back, and it goes to strangers."""
    said = replace(read_link(life()[0]).statement, **more)
    with pytest.raises(NotACustody, match=why) as caught:
        offer(said, key_of("Owner"))
    assert "JN1AZ" not in str(caught.value)


@pytest.mark.parametrize("form", [True, 2, "1"])
def test_a_statement_has_one_form(form: object) -> None:
    """Two spellings of one statement would be two digests."""
    payload = cbor2.loads(cbor2.loads(cbor2.loads(life()[0]).value[2]).value[2])
    inner = dumps([form, *payload[1:]])
    key = key_of("Owner")
    with pytest.raises(NotACustody):
        read_offer(sign_whole(inner, OFFER, key.sign, key.public_key))
