"""Tell receivers of alerts: one message each for all that is new, signed JSON for programs, plain text for people.

In:  what is due in the database. Out: messages; what could not be delivered is tried again with growing pauses.
A receiver gets one message a pass, however many alerts were raised at once. What was written down is sent at least
once: a crash between sending and noting repeats it, with the same delivery numbers.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from packbook.adapters.smtp import MailServer
from packbook.adapters.store import alerts as shelf
from packbook.adapters.store.alerts import Delivery
from packbook.adapters.store.database import Database
from packbook.adapters.webhook import NotDelivered, Webhook
from packbook.clock import now_ms
from packbook.core.alerts import Alert, State
from packbook.core.words_of_alerts import (
    alert_advice,
    alert_severity,
    alert_text,
    alert_title,
    alerts_more,
    alerts_subject,
)
from packbook.settings import AlertReceiver, Settings
from packbook.web.words import ALL_WORDS

AT_ONCE_MAX: Final = 1000  # news in one message
IN_FULL_MAX: Final = 20  # of these told one by one in a mail
LEASE_MS: Final = 300_000  # a process that dies while it sends: another one sends again after this
RETRY_FIRST_MS: Final = 30_000
RETRY_MAX_MS: Final = 3_600_000
TRIES_MAX: Final = 60  # some two days: a receiver that is away for a week-end still gets it

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Post:
    """How one receiver is reached."""

    receiver: AlertReceiver
    webhook: Webhook | None
    mail: MailServer | None
    link: str | None  # to the list of alerts

    async def send(self, news: Sequence[Delivery], at_ms: int) -> None:
        """By every way it has. Raises NotDelivered when one of them fails: then all of it is sent again."""
        if self.webhook is not None:
            await self.webhook.send(body(self.receiver, news, at_ms, self.link), at_ms)
        if self.mail is not None:
            subject, text = letter(self.receiver.language, news, self.link)
            await self.mail.send(self.receiver.email, subject, text, at_ms)


@asynccontextmanager
async def posts(settings: Settings) -> AsyncIterator[list[Post]]:
    """One for each receiver of the settings, while the block runs."""
    opened = [_post(settings, receiver) for receiver in settings.alert_receivers]
    try:
        yield opened
    finally:
        for post in opened:
            if post.webhook is not None:
                await post.webhook.aclose()


def _post(settings: Settings, receiver: AlertReceiver) -> Post:
    webhook = mail = None
    if receiver.webhook is not None:
        secret = settings.webhook_secrets[receiver.name]
        webhook = Webhook(receiver.webhook, secret, private_hosts=settings.alert_private_hosts)
    if receiver.email:
        assert settings.smtp_host is not None
        assert settings.smtp_from is not None
        mail = MailServer(
            settings.smtp_host,
            settings.smtp_from,
            settings.smtp_port,
            settings.smtp_tls,
            settings.smtp_ca_file,
            settings.smtp_user,
            settings.smtp_password.get_secret_value() if settings.smtp_password else None,
        )
    return Post(receiver, webhook, mail, f"{settings.public_url}/fleet/alerts" if settings.public_url else None)


async def deliver(database: Database, everyone: Sequence[Post]) -> None:
    """All that is due now. Raises StoreError."""
    for post in everyone:
        name, at_ms = post.receiver.name, now_ms()
        async with database.transaction() as connection:
            news = await shelf.take_due(connection, name, AT_ONCE_MAX, at_ms, at_ms + LEASE_MS)
        if not news:
            continue
        numbers = [delivery.id for delivery in news]
        try:
            await post.send(news, at_ms)
        except NotDelivered as problem:
            await _try_again(database, news, name, str(problem))
        else:
            async with database.transaction() as connection:
                await shelf.sent(connection, numbers, now_ms())


async def _try_again(database: Database, news: Sequence[Delivery], name: str, problem: str) -> None:
    tries = 1 + max(delivery.tries for delivery in news)
    given_up = [delivery.id for delivery in news if delivery.tries + 1 >= TRIES_MAX]
    others = [delivery.id for delivery in news if delivery.tries + 1 < TRIES_MAX]
    pause_ms = min(RETRY_MAX_MS, RETRY_FIRST_MS * 2 ** min(tries - 1, 16))
    if tries == 1 or given_up:
        level = logging.ERROR if given_up else logging.WARNING
        outcome = f"given up {len(given_up)}" if given_up else "trying again"
        log.log(level, "%d alerts for %s were not delivered: %s; %s", len(news), name, problem, outcome)
    async with database.transaction() as connection:
        await shelf.failed(connection, others, now_ms() + pause_ms, problem)
        await shelf.failed(connection, given_up, None, problem)


# --- messages -----------------------------------------------------------------------------------------------------


def body(receiver: AlertReceiver, news: Sequence[Delivery], at_ms: int, link: str | None) -> bytes:
    """For programs (docs/alerts.md). Fields are only ever added."""
    told = [as_json(delivery.alert, receiver.language, delivery.news) | {"delivery": delivery.id} for delivery in news]
    message = {"version": 1, "receiver": receiver.name, "sent_ms": at_ms, "link": link, "alerts": told}
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()


def as_json(alert: Alert, language: str = "en", news: State | None = None) -> dict[str, Any]:
    t = ALL_WORDS[language]
    return {
        "id": alert.id,
        "news": (news or alert.state).value,
        "kind": alert.kind.value,
        "severity": alert.severity.value,
        "state": alert.state.value,
        "title": alert_title(t, alert),
        "text": alert_text(t, alert),
        "advice": alert_advice(t, alert),
        "box": alert.box,
        "store": alert.store,
        "battery": alert.battery,
        "detail": dict(alert.detail),
        "rules": alert.rules,
        "raised_ms": alert.raised_ms,
        "acknowledged_ms": alert.acknowledged_ms,
        "acknowledged_by": alert.acknowledged_by,
        "note": alert.note,
        "cleared_ms": alert.cleared_ms,
    }


def letter(language: str, news: Sequence[Delivery], link: str | None) -> tuple[str, str]:
    """Subject and text for people, the worst first."""
    t = ALL_WORDS[language]
    raised = sum(delivery.news is State.RAISED for delivery in news)
    if len(news) == 1:
        alert = news[0].alert
        state = t(f"alert.state.{news[0].news}")
        subject = f"[{state} / {alert_severity(t, alert)}] {alert_title(t, alert)}: {alert.battery or alert.box or '-'}"
    else:
        subject = alerts_subject(t, raised, len(news) - raised)
    ranked = sorted(news, key=lambda d: (d.news is not State.RAISED, -d.alert.severity.rank, d.id))
    lines = [_paragraph(language, delivery) for delivery in ranked[:IN_FULL_MAX]]
    if len(ranked) > IN_FULL_MAX:
        lines.append(alerts_more(t, len(ranked) - IN_FULL_MAX))
    return subject, "\n\n".join([*lines, *([link] if link else [])]) + "\n"


def _paragraph(language: str, delivery: Delivery) -> str:
    t, alert = ALL_WORDS[language], delivery.alert
    head = f"[{t(f'alert.state.{delivery.news}')} / {alert_severity(t, alert)}] {alert_title(t, alert)}"
    said: Mapping[State, list[str]] = {State.RAISED: [alert_text(t, alert), alert_advice(t, alert)]}
    return "\n".join([head, *said.get(delivery.news, [alert_text(t, alert)])])
