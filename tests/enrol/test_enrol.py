"""A box and a book over real HTTPS: first certificate, the next one, and everything that goes wrong on the way."""

from __future__ import annotations

import pytest
from cryptography import x509

from packbook.core.enrolment import MS_PER_DAY, BoxState
from packbox.adapters.enrolment_file import Invitation, read_enrolment
from packbox.app.enrol import enrol, renew
from packbox.ports import EnrolDenied, EnrolError
from packwire.enrolment import BINDING_OID, bound_key

from .conftest import Book, Box


def leaf(box: Box) -> x509.Certificate:
    held = box.keys.held()
    assert held is not None
    return x509.load_pem_x509_certificate(held.chain)


async def test_a_code_gives_a_new_box_its_certificate(book: Book, box: Box) -> None:
    """The afternoon at the workshop: label, code, done. The certificate names the box, its fleet and its record key."""
    invitation = await book.invitation(fleet="kyoto-taxis")
    await enrol(box.data_dir, box.keys, box.clock, invitation)

    got = leaf(box)
    binding = got.extensions.get_extension_for_oid(x509.ObjectIdentifier(BINDING_OID)).value
    assert got.subject.rfc4514_string() == f"CN={box.id},O=kyoto-taxis"
    assert isinstance(binding, x509.UnrecognizedExtension)
    assert bound_key(binding.value, spki(got)) == box.keys.records.public_key
    enrolment = read_enrolment(box.data_dir)
    assert enrolment is not None
    assert (enrolment.broker_host, enrolment.broker_port, enrolment.pinned) == ("broker.test", 8883, True)
    assert [path.stat().st_mode & 0o777 for path in sorted((box.data_dir / "key").iterdir())] == [0o600, 0o600]


def spki(certificate: x509.Certificate) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


async def test_renewal_over_mtls_makes_a_new_key_and_certificate(book: Book, box: Box) -> None:
    """The present certificate is what opens the door; no code is needed a second time."""
    await enrol(box.data_dir, box.keys, box.clock, await book.invitation())
    before = leaf(box)
    await renew(box.data_dir, box.keys, box.clock)
    assert leaf(box).public_key() != before.public_key()
    assert leaf(box).subject == before.subject
