"""The enrolment desk on both databases: one code, one box, whatever comes at once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from packbook.adapters import authority
from packbook.adapters.authority import Authority
from packbook.adapters.enrolment import Desk
from packbook.adapters.store import enrolment as shelf
from packbook.adapters.store.database import Database
from packbook.app.enrolment import ACTS
from packbook.app.operate import Office
from packbook.clock import now_ms
from packbook.core.enrolment import ADDRESSES_MAX, WINDOW_MS, WRONG_TRIES_MAX, BoxState, WrongTries
from packbook.ports.trouble import NoCertificate
from packbook.settings import Settings
from packwire.enrolment import BINDING_OID, bind, code_digest, new_code
from packwire.ids import box_id_of


@pytest.fixture
def desk(database: Database, tmp_path: Path) -> Desk:
    root = authority.make_root("Test", now_ms())
    authority.add_issuer(root, tmp_path / "ca", now_ms())
    return Desk(database, Authority(tmp_path / "ca"), now_ms, days=30)


def request() -> tuple[str, bytes]:
    """Of a new box: its name, its certificate request."""
    records, tls = Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP256R1())
    public = records.public_key().public_bytes_raw()
    spki = tls.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    statement = x509.UnrecognizedExtension(x509.ObjectIdentifier(BINDING_OID), bind(public, records.sign, spki))
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).add_extension(statement, False)  # noqa: FBT003 - their signature
    return box_id_of(public), builder.sign(tls, hashes.SHA256()).public_bytes(Encoding.DER)


async def test_of_two_boxes_with_one_code_only_one_enrols(database: Database, desk: Desk, tmp_path: Path) -> None:
    """A label copied, both cars started at once: one certificate, one refusal, also with several books at work."""
    code = new_code()
    office = Office(database, Settings(ca_dir=tmp_path / "ca"))
    wish = {"digests": [code_digest(code).hex()], "fleet": "default", "expires_ms": now_ms() + 60_000}
    assert await ACTS["codes.keep"](office, wish) == 1
    requests = dict(request() for _ in range(5))
    answers = await asyncio.gather(
        *(desk.enrol(one, code, box) for box, one in requests.items()), return_exceptions=True
    )
    given = [answer for answer in answers if isinstance(answer, bytes)]
    refused = [answer for answer in answers if isinstance(answer, NoCertificate)]
    assert (len(given), len(refused)) == (1, 4)

    (box,) = await ACTS["box.list"](office, {})
    assert x509.load_der_x509_certificate(given[0]).subject.rfc4514_string() == f"CN={box['box']},O=default"
    await desk.set_state(box["box"], BoxState.REVOKED, "test")
    async with database.transaction() as connection:
        assert [one.der for one in await shelf.revoked(connection, now_ms())] == given
    assert await ACTS["codes.drop"](office, {}) == 0
    (listed,) = await ACTS["codes.list"](office, {})
    assert (listed["used_by"], len(listed["digest"])) == (box["box"], 16)


def test_wrong_tries_are_counted_by_address_in_a_bounded_memory() -> None:
    """A workshop behind one address mistypes now and then; a guesser with many addresses fills no memory."""
    tries = WrongTries()
    for at in range(WRONG_TRIES_MAX):
        assert tries.wait_ms("a", at) == 0
        tries.count("a", at)
    assert tries.wait_ms("a", WRONG_TRIES_MAX) == WINDOW_MS - WRONG_TRIES_MAX
    assert tries.wait_ms("b", WRONG_TRIES_MAX) == 0
    assert tries.wait_ms("a", WINDOW_MS) == 0
    for number in range(ADDRESSES_MAX + 5):
        tries.count(f"address {number}", 0)
    assert len(tries._tries) == ADDRESSES_MAX
