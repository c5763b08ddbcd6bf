"""Send one mail through a mail server: STARTTLS or TLS, the server's certificate checked.

In:  where the server is, whom it is for, subject and text. Out: nothing; the server has taken it for every receiver.
Raises NotDelivered with the reason. Runs in a thread: the standard library's client blocks.
"""

from __future__ import annotations

import asyncio
import logging
import smtplib
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid
from pathlib import Path
from typing import Final, Literal

from packbook.adapters.webhook import NotDelivered
from packbook.core.words import utc

ANSWER_WAIT_MAX_S: Final = 30.0
USUAL_PORTS: Final = {"starttls": 587, "tls": 465, "none": 25}

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class MailServer:
    host: str
    sender: str
    port: int | None = None
    tls: Literal["starttls", "tls", "none"] = "starttls"
    ca_file: Path | None = None
    user: str | None = None
    password: str | None = None

    async def send(self, to: Sequence[str], subject: str, text: str, now_ms: int) -> None:
        """Raises NotDelivered."""
        message = EmailMessage()
        message["From"] = self.sender
        message["To"] = ", ".join(to)
        message["Subject"] = subject
        message["Date"] = format_datetime(utc(now_ms))
        message["Message-ID"] = make_msgid(domain=self.sender.rpartition("@")[2])
        message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no holiday answers
        message.set_content(text)
        await asyncio.to_thread(self._send, message)

    def _send(self, message: EmailMessage) -> None:
        try:
            with self._open() as server:
                if self.user is not None:
                    server.login(self.user, self.password or "")
                refused = server.send_message(message)
        except (OSError, smtplib.SMTPException, ValueError) as problem:
            raise NotDelivered(f"mail server {self.host}: {_said(problem)}") from problem
        if refused:  # by some: the others have it, so it is not sent again
            log.warning("mail server %s refused %d of the receivers of an alert", self.host, len(refused))

    def _open(self) -> smtplib.SMTP:
        port = self.port or USUAL_PORTS[self.tls]
        if self.tls == "none":
            return smtplib.SMTP(self.host, port, timeout=ANSWER_WAIT_MAX_S)
        context = ssl.create_default_context(cafile=self.ca_file)
        if self.tls == "tls":
            return smtplib.SMTP_SSL(self.host, port, timeout=ANSWER_WAIT_MAX_S, context=context)
        server = smtplib.SMTP(self.host, port, timeout=ANSWER_WAIT_MAX_S)
        try:
            server.starttls(context=context)
        except BaseException:
            server.close()
            raise
        return server


def _said(problem: Exception) -> str:
    """Without what we told it: an answer to a wrong password may repeat it."""
    if isinstance(problem, smtplib.SMTPResponseException):
        return f"{type(problem).__name__} {problem.smtp_code}"
    return type(problem).__name__ if not isinstance(problem, ssl.SSLError) else str(problem.reason)
