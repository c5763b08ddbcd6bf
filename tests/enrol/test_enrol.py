"""A box and a book over real HTTPS: first certificate, the next one, and everything that goes wrong on the way."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from packbook.adapters.authority import CA_FILE, CRL_FILE
from packbook.core.enrolment import MS_PER_DAY, WRONG_TRIES_MAX, BoxState, EnrolledBox
from packbox.adapters import est
from packbox.adapters.enrolment_file import Invitation, read_enrolment
from packbox.app.enrol import enrol, renew
from packbox.ports import EnrolDenied, EnrolError
from packwire.enrolment import BINDING_OID, CA_CERTS, ENROL, PKCS7, bind, bound_key

from .conftest import HOST, Book, Box


def leaf(box: Box) -> x509.Certificate:
    held = box.keys.held()
    assert held is not None
    return x509.load_pem_x509_certificate(held.chain)


def public_der(certificate: x509.Certificate) -> bytes:
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


async def join(book: Book, box: Box, **asked: object) -> None:
    await enrol(box.data_dir, box.keys, box.clock, await book.invitation(**asked))


async def enrolled(book: Book, box: Box) -> EnrolledBox:
    found = (await book.boxes())[box.id]
    assert isinstance(found, EnrolledBox)
    return found


def revoked_serials(book: Book) -> set[int]:
    crl = x509.load_pem_x509_crl((book.authority.folder / CRL_FILE).read_bytes())
    return {one.serial_number for one in crl}


# --- the way it goes --------------------------------------------------------------------------------------------


async def test_a_code_gives_a_new_box_its_certificate(book: Book, box: Box) -> None:
    """The afternoon at the workshop: label, code, done. The certificate names the box, its fleet and its record key."""
    await join(book, box, fleet="kyoto-taxis")

    got = leaf(box)
    binding = got.extensions.get_extension_for_oid(x509.ObjectIdentifier(BINDING_OID)).value
    assert got.subject.rfc4514_string() == f"CN={box.id},O=kyoto-taxis"
    assert isinstance(binding, x509.UnrecognizedExtension)
    assert bound_key(binding.value, public_der(got)) == box.keys.records.public_key
    told = read_enrolment(box.data_dir)
    assert told is not None
    assert (told.broker_host, told.broker_port, told.pinned) == ("broker.test", 8883, True)
    assert {path.name: path.stat().st_mode & 0o777 for path in (box.data_dir / "key").iterdir()} == {
        "box.pem": 0o600,
        "tls.pem": 0o600,
    }


async def test_the_code_may_be_typed_as_people_type(book: Book, box: Box) -> None:
    """Small letters, O for 0, no groups: the label was read right, that is enough."""
    typed = (await book.code()).lower().replace("-", " ").replace("0", "o").replace("1", "l")
    short = " ".join(book.fingerprint[:32].upper()[at : at + 4] for at in range(0, 32, 4))
    await enrol(box.data_dir, box.keys, box.clock, Invitation(book.url, typed, short))
    assert box.keys.held() is not None


async def test_renewal_over_mtls_makes_a_new_key_and_certificate(book: Book, box: Box) -> None:
    """The present certificate opens the door; no code is needed a second time."""
    await join(book, box)
    before = leaf(box)
    await renew(box.data_dir, box.keys, box.clock)
    assert public_der(leaf(box)) != public_der(before)
    assert leaf(box).subject == before.subject


async def test_a_car_that_was_away_too_long_renews_by_its_record_key(book: Book, box: Box) -> None:
    """Exported, parked, sold: a box whose certificate ran out comes back without anybody driving to it."""
    book.ahead_ms = -400 * MS_PER_DAY
    await join(book, box, days=500)
    book.ahead_ms = 0
    await renew(box.data_dir, box.keys, box.clock)
    held = box.keys.held()
    assert held is not None
    assert held.until_ms > book.now_ms()


async def test_a_replaced_card_is_a_new_box_that_says_whose_place_it_takes(
    book: Book, box: Box, other_box: Box
) -> None:
    """The old card may lie in a drawer or with a thief: from now on it is shut out."""
    await join(book, box)
    await join(book, other_box, replaces=box.id)

    assert (await enrolled(book, box)).state is BoxState.REPLACED
    assert (await enrolled(book, other_box)).replaces == box.id
    assert leaf(box).serial_number in revoked_serials(book)
    with pytest.raises(EnrolDenied, match="this box is replaced"):
        await renew(box.data_dir, box.keys, box.clock)


async def test_a_transferred_box_carries_the_new_fleet_from_its_next_renewal(book: Book, box: Box) -> None:
    """Fleets are sold in parts; nobody visits the cars for that."""
    await join(book, box, fleet="kyoto-taxis")
    await book.desk.transfer(box.id, "osaka-taxis", "sold")
    await renew(box.data_dir, box.keys, box.clock)
    assert leaf(box).subject.rfc4514_string() == f"CN={box.id},O=osaka-taxis"


# --- answers that get lost --------------------------------------------------------------------------------------


@asynccontextmanager
async def cutting(book: Book, cut: Callable[[], bool]) -> AsyncIterator[str]:
    """A way to the book that is cut, once `cut`, before the answer comes through."""
    to = urlsplit(book.url).port

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, when: Callable[[], bool]) -> None:
        try:
            while data := await reader.read(65_536):
                if when():
                    break
                writer.write(data)
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(HOST, to)
        await asyncio.gather(pass_on(reader, far_writer, lambda: False), pass_on(far_reader, writer, cut))

    async with await asyncio.start_server(serve, HOST, 0) as proxy:
        yield f"https://{HOST}:{proxy.sockets[0].getsockname()[1]}"


def counted(work: Callable[..., Awaitable[bytes]], done: list[bytes]) -> Callable[..., Awaitable[bytes]]:
    async def counting(*arguments: object) -> bytes:
        done.append(await work(*arguments))
        return done[-1]

    return counting


async def test_a_lost_answer_is_given_again_and_the_code_is_used_once(
    book: Book, box: Box, other_box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tunnel begins between request and answer: the code must not be lost with it."""
    given: list[bytes] = []
    monkeypatch.setattr(book.desk, "enrol", counted(book.desk.enrol, given))
    async with cutting(book, lambda: bool(given)) as url:
        invitation = await book.invitation(url)
        with pytest.raises(EnrolError, match=url):
            await enrol(box.data_dir, box.keys, box.clock, invitation)
    assert box.keys.held() is None

    invitation = replace(invitation, url=book.url)
    await enrol(box.data_dir, box.keys, box.clock, invitation)
    assert leaf(box).public_bytes(Encoding.DER) == given[0]
    with pytest.raises(EnrolDenied, match="used by another box"):
        await enrol(other_box.data_dir, other_box.keys, other_box.clock, invitation)


async def test_a_lost_renewal_keeps_the_old_certificate_and_is_given_again(
    book: Book, box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a renewal must not cost the box its way to the broker."""
    given: list[bytes] = []
    monkeypatch.setattr(book.desk, "renew", counted(book.desk.renew, given))
    async with cutting(book, lambda: bool(given)) as url:
        await enrol(box.data_dir, box.keys, box.clock, await book.invitation(url))
        first = leaf(box)
        with pytest.raises(EnrolError):
            await renew(box.data_dir, box.keys, box.clock)
        assert leaf(box) == first
        file = box.data_dir / "enrolment.toml"
        file.write_text(file.read_text().replace(url, book.url))
    await renew(box.data_dir, box.keys, box.clock)
    assert leaf(box).public_bytes(Encoding.DER) == given[0] == given[1]


# --- no ---------------------------------------------------------------------------------------------------------


async def test_codes_that_are_no_good_are_refused_in_words(book: Book, box: Box, other_box: Box) -> None:
    """The person at the car reads this and knows what to do."""
    used = await book.invitation()
    await enrol(box.data_dir, box.keys, box.clock, used)
    expired = await book.invitation(days=-1)
    unknown = Invitation(book.url, "0000-0000-0000-0000-0000-0000-0000", book.fingerprint)
    mistyped = replace(unknown, code=unknown.code[:-1] + "1")
    for invitation, why in (
        (used, "this code was used by another box"),
        (expired, "this code has expired"),
        (unknown, "this code was never made here"),
        (mistyped, "code: mistyped, its check characters do not fit"),
        (replace(unknown, code="A1"), "code: expected 28 letters and digits, got 2"),
    ):
        with pytest.raises(EnrolDenied, match=why):
            await enrol(other_box.data_dir, other_box.keys, other_box.clock, invitation)
    assert other_box.keys.held() is None


async def test_a_used_code_gives_its_own_box_nothing_for_another_key(book: Book, box: Box) -> None:
    """Single use: who found the label in the bin gets no second certificate, not even in the name of that box."""
    invitation = await book.invitation()
    await enrol(box.data_dir, box.keys, box.clock, invitation)
    with pytest.raises(EnrolDenied, match="this code was used"):
        await enrol(box.data_dir, box.keys, box.clock, invitation)


async def test_guessing_is_slowed_down(book: Book, box: Box) -> None:
    """130 bits are not guessed; the limit keeps guessers from costing us time. Afterwards a good code works again."""
    wrong = Invitation(book.url, "0000-0000-0000-0000-0000-0000-0000", book.fingerprint)
    for _ in range(WRONG_TRIES_MAX):
        with pytest.raises(EnrolDenied, match="never made"):
            await enrol(box.data_dir, box.keys, box.clock, wrong)
    with pytest.raises(EnrolError, match="429: too many wrong tries"):
        await join(book, box)
    book.ahead_ms = 11 * 60 * 1000
    await join(book, box)
    assert box.keys.held() is not None


async def test_a_revoked_box_gets_nothing_more_until_it_is_reinstated(book: Book, box: Box) -> None:
    """Stolen: shut out at once, and its certificates stand on the broker's list. Found again: a new code lets it in."""
    await join(book, box)
    await book.desk.set_state(box.id, BoxState.REVOKED, "stolen")
    assert leaf(box).serial_number in revoked_serials(book)
    with pytest.raises(EnrolDenied, match="this box is revoked"):
        await renew(box.data_dir, box.keys, box.clock)
    with pytest.raises(EnrolDenied, match="this box is revoked"):
        await join(book, box)

    await book.desk.set_state(box.id, BoxState.ACTIVE, "found")
    with pytest.raises(EnrolDenied, match="this certificate is revoked"):
        await renew(box.data_dir, box.keys, box.clock)
    await join(book, box)
    assert leaf(box).serial_number not in revoked_serials(book)


async def test_renewal_needs_ones_own_certificate(book: Book, box: Box, other_box: Box) -> None:
    """A stolen TLS key renews nobody: neither its own box, whose record key it lacks, nor the thief's."""
    await join(book, box)
    await join(book, other_box)
    pem = (book.authority.folder / CA_FILE).read_bytes()
    for trust, why in (
        (est.Trust(pem), "show the certificate that is to be renewed"),
        (est.Trust(pem, box.keys.tls_files), "this certificate is of another box"),
    ):
        with pytest.raises(EnrolDenied, match=why):
            await est.renew(book.url, trust, other_box.keys, pem, other_box.id)


async def test_a_box_that_never_enrolled_cannot_renew(book: Book, box: Box) -> None:
    """A record key alone is cheap: anybody can make one."""
    pem = (book.authority.folder / CA_FILE).read_bytes()
    with pytest.raises(EnrolDenied, match="not enrolled here"):
        await est.renew(book.url, est.Trust(pem), box.keys, pem, box.id)
    with pytest.raises(EnrolDenied, match="has not enrolled yet"):
        await renew(box.data_dir, box.keys, box.clock)


# --- trust ------------------------------------------------------------------------------------------------------


async def test_the_code_is_never_sent_to_a_server_with_another_root(
    book: Book, box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever stands in between on first contact learns no code."""
    asked: list[str] = []

    async def enrol_there(_request: bytes, code: str, _address: str) -> bytes:
        asked.append(code)
        raise AssertionError

    monkeypatch.setattr(book.desk, "enrol", enrol_there)
    for fingerprint, kind, why in (
        ("ab" * 32, EnrolDenied, "another authority than the fingerprint says"),
        (None, EnrolError, "certificate verify failed"),  # the system does not know our root
    ):
        with pytest.raises(kind, match=why):
            await enrol(box.data_dir, box.keys, box.clock, Invitation(book.url, await book.code(), fingerprint))
    assert asked == []


async def test_an_unset_clock_waits(book: Book, box: Box) -> None:
    """In 1970 every certificate is of the future; the code stays unused until the clock is set."""
    invitation = await book.invitation()
    box.clock.wall_ms = None
    with pytest.raises(EnrolError, match="the clock is not set yet"):
        await enrol(box.data_dir, box.keys, box.clock, invitation)
    box.clock.wall_ms = book.now_ms()
    await enrol(box.data_dir, box.keys, box.clock, invitation)


# --- strangers at the door --------------------------------------------------------------------------------------


@pytest.fixture
async def stranger(book: Book) -> AsyncIterator[httpx.AsyncClient]:
    pem = (book.authority.folder / CA_FILE).read_bytes()
    async with httpx.AsyncClient(verify=est.Trust(pem).context(), base_url=book.url, trust_env=False) as client:
        yield client


def request(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, binding: bytes | None) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "whoever")])
    )
    if binding is not None:
        oid = x509.ObjectIdentifier(BINDING_OID)
        builder = builder.add_extension(x509.UnrecognizedExtension(oid, binding), critical=False)
    return base64.b64encode(builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER))


async def test_requests_that_no_box_makes_are_refused(book: Book, box: Box, stranger: httpx.AsyncClient) -> None:
    """Another box's statement copied, an RSA key, no statement, noise, far too much: 400, and nothing is on file."""
    key = ec.generate_private_key(ec.SECP256R1())
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    records = box.keys.records
    copied = bind(records.public_key, records.sign, b"of another key")
    good = request(key, bind(records.public_key, records.sign, spki))
    code = await book.code()
    for body in (
        request(key, copied),
        request(key, copied[:-1]),
        request(key, b"\x04\x81\x00"),
        request(key, None),
        request(rsa.generate_private_key(65537, 2048), copied),
        request(ec.generate_private_key(ec.SECP384R1()), copied),
        good[:200],
        b"",
        b"\xff\xfe not base64",
        b"QUFB" * 10_000,
    ):
        answer = await stranger.post(ENROL, content=body, auth=("x", code))
        assert (answer.status_code, answer.headers["content-type"]) == (400, "text/plain; charset=utf-8"), answer.text
    assert await book.boxes() == {}
    assert (await stranger.post(ENROL, content=good, auth=("x", code))).status_code == 200


async def test_the_door_speaks_est(book: Book, box: Box, stranger: httpx.AsyncClient) -> None:
    """RFC 7030 §4.1.3, §4.2.3: other EST clients can come. Without a code they are asked for one."""
    answer = await stranger.get(CA_CERTS)
    assert (answer.status_code, answer.headers["content-type"]) == (200, PKCS7)
    assert answer.headers["content-transfer-encoding"] == "base64"
    key = box.keys.next_tls_key()
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    body = request(key, bind(box.keys.records.public_key, box.keys.records.sign, spki))
    for auth in (None, ("x", "")):
        answer = await stranger.post(ENROL, content=body, auth=auth)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == 'Basic realm="packbook"'
    assert (await stranger.get("/")).status_code == 404
    assert (await stranger.get(ENROL)).status_code == 405


async def test_the_database_holds_no_code(book: Book, box: Box, tmp_path: Path) -> None:
    """Whoever copies the database cannot enrol with it."""
    code = await book.code()
    await join(book, box)
    bytes_on_disk = await asyncio.to_thread(lambda: b"".join(path.read_bytes() for path in tmp_path.glob("book.db*")))
    assert code.encode() not in bytes_on_disk
    assert code.replace("-", "").encode() not in bytes_on_disk
