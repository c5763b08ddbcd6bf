"""Names and keys of those who sign: did:key, did:web and their documents.

In:  Ed25519 public keys (32 bytes), a public web address, a DID document written by anyone.
Out: DIDs, documents, keys. did:key says its key itself; did:web's document lies at its address, and fetching it is
not done here. Refuses with `NotADid`, saying what is wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit

import base58

from packbook.core.digital_link import NotAnIdentifier, did

ED25519_PUB: Final = b"\xed\x01"  # multicodec
ED25519_PUB_BYTES: Final = 32
BASE58BTC: Final = "z"  # multibase
CONTEXT: Final = ("https://www.w3.org/ns/did/v1", "https://w3id.org/security/multikey/v1")
ASSERT: Final = "assertionMethod"
WELL_KNOWN: Final = "/.well-known/did.json"
DOCUMENT: Final = "/did.json"


class NotADid(ValueError):
    """No key or place follows from this text. It says why."""


def multikey(public_key: bytes) -> str:
    assert len(public_key) == ED25519_PUB_BYTES
    return BASE58BTC + base58.b58encode(ED25519_PUB + public_key).decode()


def read_multikey(text: object) -> bytes:
    """Raises NotADid."""
    raw = read_base58(text)
    if not raw.startswith(ED25519_PUB) or len(raw) != len(ED25519_PUB) + ED25519_PUB_BYTES:
        raise NotADid(f"{text}: not an Ed25519 public key")
    return raw.removeprefix(ED25519_PUB)


def read_base58(text: object) -> bytes:
    """Multibase base58btc. Raises NotADid."""
    if not isinstance(text, str) or not text.startswith(BASE58BTC):
        raise NotADid(f"{text!r}: expected base58btc, which begins with {BASE58BTC}")
    try:
        return base58.b58decode(text.removeprefix(BASE58BTC))
    except ValueError as problem:
        raise NotADid(f"{text}: {problem}") from problem


def did_key(public_key: bytes) -> str:
    return f"did:key:{multikey(public_key)}"


def did_web(public_url: str) -> str:
    """`public_url`: https://HOST[:PORT][/FOLDER], where the document will be served."""
    parts = urlsplit(public_url)
    folders = [quote(word, safe="") for word in parts.path.split("/") if word]
    return ":".join(("did:web", quote(parts.netloc.lower(), safe=""), *folders))


def document_url(name: str) -> str:
    """Where a did:web's document lies. Raises NotADid."""
    words = checked(name).split(":")
    if words[1] != "web" or not all(words[2:]):
        raise NotADid(f"{name}: not a did:web")
    host, *folders = map(unquote, words[2:])
    return f"https://{host}" + ("".join(f"/{folder}" for folder in folders) + DOCUMENT if folders else WELL_KNOWN)


def checked(name: str) -> str:
    """Raises NotADid."""
    try:
        return did(name)
    except NotAnIdentifier as problem:
        raise NotADid(f"{name}: {problem}") from problem


def method(name: str, public_key: bytes) -> str:
    """The name of a signer's key. Each key has its own, so that a later key does not take over an earlier's word."""
    return f"{name}#{multikey(public_key)}"


def document(name: str, public_keys: Iterable[bytes]) -> dict[str, Any]:
    """What a signer says about its keys: any of them may sign statements."""
    keys = {method(name, key): multikey(key) for key in public_keys}
    return {
        "@context": list(CONTEXT),
        "id": name,
        "verificationMethod": [
            {"id": key, "type": "Multikey", "controller": name, "publicKeyMultibase": public}
            for key, public in keys.items()
        ],
        ASSERT: list(keys),
    }


def key_of(wanted: str, documents: Mapping[str, Mapping[str, Any]]) -> bytes:
    """The key behind a verification method that may sign statements: of a did:key at once, else of a document at hand.

    Raises NotADid.
    """
    name, _, fragment = wanted.partition("#")
    if checked(name).startswith("did:key:"):
        if fragment != name.removeprefix("did:key:"):
            raise NotADid(f"{wanted}: a did:key has one key, its own")
        return read_multikey(fragment)
    known = documents.get(name)
    if known is None:
        raise NotADid(f"{name}: its document is not at hand")
    return _listed(known, name, wanted)


def _listed(known: Mapping[str, Any], name: str, wanted: str) -> bytes:
    methods, may_assert = known.get("verificationMethod"), known.get(ASSERT)
    if known.get("id") != name or not isinstance(methods, list) or not isinstance(may_assert, list):
        raise NotADid(f"{name}: not its document")
    for one in methods:
        if not isinstance(one, dict) or _absolute(name, one.get("id")) != wanted:
            continue
        if one.get("type") != "Multikey" or one.get("controller") != name:
            raise NotADid(f"{wanted}: not a Multikey of {name}")
        if wanted not in (_absolute(name, listed) for listed in may_assert):
            raise NotADid(f"{wanted}: may not sign statements")
        return read_multikey(one.get("publicKeyMultibase"))
    raise NotADid(f"{wanted}: the document does not list this key")


def _absolute(name: str, url: object) -> object:
    return name + url if isinstance(url, str) and url.startswith("#") else url
