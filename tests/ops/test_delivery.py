"""News of alerts on the wire: signed webhooks and mail, against real servers on this machine."""

from __future__ import annotations

import asyncio
import email
import email.policy
import hashlib
import hmac
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from certificates import Authority
from packbook.adapters.smtp import MailServer
from packbook.adapters.store.alerts import Delivery
from packbook.adapters.webhook import NotDelivered, Webhook, is_public, signature
from packbook.app.alert_news import IN_FULL_MAX, body, letter
from packbook.core.alerts import Alert, Kind, Severity, State
from packbook.settings import AlertReceiver

SECRET = "a secret of some length"
NOW_MS = 1_790_000_000_123


def context_of(authority: Authority, host: str) -> ssl.SSLContext:
    pair = authority.issue("server", server=True, host=host)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.cert, pair.key)
    return context


# --- webhooks -----------------------------------------------------------------------------------------------------


class Door:
    """An HTTP server that keeps what it got and answers what it is told to."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.got: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        self.got.append(head + await reader.readexactly(length))
        writer.write(self.answer)
        await writer.drain()
        writer.close()


@asynccontextmanager
async def listening(answer: bytes, context: ssl.SSLContext | None = None) -> AsyncIterator[tuple[Door, int]]:
    door = Door(answer)
    server = await asyncio.start_server(door.serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield door, server.sockets[0].getsockname()[1]


@asynccontextmanager
async def hook(url: str, *, private_hosts: bool = True) -> AsyncIterator[Webhook]:
    webhook = Webhook(url, SECRET, private_hosts=private_hosts)
    try:
        yield webhook
    finally:
        await webhook.aclose()


TAKEN = b"HTTP/1.1 204 No Content\r\n\r\n"
MOVED = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"


async def test_a_message_is_signed_with_its_time() -> None:
    """The receiver checks that it is ours and not an old one sent again, with the recipe in docs/alerts.md."""
    async with listening(TAKEN) as (door, port), hook(f"http://localhost:{port}/hear?x=1") as webhook:
        await webhook.send(b'{"alerts":[]}', NOW_MS)
    head, _, sent = door.got[0].partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
    expected = hmac.new(SECRET.encode(), b"1790000000." + sent, hashlib.sha256).hexdigest()
    assert lines[0] == "POST /hear?x=1 HTTP/1.1"
    assert headers["packbook-timestamp"] == "1790000000"
    assert headers["packbook-signature"] == f"v1={expected}" == signature(SECRET, 1_790_000_000, sent)
    assert headers["host"] == f"localhost:{port}"


@pytest.mark.parametrize(
    ("answer", "said"), [(MOVED, "answered 302"), (b"HTTP/1.1 500 Oops\r\n\r\n", "answered 500"), (b"", "cannot be")]
)
async def test_what_was_not_taken_is_not_delivered(answer: bytes, said: str) -> None:
    """A redirect is not followed: it would carry the message, and the question who we are, to anywhere."""
    async with listening(answer) as (door, port), hook(f"http://127.0.0.1:{port}/") as webhook:
        with pytest.raises(NotDelivered, match=said) as refused:
            await webhook.send(b"{}", NOW_MS)
    assert len(door.got) == 1
    assert SECRET not in str(refused.value)


async def test_our_own_network_is_not_asked_unless_that_is_allowed() -> None:
    """Who may name a webhook must not reach the database's port through us."""
    async with listening(TAKEN) as (door, port), hook(f"http://localhost:{port}/", private_hosts=False) as webhook:
        with pytest.raises(NotDelivered, match="private network"):
            await webhook.send(b"{}", NOW_MS)
    assert door.got == []


@pytest.mark.parametrize(("name", "arrives"), [("localhost", True), ("hear.example", False)])
async def test_the_certificate_must_be_the_names_though_the_address_was_looked_up_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, arrives: bool
) -> None:
    """The connection goes to the address that was judged; who answers there must still be who was named."""
    authority = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    async with (
        listening(TAKEN, context_of(authority, name)) as (door, port),
        hook(f"https://localhost:{port}/") as webhook,
    ):
        if arrives:
            await webhook.send(b"{}", NOW_MS)
        else:
            with pytest.raises(NotDelivered, match="localhost: cannot be reached"):
                await webhook.send(b"{}", NOW_MS)
    assert len(door.got) == arrives


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),  # noqa: S104 - not bound to
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::a00:1", False),
        ("2002:a00:1::", False),
    ],
)
def test_addresses_that_lead_inside_are_known(address: str, public: bool) -> None:
    """Also those that hide a private address in a public-looking one."""
    assert is_public(address) is public


# --- mail ---------------------------------------------------------------------------------------------------------


class Box:
    """A mail server's handler that keeps what it got."""

    def __init__(self) -> None:
        self.mails: list[tuple[list[str], EmailMessage]] = []
        self.refuses: set[str] = set()
        self.secure: list[bool] = []

    async def handle_RCPT(self, _server: Any, _session: Session, envelope: Envelope, address: str, _o: Any) -> str:  # noqa: N802 - aiosmtpd's name
        if address in self.refuses:
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: Any, session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        message = email.message_from_bytes(envelope.original_content or b"", policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        self.mails.append((list(envelope.rcpt_tos), message))
        self.secure.append(session.ssl is not None)
        return "250 taken"


def _password_is_right(_server: Any, _session: Any, _envelope: Any, _mechanism: str, given: Any) -> AuthResult:
    right = isinstance(given, LoginPassword) and given.password == b"right"
    return AuthResult(success=right, handled=False)  # the server shall answer


@asynccontextmanager
async def mail_server(box: Box, context: ssl.SSLContext | None) -> AsyncIterator[int]:
    def greet() -> SMTP:
        return SMTP(
            box,
            hostname="localhost",
            tls_context=context,
            require_starttls=context is not None,
            auth_required=context is not None,
            authenticator=_password_is_right,
        )

    server = await asyncio.get_running_loop().create_server(greet, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.fixture
def server_context(tmp_path: Path) -> ssl.SSLContext:
    return context_of(Authority(tmp_path), "localhost")


def server_at(port: int, tmp_path: Path) -> MailServer:
    ca_file = tmp_path / "ca.crt" if (tmp_path / "ca.crt").exists() else None
    return MailServer("localhost", "book@fleet.example", port, "starttls", ca_file, "book", "right")


async def test_a_mail_goes_out_over_starttls_with_a_password(tmp_path: Path, server_context: ssl.SSLContext) -> None:
    """As most mail servers ask for it; in any language, and marked as no person's."""
    box = Box()
    async with mail_server(box, server_context) as port:
        await server_at(port, tmp_path).send(
            ["aoi@fleet.example", "ren@fleet.example"], "ボックス", "応答なし\n", NOW_MS
        )
    [(to, message)] = box.mails
    assert to == ["aoi@fleet.example", "ren@fleet.example"]
    assert (message["Subject"], message.get_content().strip()) == ("ボックス", "応答なし")
    assert (message["From"], message["Auto-Submitted"]) == ("book@fleet.example", "auto-generated")
    assert box.secure == [True]


async def test_a_server_that_is_not_who_it_should_be_gets_no_password(
    tmp_path: Path, server_context: ssl.SSLContext
) -> None:
    """Anybody can answer on port 587."""
    box = Box()
    async with mail_server(box, server_context) as port:
        server = replace(server_at(port, tmp_path), ca_file=None)
        with pytest.raises(NotDelivered, match=r"localhost: .*CERTIFICATE_VERIFY_FAILED"):
            await server.send(["aoi@fleet.example"], "s", "t", NOW_MS)
    assert box.mails == []


async def test_a_server_without_tls_gets_nothing(tmp_path: Path) -> None:
    """Somebody between us and the server may take STARTTLS out of what it offers."""
    box = Box()
    async with mail_server(box, None) as port:
        with pytest.raises(NotDelivered, match="SMTPNotSupportedError"):
            await server_at(port, tmp_path).send(["aoi@fleet.example"], "s", "t", NOW_MS)
    assert box.mails == []


async def test_a_wrong_password_is_told_without_it(tmp_path: Path, server_context: ssl.SSLContext) -> None:
    """It stands in the database as the last problem, and in the log."""
    box = Box()
    async with mail_server(box, server_context) as port:
        server = replace(server_at(port, tmp_path), password="wrong-word")
        with pytest.raises(NotDelivered) as refused:
            await server.send(["aoi@fleet.example"], "s", "t", NOW_MS)
    assert str(refused.value) == "mail server localhost: SMTPAuthenticationError 535"


async def test_one_unknown_receiver_does_not_keep_it_from_the_others(
    tmp_path: Path, server_context: ssl.SSLContext
) -> None:
    """Somebody left the firm: the others still hear, and once. With nobody left it was not delivered."""
    box = Box()
    box.refuses = {"gone@fleet.example"}
    async with mail_server(box, server_context) as port:
        await server_at(port, tmp_path).send(["gone@fleet.example", "ren@fleet.example"], "s", "t", NOW_MS)
        with pytest.raises(NotDelivered):
            await server_at(port, tmp_path).send(["gone@fleet.example"], "s", "t", NOW_MS)
    assert [to for to, _ in box.mails] == [["ren@fleet.example"]]


async def test_a_server_that_is_away_is_not_waited_for_with_a_trace() -> None:
    """Nobody listens there."""
    with pytest.raises(NotDelivered, match="ConnectionRefusedError"):
        await MailServer("127.0.0.1", "b@c.example", 1, "none").send(["a@b.example"], "s", "t", NOW_MS)


# --- what they say ------------------------------------------------------------------------------------------------


def news(count: int, state: State = State.RAISED, severity: Severity = Severity.WARNING) -> list[Delivery]:
    alert = Alert(Kind.BOX_SILENT, severity, state, "s", 15.0, 0, "1", box="b" * 16, detail={"last_seen_ms": NOW_MS})
    return [Delivery(n, "r", state, 0, NOW_MS, replace(alert, id=n)) for n in range(1, count + 1)]


def test_a_program_gets_all_of_it_with_numbers_to_know_repeats_by() -> None:
    """After a crash of ours the same news may come twice."""
    receiver = AlertReceiver(name="r", webhook="https://r.example/", language="ja")
    told = json.loads(body(receiver, news(2), NOW_MS, "https://book.example/fleet/alerts"))
    assert (told["version"], told["receiver"], told["sent_ms"]) == (1, "r", NOW_MS)
    assert told["link"] == "https://book.example/fleet/alerts"
    assert [entry["delivery"] for entry in told["alerts"]] == [1, 2]
    first = told["alerts"][0]
    assert (first["kind"], first["news"], first["severity"], first["box"]) == (
        "box_silent",
        "raised",
        "warning",
        "b" * 16,
    )
    assert first["title"] == "ボックスからの応答なし"


def test_people_get_the_worst_first_and_a_page_not_a_book() -> None:
    """One alert says itself in the subject; many say how many."""
    subject, text = letter("en", news(1), None)
    assert subject == f"[Open / Warning] Box silent: {'b' * 16}"
    assert "was last heard" in text
    many = [*news(30), *news(1, severity=Severity.CRITICAL), *news(3, State.CLEARED)]
    subject, text = letter("en", many, "https://book.example/fleet/alerts")
    assert subject == "Packbook alerts: 31 new, 3 cleared"
    assert text.startswith("[Open / Critical]")
    assert text.count("Box silent") == IN_FULL_MAX
    assert text.endswith(f"And {34 - IN_FULL_MAX} more: see the list of alerts.\n\nhttps://book.example/fleet/alerts\n")
