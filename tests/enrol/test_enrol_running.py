"""Enrolment in a running box: the invitation on a new card, renewal in time, and what health and doctor say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from msgspec.structs import replace

from packbook.core.enrolment import MS_PER_DAY, BoxState
from packbox.adapters import durable, enrolment_file, key_store
from packbox.adapters.key_store import FileKeyStore
from packbox.app.doctor import examine
from packbox.app.enrol import enrol, renew
from packbox.app.enrolled import LOOK_EVERY_S, Enrolling, with_enrolment
from packbox.app.findings import Verdict
from packbox.clock import ClockTrust
from packbox.core.renewal import RETRY_MAX_S, due_ms, retry_s
from packbox.ports import PackboxError
from packbox.settings import BrokerSettings, Settings

from .conftest import BOOK_KEY, OPERATOR_KEY, Book, Box

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer


def settings_of(box: Box, **more: object) -> Settings:
    return Settings(data_dir=box.data_dir, enrol_file=box.data_dir / "packbox-enrol.toml", **more)  # type: ignore[arg-type]  # the test's own


async def invite(book: Book, box: Box, url: str | None = None) -> Settings:
    """A card with the operator's file on it."""
    settings, code = settings_of(box), await book.code(days=500)
    settings.enrol_file.write_text(
        f'url = "{url or book.url}"\ntoken = "{code}"\nca_fingerprint = "{book.fingerprint}"\n'
    )
    return settings


async def test_a_new_card_enrols_by_itself_and_then_knows_its_broker(book: Book, box: Box) -> None:
    """Nobody logs in on 50 boxes."""
    enrolling = Enrolling(await invite(book, box), box.keys, box.clock)
    assert enrolling.invited
    assert enrolling.settings.broker.host is None
    assert await enrolling.look() == LOOK_EVERY_S
    broker = enrolling.settings.broker
    assert (broker.host, broker.port, broker.tls) == ("broker.test", 8883, True)
    assert (broker.ca_file, broker.cert_file) == (box.data_dir / "ca.pem", box.data_dir / "key/tls.pem")
    assert not enrolling.invited
    assert enrolling.trouble is None


async def test_a_box_without_network_or_clock_tries_again_and_says_so(book: Book, box: Box) -> None:
    """First start in a garage: it listens, and enrols when it can. Tries grow rarer."""
    settings = await invite(book, box, url="https://127.0.0.1:1")
    enrolling = Enrolling(settings, box.keys, box.clock)
    waits = [await enrolling.look() for _ in range(3)]
    assert 30 <= waits[0] <= 60
    assert 120 <= waits[2] <= 240
    assert enrolling.trouble is not None
    assert enrolling.trouble.startswith("not enrolled: https://127.0.0.1:1: ")

    await invite(book, box)
    box.clock.wall_ms = None
    await enrolling.look()
    assert "the clock is not set yet" in (enrolling.trouble or "")
    box.clock.wall_ms = book.now_ms()
    await enrolling.look()
    assert enrolling.trouble is None


async def test_enrolment_alone_tells_a_box_whom_to_believe(book: Book, box: Box) -> None:
    """Nobody types a key of 64 digits into 50 boxes. A running box starts anew with it; the doctor shows it."""
    began_anew: list[bool] = []
    enrolling = Enrolling(await invite(book, box), box.keys, box.clock, lambda: began_anew.append(True))
    await enrolling.look()
    assert (enrolling.settings.operator_key, began_anew) == (OPERATOR_KEY.hex(), [True])
    said = [found.text for found in examine(lambda: settings_of(box)) if found.check == "operator"]
    assert said == [
        f"believed is who signs with key {OPERATOR_KEY.hex()}, since enrolment",
        f"at enrolment the book signed with key {BOOK_KEY.hex()}",
    ]
    own = settings_of(box, operator_key="ab" * 32)
    assert with_enrolment(own).operator_key == "ab" * 32
    said = [found.text for found in examine(lambda: own) if found.check == "operator"]
    assert "by the setting operator_key" in said[0]


async def test_whom_to_believe_is_pinned_until_the_box_enrols_anew(book: Book, box: Box) -> None:
    """A book that is taken over later changes nothing for boxes that are out there; only a new code does."""
    settings = await invite(book, box)
    await Enrolling(settings, box.keys, box.clock).look()
    book.desk.addresses = {"operator_key": "cd" * 32, "book_key": "ef" * 32}
    await renew(box.data_dir, box.keys, box.clock)
    assert with_enrolment(settings).operator_key == OPERATOR_KEY.hex()
    await enrol(box.data_dir, box.keys, box.clock, await book.invitation())
    assert with_enrolment(settings).operator_key == "cd" * 32


@pytest.mark.parametrize("told", [{}, {"operator_key": "AB" * 32}, {"operator_key": ["ab"]}, {"operator_key": "ab"}])
async def test_a_book_that_tells_no_usable_key_makes_nobody_believed(
    book: Book, box: Box, told: dict[str, object]
) -> None:
    """Another EST server knows nothing of operators; the box keeps its history all the same."""
    book.desk.addresses = told
    settings = await invite(book, box)
    enrolling = Enrolling(settings, box.keys, box.clock, lambda: pytest.fail("nothing new to believe"))
    await enrolling.look()
    assert enrolling.settings.operator_key is None
    said = [found.text for found in examine(lambda: settings) if found.check == "operator"]
    assert said == ["no operator is believed: configurations and commands are refused"]


async def test_a_broken_invitation_is_named(book: Book, box: Box) -> None:
    """It was typed by a person, on another computer."""
    settings = await invite(book, box)
    for text, said in (
        ("url = 1", "url: expected text in quotes"),
        ('url = "https://x"', "token is missing"),
        ('tokn = "A"', "tokn: there is no such key"),
        ("\x00", "not TOML"),
        ('url = "http://x"\ntoken = "0000-0000-0000-0000-0000-0000-0000"', "expected https://HOST:PORT"),
    ):
        settings.enrol_file.write_text(text)
        enrolling = Enrolling(settings, box.keys, box.clock)
        await enrolling.look()
        assert said in (enrolling.trouble or "")


async def test_the_certificate_is_renewed_at_two_thirds_of_its_life(book: Book, box: Box) -> None:
    """Not before, not all boxes in one hour, and with months to spare for trouble."""
    book.ahead_ms = -260 * MS_PER_DAY
    enrolling = Enrolling(await invite(book, box), box.keys, box.clock)
    await enrolling.look()
    first = box.keys.held()
    assert first is not None
    box.clock.wall_ms = due_ms(first.from_ms, first.until_ms, 0) - 1
    await enrolling.look()
    assert box.keys.held() == first
    box.clock.wall_ms = None  # who does not know the day renews nothing
    await enrolling.look()
    assert box.keys.held() == first
    book.ahead_ms = 0
    box.clock.wall_ms = book.now_ms()
    await enrolling.look()
    second = box.keys.held()
    assert second is not None
    assert second.until_ms > first.until_ms


async def test_a_refused_renewal_shows_in_health_and_doctor(book: Book, box: Box) -> None:
    """The certificate still has weeks: time for a person to act."""
    book.ahead_ms = -345 * MS_PER_DAY
    settings = await invite(book, box)
    enrolling = Enrolling(settings, box.keys, box.clock)
    await enrolling.look()
    book.ahead_ms = 0
    await book.desk.set_state(box.id, BoxState.RETIRED, "")
    await enrolling.look()
    assert (enrolling.trouble or "").startswith("runs out in ")
    assert "this box is retired" in (enrolling.trouble or "")
    trusting = replace(settings, clock_trusted=ClockTrust.ALWAYS)
    found = [finding.verdict for finding in examine(lambda: trusting) if finding.check == "certificate"]
    assert found == [Verdict.WARN]


def test_renewals_of_a_fleet_are_spread(box: Box) -> None:
    """Boxes that enrolled on one afternoon must not come back on one."""
    year = 365 * MS_PER_DAY
    assert due_ms(0, year, 0.0) == int(year * 2 / 3)
    assert (due_ms(0, year, 1.0) - due_ms(0, year, 0.0)) // MS_PER_DAY == 12
    assert due_ms(0, year, 1.0) < year
    assert retry_s(1, 0.0) == 30
    assert retry_s(1000, 1.0) == RETRY_MAX_S


async def test_what_the_operator_set_wins_over_what_enrolment_told(book: Book, box: Box) -> None:
    """A bridge on the workshop's own network, a test broker without encryption."""
    enrolling = Enrolling(await invite(book, box), box.keys, box.clock)
    await enrolling.look()

    def broker(**given: object) -> BrokerSettings:
        return with_enrolment(settings_of(box, broker=BrokerSettings(**given))).broker  # type: ignore[arg-type]  # the test's own

    own = broker(host="bridge.test")
    assert (own.host, own.port, own.cert_file) == ("bridge.test", 8883, box.data_dir / "key/tls.pem")
    assert broker(host="127.0.0.1") == BrokerSettings(host="127.0.0.1")
    theirs = broker(cert_file="a.pem", key_file="b.pem")
    assert (theirs.host, str(theirs.cert_file), str(theirs.key_file)) == ("broker.test", "a.pem", "b.pem")


def test_a_power_cut_while_keeping_leaves_one_whole_pair(box: Box) -> None:
    """Key and certificate change in one step; a waiting key that is in force already is not used a second time."""
    first = box.keys.next_tls_key()
    assert box.keys.next_tls_key().public_key() == first.public_key()
    waiting, copy = box.data_dir / "key/tls-next.pem", box.data_dir / "key/copy"
    copy.hardlink_to(waiting)
    box.keys.keep(self_signed(first))
    copy.rename(waiting)  # the cut: the second step was not done
    again = FileKeyStore(box.data_dir / "key", box.keys.records)
    assert again.next_tls_key().public_key() != first.public_key()
    held = again.held()
    assert held is not None
    assert x509.load_pem_x509_certificate(held.chain).public_key() == first.public_key()


def test_a_key_that_others_may_read_is_refused(box: Box) -> None:
    """Like the record key: it is one only as long as nobody else has it."""
    box.keys.next_tls_key()
    (box.data_dir / "key/tls-next.pem").chmod(0o644)
    with pytest.raises(PackboxError, match="chmod 600"):
        box.keys.next_tls_key()


def self_signed(key: ec.EllipticCurvePrivateKey) -> bytes:
    now, name = datetime.now(UTC), x509.Name([])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


class PowerCut(BaseException):
    """Nothing catches it, as nothing catches the real one."""


@pytest.mark.parametrize("written", [True, False], ids=["after", "before"])
@pytest.mark.parametrize("at", range(1, 5))
async def test_a_power_cut_at_any_write_of_enrolment_costs_no_code(
    book: Book, box: Box, monkeypatch: pytest.MonkeyPatch, at: int, written: bool
) -> None:
    """The car is switched off when its driver likes: the next start goes on with the same key and the same code."""
    settings, writes = await invite(book, box), 0

    def cut(path: Path, data: bytes, mode: int) -> None:
        nonlocal writes
        writes += 1
        if written or writes != at:
            durable.write_atomically(path, data, mode)
        if writes == at:
            raise PowerCut

    for module in (key_store, enrolment_file):
        monkeypatch.setattr(module, "write_atomically", cut)
    with pytest.raises(PowerCut):
        await Enrolling(settings, box.keys, box.clock).look()
    again = Enrolling(with_enrolment(settings), FileKeyStore(box.data_dir / "key", box.keys.records), box.clock)
    await again.look()
    assert (again.trouble, again.invited, again.settings.broker.host) == (None, False, "broker.test")
    assert again.settings.broker.cert_file == box.data_dir / "key/tls.pem"


class ChipKey(ec.EllipticCurvePrivateKey):
    """A key that never leaves its chip: it says its public half and signs, and refuses everything else."""

    def __init__(self) -> None:
        self._chip = ec.generate_private_key(ec.SECP256R1())

    def exchange(self, algorithm: ec.ECDH, peer_public_key: ec.EllipticCurvePublicKey) -> bytes:
        raise NotImplementedError

    def public_key(self) -> ec.EllipticCurvePublicKey:
        return self._chip.public_key()

    @property
    def curve(self) -> ec.EllipticCurve:
        return self._chip.curve

    @property
    def key_size(self) -> int:
        return self._chip.key_size

    def sign(self, data: Buffer, signature_algorithm: ec.EllipticCurveSignatureAlgorithm) -> bytes:
        return self._chip.sign(data, signature_algorithm)

    def private_numbers(self) -> ec.EllipticCurvePrivateNumbers:
        raise NotImplementedError

    def private_bytes(self, *_: object) -> bytes:
        raise NotImplementedError

    def __copy__(self) -> ChipKey:
        raise NotImplementedError

    def __deepcopy__(self, memo: dict[Any, Any]) -> ChipKey:
        raise NotImplementedError


class ChipStore(FileKeyStore):
    """`ports.KeyStore` over a chip: the chain is kept, the key stays where it is."""

    chain = b""

    def __init__(self, box: Box) -> None:
        super().__init__(box.data_dir / "key", box.keys.records)
        self.chip = ChipKey()

    def next_tls_key(self) -> ec.EllipticCurvePrivateKey:
        return self.chip

    def keep(self, chain: bytes) -> None:
        self.chain = chain


async def test_a_key_that_cannot_be_read_out_enrols_too(book: Book, box: Box) -> None:
    """The port is wide enough for a TPM or ATECC608: nothing asks for the private key's bytes."""
    store = ChipStore(box)
    await enrol(box.data_dir, store, box.clock, await book.invitation())
    assert x509.load_pem_x509_certificate(store.chain).public_key() == store.chip.public_key()
