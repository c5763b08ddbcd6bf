"""TLS towards the broker, the same for box and book: the context, a visit that logs nobody in, and plain words.

In:  PEM files; an address; what went wrong.
Out: `ClientContext`, which remembers why the last connection over it failed; `Trouble`: what it means, what to do.
A server that does not believe our certificate says so only after the handshake (TLS 1.3), as an alert that MQTT
libraries swallow. Therefore the context looks over the shoulder of its sockets.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer

# MQTT CONNECT in a version that does not exist: the broker must refuse it (MQTT 3.1.1, MQTT-3.1.2-2), so nobody is
# logged in and no other connection of the same name is thrown out; but it has looked at the certificate by then.
NO_SUCH_VERSION: Final = bytes.fromhex("10 0c 00 04 4d515454 7f 02 00 00 00 00")
GIVE_OURS: Final = "set cert_file and key_file"
RENEW_OURS: Final = "enrol again; nothing is lost meanwhile"
LOOK_AT_CLOCK: Final = "look at the clock of this machine first, then renew the broker's certificate"


@dataclass(frozen=True, slots=True)
class Trouble:
    """What a failed TLS connection means, and what to do about it."""

    text: str
    do: str


NOT_THE_CA: Final = Trouble(
    "the broker's certificate descends from an authority that we do not know",
    "give the file with the fleet's authority as ca_file; if it is the right one, this is not our broker",
)
WRONG_NAME: Final = Trouble(
    "the broker's certificate is for another name",
    "use the name that stands in the certificate as broker address, or have one made for this name",
)
# X.509 verification results of OpenSSL (x509_vfy.h): what we think of the broker's certificate.
OF_THE_BROKER: Final[Mapping[int, Trouble]] = {
    9: Trouble("the broker's certificate is not valid yet: is our clock unset or behind?", LOOK_AT_CLOCK),
    10: Trouble("the broker's certificate has run out, or our clock is ahead", LOOK_AT_CLOCK),
    18: NOT_THE_CA,
    19: NOT_THE_CA,
    20: NOT_THE_CA,
    21: NOT_THE_CA,
    23: Trouble("the broker's certificate was revoked", "do not trust this broker; ask who runs it"),
    62: WRONG_NAME,
    64: WRONG_NAME,
}
# TLS alerts (RFC 8446 §6.2) as OpenSSL names them: what the broker thinks of ours.
OF_OURS: Final[Mapping[str, Trouble]] = {
    "ALERT_CERTIFICATE_EXPIRED": Trouble(
        "the broker says that our certificate has run out",
        "enrol again; if it is valid by its date, the broker's clock is wrong or its revocation list (crlfile) is old",
    ),
    "ALERT_CERTIFICATE_REVOKED": Trouble(
        "the broker says that our certificate was revoked", "ask who runs the fleet before you enrol again"
    ),
    "ALERT_UNKNOWN_CA": Trouble(
        "the broker does not know the authority that made our certificate, or has no revocation list of it",
        "it is of another fleet, or cert_file lacks the chain, or the broker's cafile or crlfile is not complete",
    ),
    "ALERT_CERTIFICATE_REQUIRED": Trouble("the broker wants a certificate and we gave none", GIVE_OURS),
    "ALERT_HANDSHAKE_FAILURE": Trouble(
        "the broker refused the handshake: probably it wants a certificate and we gave none", GIVE_OURS
    ),
    "ALERT_BAD_CERTIFICATE": Trouble(
        "the broker cannot use our certificate; perhaps it is not valid yet by the broker's clock", RENEW_OURS
    ),
    "ALERT_UNSUPPORTED_CERTIFICATE": Trouble(
        "our certificate is not made for clients", "use the box's own certificate, not that of a server"
    ),
    "WRONG_VERSION_NUMBER": Trouble(
        "what answers there does not speak TLS", "look at host and port; MQTT with TLS is usually on 8883"
    ),
}


class _Watched(ssl.SSLSocket):
    """Tells its context what went wrong, and otherwise is as ever."""

    def do_handshake(self, block: bool = False) -> None:
        if isinstance(self.context, ClientContext):
            self.context.failure = None
        try:
            super().do_handshake(block)
        except ssl.SSLError as problem:
            self._note(problem)
            raise

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        try:
            return super().recv(buflen, flags)
        except ssl.SSLError as problem:
            self._note(problem)
            raise

    def send(self, data: Buffer, flags: int = 0) -> int:
        try:
            return super().send(data, flags)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except OSError:
            with suppress(OSError):
                self.recv(1)  # an alert that came before the connection was cut says more than the cut
            raise

    def _note(self, problem: ssl.SSLError) -> None:
        if isinstance(self.context, ClientContext) and not isinstance(
            problem, (ssl.SSLWantReadError, ssl.SSLWantWriteError)
        ):
            self.context.failure = problem


class ClientContext(ssl.SSLContext):
    """Checks chain and name of whom it connects to. `failure`: why the last connection over it went wrong."""

    sslsocket_class = _Watched
    failure: ssl.SSLError | None = None

    @property
    def trouble(self) -> Trouble | None:
        return None if self.failure is None else explain(self.failure)


def client_context(ca: Path | None, cert: Path | None, key: Path | None) -> ClientContext:
    """`ca` None: what the system trusts. Raises OSError when a file cannot be used."""
    context = ClientContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca is None:
        context.load_default_certs()
    else:
        context.load_verify_locations(ca)
    if cert is not None:
        context.load_cert_chain(cert, key)
    return context


def explain(problem: BaseException) -> Trouble | None:
    """None: no trouble that we have words for."""
    if isinstance(problem, ssl.SSLCertVerificationError):
        return OF_THE_BROKER.get(problem.verify_code)
    if not isinstance(problem, ssl.SSLError):
        return None
    said = problem.reason or ""  # for example SSLV3_ALERT_CERTIFICATE_EXPIRED, TLSV13_ALERT_CERTIFICATE_REQUIRED
    return next((trouble for name, trouble in OF_OURS.items() if said.endswith(name)), None)


def visit(host: str, port: int, context: ClientContext | None, wait_max_s: float) -> None:
    """Knock at a broker without logging in. Blocks. Raises OSError; an ssl.SSLError if either side has no trust."""
    with closing(socket.create_connection((host, port), timeout=wait_max_s)) as plain:
        if context is None:
            return
        with closing(context.wrap_socket(plain, server_hostname=host)) as secured:
            try:
                secured.sendall(NO_SUCH_VERSION)
                secured.recv(1)  # CONNACK or the end: both mean that our certificate was taken
            except OSError as cut:
                raise context.failure or cut from cut
