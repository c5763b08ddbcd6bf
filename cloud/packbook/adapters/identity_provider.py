"""An identity provider of the OpenID Connect kind, asked as its relying party (Core 1.0, authorization code and PKCE).

In:  the issuer, our name there, a code that a browser brought back.
Out: addresses to send browsers to; the claims of an ID token that was checked: signature by a key the issuer publishes,
issuer, audience, nonce, times, and the access token that came with it.
Raises AccountProblem: `oidc_away` (it does not answer; later, perhaps), `oidc_wrong` (it answered what we do not take).

Only signatures that the issuer alone can make are taken: neither `none` nor an HMAC under something others may know.
Authlib makes the requests and checks the claims; joserfc, which Authlib builds on, checks signatures.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode

import httpx
from authlib.oauth2.auth import ClientAuth
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri, prepare_token_request
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core import CodeIDToken
from authlib.oidc.discovery import get_well_known_url
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet
from joserfc.jws import JWSRegistry

from packbook.clock import now_ms
from packbook.core.enrolment import MS_PER_S
from packbook.core.sign_on import LEEWAY_S, is_on_loopback, is_private_way
from packbook.ports.accounts import AccountProblem

ANSWER_WAIT_MAX_S: Final = 10.0
ANSWER_BYTES_MAX: Final = 1_048_576
FRESH_MS: Final = 60 * 60 * MS_PER_S  # a key that was taken back is not believed longer than this
ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
PLAIN: Final = re.compile(r"[A-Za-z0-9._~-]*")
NEEDED: Final = ("authorization_endpoint", "token_endpoint", "jwks_uri")
OFFERED: Final = ("userinfo_endpoint", "end_session_endpoint")

log = logging.getLogger(__name__)

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Relying:
    """Who we are over there."""

    issuer: str
    client_id: str
    secret: str | None  # None: a public client; PKCE alone ties code and browser
    scopes: str


@dataclass(frozen=True, slots=True)
class Trip:
    """What only this browser's way there and back knows."""

    state: str
    nonce: str
    verifier: str
    back: str  # the address that the browser comes back to


class IdentityProvider:
    def __init__(self, relying: Relying, context: ssl.SSLContext | None = None) -> None:
        """`context`: which certificates are believed; None: those that the system trusts."""
        self._relying = relying
        self._context = context or ssl.create_default_context()
        self._metadata = _Kept()
        self._keys = _Kept()

    @property
    def issuer(self) -> str:
        return self._relying.issuer

    async def there(self, trip: Trip, prompt: str | None) -> str:
        """Where the browser signs in."""
        metadata = await self._discovered()
        more = {} if prompt is None else {"prompt": prompt}
        address: str = prepare_grant_uri(
            metadata["authorization_endpoint"],
            self._relying.client_id,
            "code",
            redirect_uri=trip.back,
            scope=self._relying.scopes,
            state=trip.state,
            nonce=trip.nonce,
            code_challenge=create_s256_code_challenge(trip.verifier),  # type: ignore[no-untyped-call]  # stubs lag
            code_challenge_method="S256",
            **more,
        )
        return address

    async def ending(self, back: str) -> str | None:
        """Where the browser signs out over there (RP-Initiated Logout 1.0); None: that is not offered."""
        end = (await self._discovered()).get("end_session_endpoint")
        if end is None:
            return None
        told = urlencode({"client_id": self._relying.client_id, "post_logout_redirect_uri": back})
        return f"{end}{'&' if '?' in end else '?'}{told}"

    async def check_sender(self, issuer: str | None) -> None:
        """Who sent the browser back (RFC 9207): a code of another provider is not shown to this one."""
        promised = (await self._discovered()).get("authorization_response_iss_parameter_supported") is True
        if issuer != self.issuer and (issuer is not None or promised):
            raise AccountProblem("oidc_wrong", f"{self.issuer}: the answer came from another issuer")

    async def claims(self, code: str, trip: Trip, lacks: Callable[[Json], bool]) -> Json:
        """Of whoever signed in. `lacks`: whether the ID token tells too little, so that we ask for the rest."""
        token = await self._token(code, trip)
        claims = await self._checked(token, trip.nonce)
        endpoint = (await self._discovered()).get("userinfo_endpoint")
        if endpoint is None or not lacks(claims):
            return claims
        header = {"Authorization": f"Bearer {token.get('access_token')}"}
        more = await self._ask("GET", endpoint, headers=header)
        if more.get("sub") != claims["sub"]:  # Core 1.0 §5.3.2: else it may be about somebody else
            raise AccountProblem("oidc_wrong", f"{self.issuer}: told of another subject")
        if "email" in claims:
            more.pop("email_verified", None)  # what is verified there is the address there
        return more | claims

    async def _token(self, code: str, trip: Trip) -> Json:
        metadata = await self._discovered()
        form = prepare_token_request(
            "authorization_code", redirect_uri=trip.back, code=code, code_verifier=trip.verifier
        )
        auth = ClientAuth(self._relying.client_id, self._relying.secret, self._way_to_show(metadata))
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        address, headers, form = auth.prepare(  # type: ignore[no-untyped-call]  # stubs lag
            "POST", metadata["token_endpoint"], headers, form
        )
        return await self._ask("POST", address, headers=headers, content=form)

    def _way_to_show(self, metadata: Json) -> str:
        """How the secret goes over: in the header, as is the rule, or in the form where that is not taken.

        Providers differ in how they read other than plain characters in the header (RFC 6749 §2.3.1): not in the form.
        """
        secret = self._relying.secret
        if secret is None:
            return "none"
        ways = metadata.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
        plain = PLAIN.fullmatch(secret) is not None and "client_secret_basic" in ways
        return "client_secret_basic" if plain or "client_secret_post" not in ways else "client_secret_post"

    async def _checked(self, token: Json, nonce: str) -> Json:
        shown = token.get("id_token")
        if not isinstance(shown, str):
            raise AccountProblem("oidc_wrong", f"{self.issuer}: sent no ID token")
        params = {"nonce": nonce, "client_id": self._relying.client_id, "access_token": token.get("access_token")}
        wanted = {
            "iss": {"essential": True, "value": self.issuer},
            "aud": {"essential": True, "value": self._relying.client_id},
        }
        try:
            found = await self._opened(shown)
            claims: Any = CodeIDToken(found.claims, found.header, wanted, params)
            claims.validate(now=now_ms() // MS_PER_S, leeway=LEEWAY_S)
        except (JoseError, ValueError, TypeError, KeyError) as problem:
            log.warning("an ID token was refused", extra={"REASON": type(problem).__name__, "ISSUER": self.issuer})
            raise AccountProblem("oidc_wrong", f"{self.issuer}: this ID token is not taken") from problem
        return dict(claims)

    async def _opened(self, shown: str) -> jwt.Token:
        """Raises JoseError. Keys change: one that we do not know may be new."""
        registry = JWSRegistry(algorithms=list(ALGORITHMS), strict_check_header=False)
        try:
            return jwt.decode(shown, await self._key_set(), registry=registry)
        except InvalidKeyIdError:
            self._keys = _Kept()
            return jwt.decode(shown, await self._key_set(), registry=registry)

    async def _key_set(self) -> KeySet:
        if self._keys.is_old():
            self._keys = _Kept(await self._ask("GET", (await self._discovered())["jwks_uri"]), now_ms())
        return KeySet.import_key_set(self._keys.value)  # type: ignore[arg-type]  # it checks what it is given

    async def _discovered(self) -> Json:
        if self._metadata.is_old():
            found = await self._ask("GET", get_well_known_url(self.issuer, external=True))
            self._check_metadata(found)
            self._metadata = _Kept(found, now_ms())
        return self._metadata.value

    def _check_metadata(self, found: Json) -> None:
        if found.get("issuer") != self.issuer:  # Discovery 1.0 §4.3
            raise AccountProblem("oidc_wrong", f"{self.issuer}: its metadata name another issuer")
        for name in (*NEEDED, *OFFERED):
            address = found.get(name)
            if address is None and name in OFFERED:
                continue
            if not isinstance(address, str) or not is_private_way(address, loopback=is_on_loopback(self.issuer)):
                raise AccountProblem("oidc_wrong", f"{self.issuer}: {name}: expected https://")

    async def _ask(self, method: str, address: str, **more: Any) -> Json:  # noqa: ANN401 - httpx's own
        """A JSON object. Raises AccountProblem."""
        try:
            async with (
                asyncio.timeout(ANSWER_WAIT_MAX_S),  # httpx counts each step anew
                httpx.AsyncClient(verify=self._context, timeout=ANSWER_WAIT_MAX_S, trust_env=False) as client,
                client.stream(method, address, **more) as answer,
            ):
                body = bytearray()
                async for part in answer.aiter_bytes():
                    body += part
                    if len(body) > ANSWER_BYTES_MAX:
                        raise AccountProblem("oidc_wrong", f"{self.issuer}: answers too much")
        except (httpx.HTTPError, httpx.InvalidURL, OSError, TimeoutError) as problem:
            log.warning("the identity provider does not answer", extra={"REASON": type(problem).__name__})
            raise AccountProblem("oidc_away", f"{self.issuer}: cannot be reached") from problem
        if answer.is_server_error:
            raise AccountProblem("oidc_away", f"{self.issuer}: answered {answer.status_code}")
        if not answer.is_success:
            log.warning("the identity provider refused", extra={"STATUS": answer.status_code})
            raise AccountProblem("oidc_wrong", f"{self.issuer}: answered {answer.status_code}")
        return self._object(bytes(body))

    def _object(self, body: bytes) -> Json:
        try:
            found = json.loads(body)
        except ValueError as problem:
            raise AccountProblem("oidc_wrong", f"{self.issuer}: did not answer JSON") from problem
        if not isinstance(found, dict):
            raise AccountProblem("oidc_wrong", f"{self.issuer}: did not answer a JSON object")
        return found


@dataclass(frozen=True, slots=True)
class _Kept:
    """An answer, and since when it is known."""

    value: Json = field(default_factory=dict)
    since_ms: int | None = None

    def is_old(self) -> bool:
        return self.since_ms is None or not 0 <= now_ms() - self.since_ms < FRESH_MS
