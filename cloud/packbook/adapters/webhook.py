"""Send one signed message to a program: HTTPS, no redirects, and never into our own network unless that is allowed.

In:  an address, a secret, a body. Out: nothing; it was taken with an answer of 2xx.
Raises NotDelivered with the reason. The receiver's answer is not read.

Signed is `timestamp.body` with HMAC-SHA256 (docs/alerts.md): who receives it knows that it is ours, and from when.
The name is looked up once, every address of it is judged, and the connection goes to the address that was judged.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import socket
import ssl
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final

import httpx

from packbook.ports.trouble import PackbookError

ANSWER_WAIT_MAX_S: Final = 15.0
TIMESTAMP_HEADER: Final = "Packbook-Timestamp"  # seconds since 1970
SIGNATURE_HEADER: Final = "Packbook-Signature"
SCHEME: Final = "v1"  # of the signature
NAT64: Final = IPv6Network("64:ff9b::/96")  # a public address that leads to a private one


class NotDelivered(PackbookError):
    """It did not arrive, as far as we know; it may be sent again. No secret is in the text."""


def signature(secret: str, timestamp_s: int, body: bytes) -> str:
    """As the header holds it."""
    signed = str(timestamp_s).encode() + b"." + body
    return f"{SCHEME}={hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()}"


class Webhook:
    def __init__(self, url: str, secret: str, *, private_hosts: bool = False) -> None:
        self._url = httpx.URL(url)
        self._secret = secret
        self._private_hosts = private_hosts
        self._client = httpx.AsyncClient(
            timeout=ANSWER_WAIT_MAX_S,
            follow_redirects=False,
            trust_env=False,  # a proxy would ask for addresses that nobody judged
            verify=ssl.create_default_context(),  # what the system trusts
            headers={"User-Agent": "packbook"},
        )

    async def aclose(self) -> None:
        await self._client.aclose()

    async def send(self, body: bytes, now_ms: int) -> None:
        """Raises NotDelivered."""
        timestamp_s = now_ms // 1000
        try:
            async with asyncio.timeout(ANSWER_WAIT_MAX_S):  # httpx counts each step anew
                address = await self._address()
                request = self._client.build_request(
                    "POST",
                    self._url.copy_with(host=address),
                    content=body,
                    headers={
                        "Host": self._url.netloc.decode("ascii"),
                        "Content-Type": "application/json",
                        TIMESTAMP_HEADER: str(timestamp_s),
                        SIGNATURE_HEADER: signature(self._secret, timestamp_s, body),
                    },
                    extensions={"sni_hostname": self._url.host},
                )
                answer = await self._client.send(request, stream=True)
                await answer.aclose()
        except (httpx.HTTPError, OSError, TimeoutError) as problem:
            raise NotDelivered(f"{self._url.host}: cannot be reached ({type(problem).__name__})") from problem
        if not answer.is_success:
            raise NotDelivered(f"{self._url.host}: answered {answer.status_code}")

    async def _address(self) -> str:
        """One that may be asked. Raises NotDelivered, OSError."""
        port = self._url.port or (443 if self._url.scheme == "https" else 80)
        found = await asyncio.get_running_loop().getaddrinfo(self._url.host, port, type=socket.SOCK_STREAM)
        addresses = [str(place[4][0]) for place in found]
        if not self._private_hosts:
            for address in addresses:
                if not is_public(address):
                    raise NotDelivered(
                        f"{self._url.host}: leads to {address} in a private network; alert_private_hosts allows that"
                    )
        return addresses[0]


def is_public(address: str) -> bool:
    """On the internet, and not a way round into a network of ours."""
    found: IPv4Address | IPv6Address = ip_address(address.partition("%")[0])
    if isinstance(found, IPv6Address):
        if found in NAT64 or found.sixtofour is not None or found.teredo is not None:
            return False
        found = found.ipv4_mapped or found
    return found.is_global and not found.is_multicast
