"""EST as others speak it: strongSwan's client at our door, and our client at a server that shares no code with us.

The server is written from RFC 7030 here; its authority is the openssl program. No EST server is in Debian 12.
"""

from __future__ import annotations

import asyncio
import base64
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from packbook.adapters.authority import ROOT_FILE
from packbox.adapters.enrolment_file import Invitation, read_enrolment
from packbox.app.enrol import enrol, renew
from packbox.ports import EnrolDenied
from packwire.enrolment import fingerprint, new_code, plain_code

from .conftest import HOST, Book, Box
from .test_enrol_broker import csr

OPENSSL = shutil.which("openssl")
STRONGSWAN = shutil.which("pki")


# --- another client at our door ---------------------------------------------------------------------------------------


async def strongswan(*words: str | Path) -> bytes:
    if STRONGSWAN is None:
        pytest.skip("strongswan-pki is not installed (tests/needs.sh installs it)")
    running = await asyncio.create_subprocess_exec(
        STRONGSWAN, *map(str, words), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, err = await running.communicate()
    assert running.returncode == 0, err.decode()
    return out


async def test_strongswans_client_enrols_and_renews_at_our_door(book: Book, box: Box, tmp_path: Path) -> None:
    """Paths, headers, base64 and PKCS#7 are those of RFC 7030, not only what our own client happens to take."""
    root = book.authority.folder / ROOT_FILE
    await strongswan("--estca", "--url", book.url, "--cacert", root, "--caout", tmp_path / "ca.der")
    got = {path.read_bytes() for path in await asyncio.to_thread(lambda: list(tmp_path.glob("ca*.der")))}
    assert book.desk.authorities[0] in got

    code = await book.code()
    first, second = tmp_path / "first.der", tmp_path / "second.der"
    request = tmp_path / "request.der"
    request.write_bytes(csr(box))
    at_door = ["--est", "--url", book.url, "--cacert", root, "--in", request]
    first.write_bytes(await strongswan(*at_door, "--userpass", f"{box.id}:{code}"))
    key = box.keys.next_tls_key()
    assert x509.load_der_x509_certificate(first.read_bytes()).public_key() == key.public_key()

    key_file = tmp_path / "key.pem"
    key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    box.keys.keep(x509.load_der_x509_certificate(first.read_bytes()).public_bytes(Encoding.PEM))
    request.write_bytes(csr(box))
    second.write_bytes(await strongswan(*at_door, "--cert", first, "--key", key_file))
    renewed = x509.load_der_x509_certificate(second.read_bytes())
    assert renewed.subject == x509.load_der_x509_certificate(first.read_bytes()).subject
    assert renewed.public_key() == box.keys.next_tls_key().public_key() != key.public_key()


# --- our client at another server -------------------------------------------------------------------------------------


def openssl(*words: str | Path, given: bytes = b"") -> bytes:
    assert OPENSSL is not None
    return subprocess.run([OPENSSL, *map(str, words)], input=given, capture_output=True, check=True).stdout


class Foreign:
    """An EST server of somebody else (RFC 7030 §4): HTTP Basic for the first certificate, the present one after."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder, self.password, self.seen = folder, plain_code(new_code()), list[str]()
        for name, subject, extensions in (
            ("root", "/CN=Foreign root", "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign"),
            ("server", f"/CN={HOST}", f"subjectAltName=IP:{HOST}\nextendedKeyUsage=serverAuth"),
        ):
            key, extra = folder / f"{name}.key", folder / f"{name}.ext"
            openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key)
            extra.write_text(f"subjectKeyIdentifier=hash\n{extensions}\n")
            request = openssl("req", "-new", "-key", key, "-subj", subject)
            by = ["-signkey", key] if name == "root" else self._by
            signed = openssl("x509", "-req", *by, "-days", "30", "-extfile", extra, given=request)
            (folder / f"{name}.pem").write_bytes(signed)

    @property
    def _by(self) -> list[str | Path]:
        return ["-CA", self.folder / "root.pem", "-CAkey", self.folder / "root.key", "-CAcreateserial"]

    @property
    def fingerprint(self) -> str:
        return fingerprint(openssl("x509", "-in", self.folder / "root.pem", "-outform", "DER"))

    def answer(self, path: str, headers: dict[str, str], body: bytes, peer: dict[str, object] | None) -> bytes | int:
        self.seen.append(path)
        if path == "/.well-known/est/cacerts":
            return self._pkcs7(self.folder / "root.pem")
        if path not in ("/.well-known/est/simpleenroll", "/.well-known/est/simplereenroll"):
            return 404
        if headers.get("content-type") != "application/pkcs10":
            return 415
        if path.endswith("simpleenroll"):
            scheme, _, told = headers.get("authorization", "").partition(" ")
            if scheme != "Basic" or base64.b64decode(told).decode().partition(":")[2] != self.password:
                return 401
        elif not peer:
            return 403
        request = self.folder / "request.der"
        request.write_bytes(base64.b64decode(body))
        certificate = self.folder / "issued.pem"
        usage = ["-copy_extensions", "copyall", "-days", "30"]
        certificate.write_bytes(openssl("x509", "-req", "-inform", "DER", "-in", request, *self._by, *usage))
        return self._pkcs7(certificate)

    def _pkcs7(self, file: Path) -> bytes:
        return base64.b64encode(openssl("crl2pkcs7", "-nocrl", "-certfile", file, "-outform", "DER"))  # in one line

    @contextmanager
    def serving(self) -> Iterator[str]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.folder / "server.pem", self.folder / "server.key")
        context.load_verify_locations(self.folder / "root.pem")
        context.verify_mode = ssl.CERT_OPTIONAL
        foreign = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._serve(b"")

            def do_POST(self) -> None:
                self._serve(self.rfile.read(int(self.headers["Content-Length"])))

            def _serve(self, body: bytes) -> None:
                assert isinstance(self.connection, ssl.SSLSocket)
                headers = {name.lower(): value for name, value in self.headers.items()}
                peer: dict[str, object] | None = self.connection.getpeercert()  # type: ignore[assignment]  # typeshed's
                said = foreign.answer(self.path, headers, body, peer)
                self.send_response(said if isinstance(said, int) else 200)
                self.send_header("Content-Type", "application/pkcs7-mime")
                content = b"" if isinstance(said, int) else said
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        with ThreadingHTTPServer((HOST, 0), Handler) as server:
            server.socket = context.wrap_socket(server.socket, server_side=True)
            thread = threading.Thread(target=server.serve_forever, daemon=True)
            thread.start()
            yield f"https://{HOST}:{server.server_address[1]}"
            server.shutdown()
            thread.join()


@pytest.mark.skipif(OPENSSL is None, reason="openssl is not installed")
async def test_our_box_enrols_and_renews_at_a_foreign_est_server(box: Box, tmp_path: Path) -> None:
    """A fleet that has an authority of its own keeps it. What only our book tells is simply not there."""
    foreign = Foreign(tmp_path / "foreign")
    with foreign.serving() as url:
        wrong = Invitation(url, new_code(), foreign.fingerprint)
        with pytest.raises(EnrolDenied, match="401"):
            await enrol(box.data_dir, box.keys, box.clock, wrong)
        await enrol(box.data_dir, box.keys, box.clock, Invitation(url, foreign.password, foreign.fingerprint))
        first = box.keys.held()
        await renew(box.data_dir, box.keys, box.clock)
    second, told = box.keys.held(), read_enrolment(box.data_dir)
    assert first is not None
    assert second is not None
    assert told is not None
    assert (told.broker_host, told.operator_key, told.book_key) == (None, None, None)
    certificate = x509.load_pem_x509_certificate(second.chain)
    assert certificate.subject.rfc4514_string() == f"CN={box.id}"
    assert certificate.issuer.rfc4514_string() == "CN=Foreign root"
    assert isinstance(certificate.public_key(), ec.EllipticCurvePublicKey)
    assert first.chain != second.chain
    assert foreign.seen[-2:] == ["/.well-known/est/cacerts", "/.well-known/est/simplereenroll"]
