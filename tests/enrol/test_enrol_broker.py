"""Certificates from enrolment at the real Debian mosquitto: who is let in, and who is not."""

from __future__ import annotations

import asyncio
import re
import ssl
import sys
from asyncio.subprocess import PIPE
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from brokers import Mosquitto
from packbook.adapters import authority
from packbook.adapters.authority import CA_FILE, CRL_FILE, Authority
from packbook.clock import now_ms
from packbook.core.enrolment import MS_PER_DAY, BoxState
from packbox.adapters.uplink import MqttUplink, TlsFiles, UplinkSettings
from packbox.app.enrol import enrol, renew
from packbox.core.record import BoxId
from packbox.ports import LinkDownError
from packwire.enrolment import BINDING_OID, bind

from .conftest import HOST, Book, Box

START_WAIT_MAX_S: Final = 60.0  # a loaded machine starts a box within ten


@pytest.fixture
def broker(tmp_path: Path, book: Book) -> Iterator[Mosquitto]:
    folder = book.authority.folder
    acl = tmp_path / "acl"
    acl.write_text("pattern write pb/v1/%u/+\npattern read pb/v1/%u/ack\n")
    options = (
        f"cafile {folder / CA_FILE}\n"
        f"certfile {folder / f'server-{HOST}.pem'}\nkeyfile {folder / f'server-{HOST}.key'}\n"
        f"crlfile {folder / CRL_FILE}\nrequire_certificate true\nuse_identity_as_username true\nacl_file {acl}"
    )
    with Mosquitto(tmp_path, options=options, anonymous=False) as running:
        yield running


def uplink(broker: Mosquitto, box: Box, tls: TlsFiles) -> MqttUplink:
    return MqttUplink(UplinkSettings(broker.host, broker.port, tls=tls), BoxId(box.id))


def files(box: Box) -> TlsFiles:
    return TlsFiles(box.data_dir / "ca.pem", *box.keys.tls_files)


async def join(book: Book, box: Box) -> None:
    await enrol(box.data_dir, box.keys, box.clock, await book.invitation(days=500))


async def is_let_in(broker: Mosquitto, box: Box, tls: TlsFiles) -> bool:
    """By name: the broker's rules let only the box of the certificate publish here."""
    try:
        async with uplink(broker, box, tls) as link:
            await link.publish(b"anything")
    except LinkDownError:
        return False
    return True


async def test_an_enrolled_box_is_let_in_and_also_after_renewal(book: Book, box: Box, broker: Mosquitto) -> None:
    """What enrolment writes is all that the uplink needs."""
    await join(book, box)
    assert await is_let_in(broker, box, files(box))
    await renew(box.data_dir, box.keys, box.clock)
    assert await is_let_in(broker, box, files(box))


async def test_strangers_are_kept_out(book: Book, box: Box, other_box: Box, broker: Mosquitto, tmp_path: Path) -> None:
    """No certificate; one that ran out; one of another authority; another box's."""
    await join(book, box)
    await join(book, other_box)
    ca = box.data_dir / "ca.pem"
    assert not await is_let_in(broker, box, TlsFiles(ca))
    assert not await is_let_in(broker, other_box, files(box)), "a box publishes under its own name only"

    theirs = authority.make_root("Another fleet", now_ms())
    authority.add_issuer(theirs, tmp_path / "theirs", now_ms())
    ours, book.desk._authority = book.desk._authority, Authority(tmp_path / "theirs")
    foreign = Box(tmp_path / "foreign")
    trust = TlsFiles(ca, *foreign.keys.tls_files)
    chain = await book.desk.enrol(csr(foreign), await book.code(), "here")
    foreign.keys.keep(pem(chain))
    book.desk._authority = ours
    assert not await is_let_in(broker, foreign, trust)

    book.ahead_ms = -400 * MS_PER_DAY
    late = Box(tmp_path / "late")
    await join(book, late)
    assert not await is_let_in(broker, late, files(late))


async def test_a_revoked_box_is_out_once_the_broker_has_read_the_list(
    book: Book, box: Box, other_box: Box, broker: Mosquitto
) -> None:
    """The lost-box procedure, to its end; everybody else stays in."""
    await join(book, box)
    await join(book, other_box)
    assert await is_let_in(broker, box, files(box))
    await book.desk.set_state(box.id, BoxState.REVOKED, "stolen")
    broker.stop()
    broker.start()
    assert not await is_let_in(broker, box, files(box))
    assert await is_let_in(broker, other_box, files(other_box))


async def test_a_new_issuer_lets_old_and_new_boxes_in(book: Book, box: Box, other_box: Box, tmp_path: Path) -> None:
    """Rotation of the online key: nobody is visited. The old one keeps its list of revoked certificates."""
    folder = tmp_path / "ca"
    root = authority.make_root("Rotating", now_ms())
    authority.add_issuer(root, folder, now_ms())
    server = authority.make_server(root, [HOST], folder, now_ms())
    book.desk._authority = Authority(folder)
    await keep_directly(book, box, folder)
    authority.add_issuer(root, folder, now_ms())
    book.desk._authority = Authority(folder)
    await keep_directly(book, other_box, folder)
    await book.desk.write_revoked()
    options = (
        f"cafile {folder / CA_FILE}\ncertfile {server[0]}\nkeyfile {server[1]}\ncrlfile {folder / CRL_FILE}\n"
        "require_certificate true\nuse_identity_as_username true"
    )
    with Mosquitto(tmp_path, options=options, anonymous=False) as broker:
        for one in (box, other_box):
            assert await is_let_in(broker, one, TlsFiles(folder / CA_FILE, *one.keys.tls_files))


async def keep_directly(book: Book, box: Box, folder: Path) -> None:
    """Past the door, whose TLS trusts the session's authority."""
    box.keys.keep(pem(await book.desk.enrol(csr(box), await book.code(), "here")))


async def test_an_issuer_cannot_make_a_server(book: Book, tmp_path: Path, broker: Mosquitto) -> None:
    """Whoever steals the book's disk has the issuer's key: with it he must not be able to play the broker."""

    issuer, key = book.authority.issuer, ec.generate_private_key(ec.SECP256R1())
    forged = (
        authority._builder(
            x509.Name([]), key.public_key(), issuer.certificate, authority._time(now_ms()),
            issuer.certificate.not_valid_after_utc,
        )
        .add_extension(x509.SubjectAlternativeName([authority._address(HOST)]), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(issuer.key, hashes.SHA256())
    )  # fmt: skip
    file = tmp_path / "forged.pem"
    file.write_bytes(authority._pem(forged) + authority._pem(issuer.certificate) + authority._key_pem(key))
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(file)
    client = ssl.create_default_context(cafile=book.authority.folder / CA_FILE)
    with pytest.raises(
        ssl.SSLCertVerificationError, match=r"unsuitable certificate purpose|excluded subtree|invalid CA"
    ):
        handshake(client, server)


def handshake(client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    """Both ends in memory."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends: list[Callable[[], object]] = [
        client.wrap_bio(down, up, server_hostname=HOST).do_handshake,
        server.wrap_bio(up, down, server_side=True).do_handshake,
    ]
    for _ in range(4):
        for end in ends:
            try:
                end()
            except ssl.SSLWantReadError:
                continue


def csr(box: Box) -> bytes:
    key, records = box.keys.next_tls_key(), box.keys.records
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    statement = x509.UnrecognizedExtension(
        x509.ObjectIdentifier(BINDING_OID), bind(records.public_key, records.sign, spki)
    )
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.add_extension(statement, critical=False).sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def pem(der: bytes) -> bytes:

    return x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM)


async def test_a_new_card_goes_from_first_start_to_the_broker_without_a_restart(
    book: Book, tmp_path: Path, broker: Mosquitto
) -> None:
    """Plug in, drive off: the running box enrols beside listening and then sends, as the user of its certificate."""
    book.desk.addresses = {"broker": {"host": HOST, "port": broker.port}}
    code, data = await book.code(), tmp_path / "card"
    invitation = tmp_path / "packbox-enrol.toml"
    invitation.write_text(f'url = "{book.url}"\ntoken = "{code}"\nca_fingerprint = "{book.fingerprint}"\n')
    settings = tmp_path / "packbox.toml"
    settings.write_text(
        f'data_dir = "{data}"\nenrol_file = "{invitation}"\nclock_trusted = "always"\n'
        'source = "sim:leaf-62,days=1,speed=1"\nprofile = "nissan-leaf"\n'
    )
    running = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "packbox", "run", "--settings", str(settings), stdout=PIPE, stderr=PIPE
    )
    try:
        async with asyncio.timeout(START_WAIT_MAX_S):
            while True:
                log = await asyncio.to_thread(broker.log.read_text)
                named = re.search(r"as ([0-9a-f]{16}) .*u'\1'", log)
                if named is not None:
                    break
                assert running.returncode is None, (await running.communicate())[1].decode()
                await asyncio.sleep(0.1)
    finally:
        if running.returncode is None:
            running.terminate()
        async with asyncio.timeout(START_WAIT_MAX_S):
            _, said = await running.communicate()
    assert running.returncode == 0, said.decode()
    assert set(await book.boxes()) == {named[1]}
    assert code.encode() not in said
