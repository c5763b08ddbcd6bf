"""The box's side of EST (RFC 7030): certificates over HTTPS, from the book or from any other EST server.

In:  the server's address, what to trust, a key store.
Out: certificates that were checked: the authority's by its fingerprint or by the system's trust, ours by our own key.
Every trouble is an EnrolError that names the address and the reason; EnrolDenied when the answer was no.
"""

from __future__ import annotations

import base64
import binascii
import re
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.serialization import pkcs7
from cryptography.x509.oid import NameOID

from packbox.ports import EnrolDenied, EnrolError, KeyStore
from packwire.enrolment import ADDRESSES, BINDING_OID, CA_CERTS, ENROL, PKCS10, REENROL, bind, fingerprint

ANSWER_WAIT_MAX_S: Final = 30.0  # over a slow mobile link
ANSWER_BYTES_MAX: Final = 65_536
SAID_CHARS_MAX: Final = 200  # of what a server says in an answer of its own words
KEY: Final = re.compile("[0-9a-f]{64}")  # Ed25519, public, in hexadecimal
LATER: Final = (408, 429)  # no for now
PLAIN: Final = {"Accept-Encoding": "identity"}  # nothing here is worth unpacking


@dataclass(frozen=True, slots=True)
class Trust:
    """Whom to believe. `authorities` PEM: these only; none: what the system trusts."""

    authorities: bytes | None = None
    client: tuple[Path, Path] | None = None  # certificate and key to show

    def context(self) -> ssl.SSLContext:
        text = None if self.authorities is None else self.authorities.decode("ascii")
        try:
            context = ssl.create_default_context(cadata=text)
            if self.client is not None:
                context.load_cert_chain(*self.client)
        except OSError as problem:  # ssl.SSLError is one too
            raise EnrolError(f"certificates cannot be used: {problem}") from problem
        return context


async def authorities(url: str, pinned: str | None) -> bytes:
    """The authority's certificates in PEM, root first.

    `pinned`: how the root's fingerprint begins. Then the connection itself need not be trusted yet (RFC 7030 §4.1.1):
    a wrong server cannot show a certificate with that fingerprint. None: the system's trust must do.
    """
    context = ssl.create_default_context()
    if pinned is not None:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    found = _certificates(url, await _ask(url, context, "GET", CA_CERTS))
    if pinned is not None:
        root = next((one for one in found if fingerprint(_der(one)).startswith(pinned)), None)
        if root is None:
            raise EnrolDenied(f"{url}: has another authority than the fingerprint says: wrong address, or not ours")
        found = [root, *(one for one in found if one != root and _issued(root, one))]
    return b"".join(_pem(one) for one in found)


async def enrol(url: str, trust: Trust, keys: KeyStore, issuers: bytes, box: str, code: str) -> bytes:
    """The first certificate, for a one-time code. Returns our chain in PEM; `issuers` may stand in it."""
    return await _certify(url, trust, keys, issuers, box, ENROL, httpx.BasicAuth(box, code))


async def renew(url: str, trust: Trust, keys: KeyStore, issuers: bytes, box: str) -> bytes:
    """The next certificate. Returns our chain in PEM; `issuers` may stand in it."""
    return await _certify(url, trust, keys, issuers, box, REENROL, None)


@dataclass(frozen=True, slots=True)
class Told:
    """What a book tells its boxes besides their certificates. Another EST server tells nothing of it."""

    broker_host: str | None = None
    broker_port: int | None = None
    operator_key: str | None = None
    book_key: str | None = None


async def told_by(url: str, trust: Trust) -> Told:
    """Raises EnrolError when the book cannot be asked now; what it says in a form that is none of ours is not heard."""
    try:
        told = (await _ask(url, trust.context(), "GET", ADDRESSES)).json()
    except (EnrolDenied, ValueError):
        return Told()
    if not isinstance(told, dict):
        return Told()
    operator, book = (_key(told.get(name)) for name in ("operator_key", "book_key"))
    broker = told.get("broker")
    if isinstance(broker, dict):
        host, port = broker.get("host"), broker.get("port")
        if isinstance(host, str) and host and type(port) is int and 0 < port < 65536:
            return Told(host, port, operator, book)
    return Told(operator_key=operator, book_key=book)


def _key(told: object) -> str | None:
    return told if isinstance(told, str) and KEY.fullmatch(told) else None


async def _certify(
    url: str, trust: Trust, keys: KeyStore, issuers: bytes, box: str, path: str, auth: httpx.BasicAuth | None
) -> bytes:
    key = keys.next_tls_key()
    spki = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    binding = bind(keys.records.public_key, keys.records.sign, spki)
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, box)]))
        .add_extension(x509.UnrecognizedExtension(x509.ObjectIdentifier(BINDING_OID), binding), critical=False)
        .sign(key, hashes.SHA256())
    )
    body = base64.b64encode(request.public_bytes(serialization.Encoding.DER))
    headers = {"Content-Type": PKCS10, "Content-Transfer-Encoding": "base64"}
    given = _certificates(url, await _ask(url, trust.context(), "POST", path, body, headers, auth))
    ours = next((one for one in given if one.public_key() == key.public_key()), None)
    if ours is None:
        raise EnrolError(f"{url}: the certificate in the answer is not for our key")
    names = [str(name.value) for name in ours.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if names != [box]:
        raise EnrolError(f"{url}: the certificate names {names}, the broker would not know box {box} by it")
    return b"".join(_pem(one) for one in _chain(ours, [*given, *x509.load_pem_x509_certificates(issuers)]))


async def _ask(
    url: str,
    context: ssl.SSLContext,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    auth: httpx.BasicAuth | None = None,
) -> httpx.Response:
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname:
        raise EnrolDenied(f"{url}: expected https://HOST:PORT")
    try:
        async with (
            httpx.AsyncClient(verify=context, timeout=ANSWER_WAIT_MAX_S, trust_env=False) as client,
            client.stream(
                method, url.rstrip("/") + path, content=body, headers={**PLAIN, **(headers or {})}, auth=auth
            ) as answer,
        ):
            text = bytearray()
            async for chunk in answer.aiter_bytes():
                text += chunk
                if len(text) > ANSWER_BYTES_MAX:
                    raise EnrolError(f"{url}: answers with more than {ANSWER_BYTES_MAX} bytes")
    except (httpx.HTTPError, httpx.InvalidURL) as problem:
        raise EnrolError(f"{url}: {_reason(problem)}") from problem
    whole = httpx.Response(answer.status_code, content=bytes(text))
    if answer.status_code != httpx.codes.OK:
        said = " ".join(whole.text[:SAID_CHARS_MAX].split()) or answer.reason_phrase
        refused = 400 <= answer.status_code < 500 and answer.status_code not in LATER
        kind = EnrolDenied if refused else EnrolError
        raise kind(f"{url}: {answer.status_code}: {said}")
    return whole


def _reason(problem: Exception) -> str:
    return str(problem) or type(problem).__name__


def _certificates(url: str, answer: httpx.Response) -> list[x509.Certificate]:
    """Of a base64 PKCS#7 answer. Raises EnrolError."""
    try:
        der = base64.b64decode(b"".join(answer.content.split()), validate=True)
        found = pkcs7.load_der_pkcs7_certificates(der)
    except (binascii.Error, ValueError) as problem:
        raise EnrolError(f"{url}: the answer holds no certificates: {problem}") from problem
    return sorted(found, key=lambda one: one.subject != one.issuer)  # a PKCS#7 set has no order: roots first


def _chain(ours: x509.Certificate, others: Sequence[x509.Certificate]) -> list[x509.Certificate]:
    """Ours and those above it, without the root: that is known to whoever trusts it."""
    chain = [ours]
    while len(chain) <= len(others):
        above = next((one for one in others if one not in chain and _issued(one, chain[-1])), None)
        if above is None or above.subject == above.issuer:
            break
        chain.append(above)
    return chain


def _issued(above: x509.Certificate, one: x509.Certificate) -> bool:
    try:
        one.verify_directly_issued_by(above)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def root_fingerprint(authorities: bytes) -> str:
    """Of certificates as `authorities` gives them."""
    return fingerprint(_der(x509.load_pem_x509_certificate(authorities)))


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
