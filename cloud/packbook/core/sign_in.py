"""Signing in: how long sessions last, how many wrong tries there may be, what tokens and keys look like.

People look at a battery now and then and move no money here: a session lasts a month, a week without being used.
"""

from __future__ import annotations

import hashlib
import ipaddress
import secrets
from typing import Final

from packbook.core.enrolment import MS_PER_DAY, MS_PER_S

MS_PER_MINUTE: Final = 60 * MS_PER_S
IDLE_MS: Final = 7 * MS_PER_DAY
LONGEST_MS: Final = 30 * MS_PER_DAY
SIGN_ON_MS: Final = MS_PER_DAY  # begun by an identity provider's word: whoever was let go over there is out by then
HALF_MS: Final = 10 * MS_PER_MINUTE  # to fetch the phone
TOUCH_EVERY_MS: Final = 10 * MS_PER_MINUTE  # a page that asks every few seconds writes no row each time
INVITATION_MS: Final = 7 * MS_PER_DAY
ADDRESS_TRIES_MAX: Final = 10  # wrong ones in ten minutes, of one address
ACCOUNT_TRIES_MAX: Final = 30  # of all addresses together that this account never signed in from
CODE_TRIES_MAX: Final = 8  # of the second step, of one account: a guess succeeds once in 300,000
TOKEN_BYTES: Final = 32
PREFIX_BYTES: Final = 4
IPV6_NETWORK: Final = 64  # what one customer has


# What browsers call themselves holds the names of others, so the first of these that is there is the one.
BROWSERS: Final = (
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
    ("curl/", "curl"),
)
SYSTEMS: Final = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
)


def device_of(user_agent: str) -> str:
    """A browser as its owner would name it: enough to tell one's own, and no more is kept."""
    found = (next((name for mark, name in known if mark in user_agent), None) for known in (BROWSERS, SYSTEMS))
    return ", ".join(name for name in found if name is not None)


def digest_of(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def new_token() -> str:
    return secrets.token_urlsafe(TOKEN_BYTES)


def new_key() -> tuple[str, str]:
    """Prefix and key (`core.accounts.KEY`)."""
    prefix = secrets.token_hex(PREFIX_BYTES)
    return prefix, f"pbk_{prefix}_{new_token()}"


def network_of(address: str) -> str:
    """Of an IPv6 address the network, for a guest has billions of addresses."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if found.version == 4:
        return address
    return str(ipaddress.ip_network(f"{address}/{IPV6_NETWORK}", strict=False))
