"""Credentials: as the W3C wrote them, and as programs that others wrote check them."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from openvc.proof.errors import ProofError
from openvc.status.bitstring import decode_bitstring

from packbook.core import data_integrity as di
from packbook.core import did
from packbook.core.formats import credential as vc
from packbook.core.formats.status_list import BITS, BadStatusList, is_revoked, place, status_list
from packbook.core.formats.writing import day_utc
from packbook.core.passport import Part
from passport import records
from passport.verifiers import by_javascript, by_openvc

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key().public_bytes_raw()
BOX_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32, 64))).public_key().public_bytes_raw()
WEB = did.did_web("https://book.example/fleet")
DOCUMENTS = {WEB: did.document(WEB, [PUBLIC])}
FIELDS = dict.fromkeys(records.IDENTITY, Part.IDENTITY) | dict.fromkeys(records.USE, Part.VALUE)
LIST = "https://book.example/fleet/credentials/status/0"
TERMS = vc.Terms(
    id="urn:uuid:58172aac-d8ba-11ed-83dd-0b3aef56cc33",
    issuer=WEB,
    at_ms=records.MADE_MS,
    valid_days=90,
    status_list=LIST,
    status_index=17,
    schema=vc.Resource("https://book.example/s.json", "sha256-" + "A" * 43 + "=", "application/schema+json"),
    previous=vc.Resource("urn:uuid:0", "sha256-" + "B" * 43 + "=", "application/vc"),
    chains=(vc.Chain("box-7", "store-1", 4711, bytes(16)),),
    resources=(vc.Resource("urn:uuid:1", "sha256-" + "C" * 43 + "=", "application/octet-stream"),),
)


def signed(document: Mapping[str, Any], issuer: str = WEB) -> dict[str, Any]:
    return di.secure(document, did.method(issuer, PUBLIC), day_utc(TERMS.at_ms), KEY.sign)


def condition(**change: Any) -> dict[str, Any]:
    return vc.credential(records.rich(), Part.VALUE, FIELDS, records.URI, replace(TERMS, **change))


SIGNED = json.dumps(signed(condition()))


def find_key(method: str) -> bytes:
    return did.key_of(method, DOCUMENTS)


NOW = datetime(2026, 11, 3, tzinfo=UTC)


def three_kinds() -> Iterator[dict[str, Any]]:
    """Signed by a did:web, by a did:key, and a status list."""
    yield signed(condition())
    book = did.did_key(PUBLIC)
    yield signed(vc.voucher("box-7", did.did_key(BOX_KEY), vc.Terms("urn:uuid:2", book, TERMS.at_ms)), book)
    yield signed(status_list(LIST, WEB, TERMS.at_ms, [17]))


def changes(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The same with one thing changed, as somebody would who sells a tired battery."""
    better = deepcopy(document)
    better["credentialSubject"]["id"] = "urn:uuid:3"
    yield better
    for key, value in (("validFrom", "2026-11-01T00:00:00Z"), ("note", "certified"), ("issuer", "did:web:a.example")):
        yield {**document, key: value}
    yield {key: value for key, value in document.items() if key != "id"}
    yield {**document, "@context": [vc.TERMS_CONTEXT, vc.CONTEXT]}
    yield {**document, "proof": {**document["proof"], "created": "2026-11-01T00:00:00Z"}}


# --- the suite ----------------------------------------------------------------------------------------------------


def test_the_w3c_vectors_come_out_byte_for_byte(shared: Path) -> None:
    """Canonical forms, both hashes, their order, the signature and the signed document (VC-DI-EDDSA, appendix B)."""
    folder = shared / "schemas/w3c-vc/eddsa-jcs-2022"
    text = {path.stem: path.read_text() for path in folder.glob("*.txt")}
    document, options, wanted, pair = (
        json.loads((folder / f"{name}.json").read_text())
        for name in ("unsigned", "proofConfigJCS", "signedJCS", "keyPair")
    )
    secret = did.read_base58(pair["privateKeyMultibase"]).removeprefix(b"\x80\x26")
    key = Ed25519PrivateKey.from_private_bytes(secret)
    assert did.multikey(key.public_key().public_bytes_raw()) == pair["publicKeyMultibase"]
    assert di.canonical(document).decode() == text["canonDocJCS"]
    assert di.canonical(options).decode() == text["proofCanonJCS"]
    assert di.EDDSA_JCS_2022.to_sign(document, options).hex() == text["combinedHashJCS"].strip()
    assert text["combinedHashJCS"].strip() == text["proofHashJCS"].strip() + text["docHashJCS"].strip()
    made = di.secure(document, options["verificationMethod"], options["created"], key.sign)
    assert made == wanted
    assert made["proof"]["proofValue"] == text["sigBTC58JCS"].strip()
    assert did.read_base58(made["proof"]["proofValue"]).hex() == text["sigHexJCS"].strip()
    assert di.check(wanted, lambda method: did.key_of(method, {})) == options["verificationMethod"]


@pytest.mark.parametrize(
    ("value", "text"),
    [(55.0, "55"), (1e-7, "1e-7"), (1e16, "10000000000000000"), (-0.0, "0"), ({"ｱ": 1, "𐂃": 2}, '{"𐂃":2,"ｱ":1}')],
)
def test_numbers_and_keys_are_written_as_the_canonical_form_wants(value: object, text: str) -> None:
    """Where Python's own JSON differs: another program would hash other bytes."""
    assert di.canonical(value).decode() == text


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**53 + 1, {1: 2}, object(), b""])
def test_what_json_cannot_say_exactly_is_not_signed(value: object) -> None:
    with pytest.raises(di.BadProof, match="no canonical form"):
        di.canonical(value)


def test_another_suite_fits_in_the_same_place() -> None:
    """EN 18246 is not final: what is hashed and how it is written may change, callers do not."""

    class Reversed(di.EddsaJcs2022):
        name = "reversed-2027"

        def write(self, signature: bytes) -> str:
            return super().write(signature[::-1])

    made = di.secure(condition(), did.method(WEB, PUBLIC), day_utc(0), KEY.sign, Reversed())
    assert made["proof"]["cryptosuite"] == "reversed-2027"
    with pytest.raises(di.BadProof, match=r"reversed-2027.*known is DataIntegrityProof eddsa-jcs-2022"):
        di.check(made, find_key)


# --- checked by ourselves and by others ---------------------------------------------------------------------------


def test_three_verifiers_believe_what_we_signed_and_refuse_every_change() -> None:
    """Ours, one in Python and one in JavaScript that share no code with us or each other."""
    good = list(three_kinds())
    bad = [changed for document in good for changed in changes(document)]
    for document in good:
        assert di.check(document, find_key)
        by_openvc(document, DOCUMENTS, NOW)
    for document in bad:
        with pytest.raises(di.BadProof):
            di.check(document, find_key)
        with pytest.raises(ProofError):
            by_openvc(document, DOCUMENTS, NOW)
    assert by_javascript(good, DOCUMENTS, [PUBLIC]) == [None] * len(good)
    assert None not in by_javascript(bad, DOCUMENTS, [PUBLIC])


def test_a_key_that_may_not_sign_statements_signs_none() -> None:
    """A document may list keys for other ends, or be somebody else's."""
    document = signed(condition())
    listed = did.document(WEB, [PUBLIC])
    for wrong, reason in (
        ({**listed, "assertionMethod": []}, "may not sign"),
        ({**listed, "id": "did:web:else.example"}, "not its document"),
        ({**listed, "verificationMethod": []}, "does not list"),
        (
            {**listed, "verificationMethod": [listed["verificationMethod"][0] | {"controller": "did:a:b"}]},
            "Multikey of",
        ),
    ):
        with pytest.raises(di.BadProof, match=reason):
            di.check(document, lambda method, wrong=wrong: did.key_of(method, {WEB: wrong}))
    with pytest.raises(di.BadProof, match="not at hand"):
        di.check(document, lambda method: did.key_of(method, {}))


@given(st.data())
def test_no_letter_of_a_credential_can_be_changed(data: st.DataObject) -> None:
    """Whatever one takes and wherever it lies."""
    document = json.loads(SIGNED)
    text = SIGNED
    at = data.draw(st.integers(0, len(text) - 1))
    letter = data.draw(st.characters(codec="ascii"))
    try:
        changed = json.loads(text[:at] + letter + text[at + 1 :])
    except ValueError:
        return
    if changed == document:
        return
    with pytest.raises((di.BadProof, did.NotADid)):
        di.check(changed, find_key)


# --- what is in it ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", list(Part))
def test_a_credential_has_the_shape_of_the_standard(part: Part, shared: Path) -> None:
    schema = json.loads((shared / "schemas/w3c-vc/verifiable-credential-2.0.schema.json").read_bytes())
    assert "2020-12" in schema["$schema"]
    document = signed(vc.credential(records.rich(), part, FIELDS, records.URI, TERMS))
    for one in (document, *three_kinds()):
        Draft202012Validator(schema).validate(one)


def test_identity_and_condition_are_told_apart() -> None:
    """The one is for everybody, the other under its holder's own terms: neither brings the other along."""
    identity, value = (
        vc.credential(records.rich(), part, FIELDS, records.URI, TERMS)["credentialSubject"] for part in Part
    )
    assert set(identity["facts"]) == set(records.IDENTITY)
    assert set(value["facts"]) == set(records.USE)
    assert "coverage" in value
    assert "coverage" not in identity


def test_a_value_stands_beside_where_it_comes_from() -> None:
    facts = condition()["credentialSubject"]["facts"]
    assert facts["soh_capacity_pct"] == [
        {
            "value": 88.42,
            "unit": "%",
            "source": "measured",
            "by": "box-7",
            "at": "2026-10-31T00:00:00Z",
            "method": "kalman/3",
            "sigma": 1.1,
            "lo90": 86.6,
            "hi90": 90.2,
            "records": [{"box": "box-7", "store": "store-1", "seq": 4711}],
        }
    ]
    assert [fact["source"] for fact in facts["soc_pct"]] == ["measured", "vehicle-reported"]


def test_what_is_not_known_is_said_and_never_made_up() -> None:
    document = vc.credential(records.poor(), Part.VALUE, FIELDS, records.URI, TERMS)["credentialSubject"]
    assert set(document["facts"]) == {"soc_pct", "full_cycles"}
    assert document["unknown"] == [{"field": "soh_capacity_pct", "why": "2 of 10 segments seen"}]
    bare = vc.Terms("urn:uuid:1", did.did_key(PUBLIC), TERMS.at_ms)
    told = {left.name: left.reason for left in vc.left_out(records.poor(), FIELDS, bare)}
    assert told["soh_capacity_pct"] == "2 of 10 segments seen"
    assert "public_url" in told["credentialStatus"]


def test_no_time_of_day_is_in_a_credential() -> None:
    """Every moment in the record has one; a credential cuts it off."""
    text = json.dumps([signed(condition()), *three_kinds()])
    assert set(re.findall(r"T(\d\d:\d\d:\d\d)", text)) == {"00:00:00"}
    assert str(records.LAST_MS) not in text


def test_the_same_record_gives_the_same_bytes() -> None:
    assert vc.presentation([signed(condition())]) == vc.presentation([signed(condition())])


# --- names --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "name", "document"),
    [
        ("https://book.example", "did:web:book.example", "https://book.example/.well-known/did.json"),
        ("https://Book.example/a/b/", "did:web:book.example:a:b", "https://book.example/a/b/did.json"),
        ("https://h.example:8443", "did:web:h.example%3A8443", "https://h.example:8443/.well-known/did.json"),
    ],
)
def test_a_web_address_has_a_did_and_its_document_a_place(url: str, name: str, document: str) -> None:
    assert did.did_web(url) == name
    assert did.document_url(name) == document


@pytest.mark.parametrize("name", ["did:key:z6Mk", "did:web:a::b", "web:a", "did:web:"])
def test_a_document_is_looked_for_only_where_there_is_one(name: str) -> None:
    with pytest.raises(did.NotADid):
        did.document_url(name)


@pytest.mark.parametrize(
    "method", ["did:key:z6Mk", f"{did.did_key(PUBLIC)}#{did.multikey(BOX_KEY)}", "did:key:zz#zz", "x"]
)
def test_a_did_key_is_no_other_key(method: str) -> None:
    with pytest.raises(did.NotADid):
        did.key_of(method, {})


# --- taking back --------------------------------------------------------------------------------------------------


def test_a_revoked_credential_is_found_in_the_list() -> None:
    """By us, and bit for bit by openvc."""
    listed = status_list(LIST, WEB, TERMS.at_ms, [0, 17, BITS - 1])
    bits = decode_bitstring(listed["credentialSubject"]["encodedList"])
    assert [n for n in range(8 * len(bits)) if bits[n // 8] & 0x80 >> n % 8] == [0, 17, BITS - 1]
    assert is_revoked(condition()["credentialStatus"], listed)
    assert not is_revoked(condition(status_index=18)["credentialStatus"], listed)
    assert listed == status_list(LIST, WEB, TERMS.at_ms, [BITS - 1, 17, 0])
    assert (place(17), place(BITS + 3)) == ((0, 17), (1, 3))


def encoded(data: bytes) -> str:
    return "u" + base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("", "begins with u"),
        (None, "begins with u"),
        ("u***", "encodedList"),
        (encoded(b"no gzip"), "encodedList"),
        (encoded(gzip.compress(bytes(BITS // 8 - 1), mtime=0)), "bits"),
        (encoded(gzip.compress(bytes(20_000_000), mtime=0)), "bits"),
        (encoded(gzip.compress(bytes(BITS // 8), mtime=0)[:-9]), "bits"),
    ],
    ids=["empty", "none", "no-base64", "no-gzip", "short", "bomb", "cut"],
)
def test_a_list_that_says_nothing_is_no_clean_bill(bad: object, reason: str) -> None:
    """Whoever cannot read a list must not take the credential for a standing one; nor may a small file fill memory."""
    listed = status_list(LIST, WEB, TERMS.at_ms, [])
    listed["credentialSubject"]["encodedList"] = bad
    with pytest.raises(BadStatusList, match=reason):
        is_revoked(condition()["credentialStatus"], listed)


@pytest.mark.parametrize(
    "change",
    [{"statusListCredential": "https://else.example"}, {"statusPurpose": "suspension"}, {"statusListIndex": str(BITS)}],
)
def test_another_list_does_not_answer(change: dict[str, str]) -> None:
    with pytest.raises(BadStatusList):
        is_revoked({**condition()["credentialStatus"], **change}, status_list(LIST, WEB, TERMS.at_ms, []))
