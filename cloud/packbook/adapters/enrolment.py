"""The desk where boxes get certificates and operators decide about boxes, over one database and one authority.

In:  certificate requests with a code or with the present certificate; operators' decisions.
Out: certificates, each on file before it is given; the broker's list of revoked ones.
One transaction decides, issues and notes. An answer that got lost is given again, the same: a box asks with the
same TLS key until it has one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy.ext.asyncio import AsyncConnection

from packbook.adapters.authority import Authority, fingerprint_of, milliseconds
from packbook.adapters.store import enrolment as shelf
from packbook.adapters.store.database import Database
from packbook.core.enrolment import (
    Asked,
    BoxState,
    EnrolledBox,
    Issued,
    Refused,
    WrongTries,
    refuse_box,
    refuse_code,
    refuse_renewal,
    same_again,
)
from packbook.ports.trouble import BadRequest, NoCertificate, PackbookError
from packwire.enrolment import BINDING_OID, bound_key, code_digest
from packwire.errors import WireError
from packwire.ids import box_id_of

UNAUTHORIZED: Final = 401
FORBIDDEN: Final = 403
TOO_MANY: Final = 429
BINDING: Final = x509.ObjectIdentifier(BINDING_OID)

log = logging.getLogger(__name__)


class UnknownBox(PackbookError):
    """No box of this name is enrolled here."""


@dataclass(frozen=True, slots=True)
class _Request:
    asked: Asked
    tls_key: ec.EllipticCurvePublicKey
    binding: x509.Extension[x509.ExtensionType]


class Desk:
    """`ports.Enrolment`, and what operators do."""

    def __init__(
        self,
        database: Database,
        authority: Authority,
        now_ms: Callable[[], int],
        *,
        days: int,
        addresses: Mapping[str, object] | None = None,
    ) -> None:
        """`days`: how long a box's certificate is valid."""
        self._database = database
        self._authority = authority
        self._now_ms = now_ms
        self._days = days
        self._wrong = WrongTries()
        self.addresses = addresses or {}

    @property
    def authorities(self) -> Sequence[bytes]:
        return [one.public_bytes(serialization.Encoding.DER) for one in self._authority.certificates]

    async def enrol(self, request: bytes, code: str, address: str) -> bytes:
        now_ms = self._now_ms()
        self._slow_down(address, now_ms)
        wanted = read_request(request)
        asked = wanted.asked
        try:
            digest = code_digest(code)
        except WireError as problem:
            raise self._no(Refused(str(problem), unknown=True), address, now_ms) from problem
        replaced = False
        try:
            async with self._database.transaction() as connection:
                on_file = await shelf.code_of(connection, digest)
                refuse_code(on_file, asked, now_ms)
                assert on_file is not None
                box = await shelf.box_of(connection, asked.box)
                refuse_box(box)
                newest = await shelf.newest_certificate(connection, asked.box)
                if on_file.used_by is not None:
                    if newest is None or newest.code != digest or not same_again(newest, asked, now_ms):
                        raise Refused("this code was used", unknown=True)
                    return newest.der
                await shelf.use_code(connection, digest, asked.box, now_ms)
                old = on_file.replaces if on_file.replaces != asked.box else None
                if box is None:
                    box = EnrolledBox(asked.box, asked.public_key, on_file.fleet, BoxState.ACTIVE, now_ms, now_ms, old)
                await shelf.keep_box(connection, replace(box, fleet=on_file.fleet, replaces=old or box.replaces))
                if old is not None:
                    replaced = await self._end(connection, old, BoxState.REPLACED, now_ms)
                    await shelf.note(connection, BoxState.REPLACED, old, f"by {asked.box}", now_ms)
                issued = await self._issue(connection, wanted, on_file.fleet, digest, now_ms)
                told = f"fleet {on_file.fleet}" + (f", in place of {old}" if old else "")
                await shelf.note(connection, "enrolled", asked.box, told, now_ms)
        except Refused as problem:
            raise self._no(problem, address, now_ms) from problem
        if replaced:
            await self.write_revoked()
        log.info("box %s enrolled", asked.box, extra={"SERIAL": issued.serial})
        return issued.der

    async def renew(self, request: bytes, shown: bytes | None, address: str) -> bytes:
        now_ms = self._now_ms()
        self._slow_down(address, now_ms)
        wanted = read_request(request)
        asked = wanted.asked
        try:
            async with self._database.transaction() as connection:
                box = await shelf.box_of(connection, asked.box)
                newest = await shelf.newest_certificate(connection, asked.box)
                refuse_renewal(box, await _on_file(connection, shown), newest, now_ms)
                assert box is not None
                if newest is not None and same_again(newest, asked, now_ms):
                    return newest.der
                issued = await self._issue(connection, wanted, box.fleet, None, now_ms)
                await shelf.note(connection, "renewed", asked.box, f"certificate {issued.serial}", now_ms)
        except Refused as problem:
            raise self._no(problem, address, now_ms) from problem
        log.info("box %s renewed its certificate", asked.box, extra={"SERIAL": issued.serial})
        return issued.der

    async def set_state(self, box: str, state: BoxState, why: str, who: str | None = None) -> None:
        """An operator's decision. Raises UnknownBox. Certificates of a box that may not speak are revoked."""
        now_ms = self._now_ms()
        async with self._database.transaction() as connection:
            found = await _must_be(connection, box)
            if state is BoxState.ACTIVE:
                await shelf.keep_box(connection, replace(found, state=state, since_ms=now_ms))
            else:
                await self._end(connection, box, state, now_ms)
            await shelf.note(connection, str(state), box, why, now_ms, who=who)
        await self.write_revoked()

    async def transfer(self, box: str, fleet: str, why: str, who: str | None = None) -> None:
        """Into another fleet. The certificate says so from its next renewal on. Raises UnknownBox."""
        now_ms = self._now_ms()
        async with self._database.transaction() as connection:
            found = await _must_be(connection, box)
            await shelf.keep_box(connection, replace(found, fleet=fleet))
            told = f"from {found.fleet} to {fleet}" + (f": {why}" if why else "")
            await shelf.note(connection, "transferred", box, told, now_ms, who=who, fleet=fleet)

    async def write_revoked(self) -> None:
        """The list that the broker reads, from what is on file. Also at every start: a crash may have come between."""
        now_ms = self._now_ms()
        async with self._database.transaction() as connection:
            revoked = await shelf.revoked(connection, now_ms)
        self._authority.write_revoked(revoked, now_ms)

    async def _end(self, connection: AsyncConnection, box: str, state: BoxState, now_ms: int) -> bool:
        found = await shelf.box_of(connection, box)
        if found is None:
            return False
        await shelf.keep_box(connection, replace(found, state=state, since_ms=now_ms))
        return await shelf.revoke_certificates(connection, box, now_ms) > 0

    async def _issue(
        self, connection: AsyncConnection, wanted: _Request, fleet: str, code: bytes | None, now_ms: int
    ) -> Issued:
        asked = wanted.asked
        certificate = self._authority.issue(asked.box, fleet, wanted.tls_key, wanted.binding, now_ms, self._days)
        issued = Issued(
            serial=f"{certificate.serial_number:x}",
            box=asked.box,
            issuer=fingerprint_of(self._authority.issuer.certificate),
            tls_key=asked.tls_key,
            code=code,
            issued_ms=now_ms,
            until_ms=milliseconds(certificate.not_valid_after_utc),
            der=certificate.public_bytes(serialization.Encoding.DER),
        )
        await shelf.keep_certificate(connection, issued)
        return issued

    def _slow_down(self, address: str, now_ms: int) -> None:
        wait_ms = self._wrong.wait_ms(address, now_ms)
        if wait_ms > 0:
            raise NoCertificate("too many wrong tries; wait", status=TOO_MANY, wait_s=wait_ms // 1000 + 1)

    def _no(self, problem: Refused, address: str, now_ms: int) -> NoCertificate:
        if problem.unknown:
            self._wrong.count(address, now_ms)
        log.warning("no certificate for %s: %s", address, problem)
        return NoCertificate(str(problem), status=UNAUTHORIZED if problem.unknown else FORBIDDEN)


def read_request(der: bytes) -> _Request:
    """A certificate request whose signatures hold. Its subject is not believed: the record key names the box.

    Raises BadRequest.
    """
    try:
        request = x509.load_der_x509_csr(der)
        tls_key = request.public_key()
        valid = request.is_signature_valid
        binding = request.extensions.get_extension_for_oid(BINDING)
    except x509.ExtensionNotFound as problem:
        raise BadRequest("the request does not say which record key it belongs to") from problem
    except (ValueError, TypeError, InvalidSignature, x509.DuplicateExtension) as problem:
        raise BadRequest(f"not a certificate request: {problem}") from problem
    if not isinstance(tls_key, ec.EllipticCurvePublicKey) or not isinstance(tls_key.curve, ec.SECP256R1):
        raise BadRequest("expected a P-256 key")
    if not valid or not isinstance(binding.value, x509.UnrecognizedExtension):
        raise BadRequest("the request is not signed by its own key")
    spki = tls_key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    try:
        public_key = bound_key(binding.value.value, spki)
    except WireError as problem:
        raise BadRequest(str(problem)) from problem
    digest = hashes.Hash(hashes.SHA256())
    digest.update(spki)
    return _Request(Asked(box_id_of(public_key), public_key, digest.finalize()), tls_key, binding)


async def _on_file(connection: AsyncConnection, shown: bytes | None) -> Issued | None:
    """The certificate that a TLS connection showed. Raises Refused for one that we never gave."""
    if shown is None:
        return None
    serial = f"{x509.load_der_x509_certificate(shown).serial_number:x}"
    found = await shelf.certificate_of(connection, serial)
    if found is None or found.der != shown:
        raise Refused("this certificate was not given here", unknown=True)
    return found


async def _must_be(connection: AsyncConnection, box: str) -> EnrolledBox:
    found = await shelf.box_of(connection, box)
    if found is None:
        raise UnknownBox(f"box {box} is not enrolled here; 'packbook box list' shows those that are")
    return found
