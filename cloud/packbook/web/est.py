"""EST (RFC 7030): where boxes get certificates, over HTTPS. An application of its own, apart from the pages.

In:  base64 PKCS#10 requests; a one-time code as the password of HTTP Basic, or the certificate of the connection.
Out: base64 PKCS#7 with certificates; anything else as one line of plain text for the person at the box.
Refuses big bodies before reading them, slow clients, and too many of one address.
`PeerProtocol` brings the connection's certificate, which uvicorn keeps.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Sequence
from ssl import SSLObject
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol

from packbook.ports.trouble import BadRequest, NoCertificate, PackbookError
from packbook.ports.trust import Enrolment
from packwire.enrolment import ADDRESSES, CA_CERTS, ENROL, PKCS7, REENROL

REQUEST_BYTES_MAX: Final = 16_384  # ours is 700 bytes of base64
PEER: Final = "peer_certificate"
RETRY_AFTER_S: Final = 60
CONNECTION_MAX_S = 60.0  # from the first byte to the last: a box asks once and goes, over any link; who dawdles is cut
ADDRESS_CONNECTIONS_MAX = 50  # at once: a workshop's boxes behind one router, and far from all that the door takes


class PeerProtocol(H11Protocol):
    """uvicorn's HTTP/1.1, with the client's certificate (DER, checked by TLS, or None) in `request.state`.

    Nobody can hold the door by sending slowly, or by coming many times at once.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        tls = transport.get_extra_info("ssl_object")
        shown = tls.getpeercert(binary_form=True) if isinstance(tls, SSLObject) else None
        self.app_state = {**self.app_state, PEER: shown}
        super().connection_made(transport)
        self._cut = self.loop.call_later(CONNECTION_MAX_S, transport.abort)
        if sum(_host(other) == _host(self) for other in self.connections) > ADDRESS_CONNECTIONS_MAX:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cut.cancel()
        super().connection_lost(exc)


def _host(connection: object) -> str | None:
    client: tuple[str, int] | None = getattr(connection, "client", None)
    return client[0] if client is not None else None


def create_est(desk: Enrolment) -> Starlette:
    app = Starlette(
        routes=[
            Route(CA_CERTS, _ca_certs, methods=["GET"]),
            Route(ENROL, _enrol, methods=["POST"]),
            Route(REENROL, _renew, methods=["POST"]),
            Route(ADDRESSES, _addresses, methods=["GET"]),
        ],
        exception_handlers={BadRequest: _bad, NoCertificate: _none, PackbookError: _trouble},
    )
    app.state.desk = desk
    return app


async def _ca_certs(request: Request) -> Response:
    return _certificates(_desk(request).authorities)


async def _addresses(request: Request) -> Response:
    return JSONResponse(dict(_desk(request).addresses))


async def _enrol(request: Request) -> Response:
    code = _password(request.headers.get("Authorization", ""))
    return _certificates([await _desk(request).enrol(await _body(request), code, _address(request))])


async def _renew(request: Request) -> Response:
    shown = getattr(request.state, PEER, None)
    return _certificates([await _desk(request).renew(await _body(request), shown, _address(request))])


def _desk(request: Request) -> Enrolment:
    desk: Enrolment = request.app.state.desk
    return desk


def _address(request: Request) -> str:
    return request.client.host if request.client is not None else "unknown"


def _password(header: str) -> str:
    """Of HTTP Basic; empty when there is none, which is no code either."""
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(encoded, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""


async def _body(request: Request) -> bytes:
    """The request in DER. Raises BadRequest."""
    text = bytearray()
    async for chunk in request.stream():
        text += chunk
        if len(text) > REQUEST_BYTES_MAX:
            raise BadRequest(f"more than {REQUEST_BYTES_MAX} bytes")
    try:
        return base64.b64decode(b"".join(text.split()), validate=True)
    except binascii.Error as problem:
        raise BadRequest("the body is not base64 of a certificate request") from problem


def _certificates(ders: Sequence[bytes]) -> Response:
    certificates = [x509.load_der_x509_certificate(der) for der in ders]
    body = base64.b64encode(pkcs7.serialize_certificates(certificates, Encoding.DER))
    return Response(body, headers={"Content-Type": PKCS7, "Content-Transfer-Encoding": "base64"})


def _say(problem: Exception, status: int, headers: dict[str, str] | None = None) -> Response:
    return PlainTextResponse(f"{problem}\n", status, headers=headers)


async def _bad(_request: Request, problem: Exception) -> Response:
    return _say(problem, 400)


async def _none(_request: Request, problem: Exception) -> Response:
    assert isinstance(problem, NoCertificate)
    headers: dict[str, Any] = {}
    if problem.status == 401:
        headers["WWW-Authenticate"] = 'Basic realm="packbook"'
    if problem.wait_s is not None:
        headers["Retry-After"] = str(problem.wait_s)
    return _say(problem, problem.status, headers)


async def _trouble(_request: Request, _problem: Exception) -> Response:
    """Of the book: nothing that the box could change, and nothing for strangers to read."""
    return _say(PackbookError("the book cannot do this now; try again"), 503, {"Retry-After": str(RETRY_AFTER_S)})
