"""Sign JSON documents and check them: W3C Data Integrity, one suite behind a seam that others fit.

In:  a document, the name of a key and what signs with it; or a signed document and a way to find keys.
Out: the document with its proof; or nothing, when it checks.
Refuses with `BadProof`, saying what is wrong. What is hashed is the canonical JSON (RFC 8785), so order and spacing
of the keys do not matter; numbers are to be rounded before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import base58
import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from packbook.core.did import ASSERT, BASE58BTC, NotADid, read_base58

Document = Mapping[str, Any]
TYPE: Final = "DataIntegrityProof"


class BadProof(ValueError):
    """The document is not what its signer signed, or nobody can tell. It says why."""


class Suite(Protocol):
    """How a document becomes bytes to sign, and how the signature is written."""

    name: str

    def to_sign(self, document: Document, options: Document) -> bytes:
        """`document` without its proof, `options` without its value. Raises BadProof."""

    def write(self, signature: bytes) -> str: ...

    def check(self, public_key: bytes, signed: bytes, value: object) -> None:
        """Raises BadProof."""


class EddsaJcs2022:
    """Data Integrity EdDSA Cryptosuites 1.0, §3.3."""

    name = "eddsa-jcs-2022"

    def to_sign(self, document: Document, options: Document) -> bytes:
        return hashlib.sha256(canonical(options)).digest() + hashlib.sha256(canonical(document)).digest()

    def write(self, signature: bytes) -> str:
        return BASE58BTC + base58.b58encode(signature).decode()

    def check(self, public_key: bytes, signed: bytes, value: object) -> None:
        try:
            Ed25519PublicKey.from_public_bytes(public_key).verify(read_base58(value), signed)
        except (NotADid, ValueError) as problem:
            raise BadProof(f"proofValue: {problem}") from problem
        except InvalidSignature as problem:
            raise BadProof("the document was changed after it was signed, or another key signed it") from problem


EDDSA_JCS_2022: Final = EddsaJcs2022()
SUITES: Final[Mapping[str, Suite]] = {suite.name: suite for suite in (EDDSA_JCS_2022,)}


def canonical(value: object) -> bytes:
    """RFC 8785. Raises BadProof for what JSON cannot say exactly (NaN, integers beyond 2^53, odd keys)."""
    try:
        return rfc8785.dumps(value)  # type: ignore[arg-type]  # its own recursive type; it refuses the rest
    except (rfc8785.CanonicalizationError, RecursionError) as problem:
        raise BadProof(f"no canonical form: {problem}") from problem


def secure(
    document: Document, method: str, created: str, sign: Callable[[bytes], bytes], suite: Suite = EDDSA_JCS_2022
) -> dict[str, Any]:
    """The document with its proof. `created`: date and time as XML Schema writes them. Raises BadProof."""
    assert "proof" not in document
    options: dict[str, Any] = {
        "type": TYPE,
        "cryptosuite": suite.name,
        "created": created,
        "verificationMethod": method,
        "proofPurpose": ASSERT,
        "@context": document["@context"],
    }
    value = suite.write(sign(suite.to_sign(document, options)))
    return {**document, "proof": {**options, "proofValue": value}}


def check(secured: Document, find_key: Callable[[str], bytes]) -> str:
    """Give the verification method whose key signed. `find_key` raises NotADid. Raises BadProof."""
    proof = secured.get("proof")
    if not isinstance(proof, dict):
        raise BadProof("there is no proof" if proof is None else "expected one proof")
    if proof.get("type") != TYPE or proof.get("cryptosuite") not in SUITES:
        raise BadProof(f"proof {proof.get('type')} {proof.get('cryptosuite')}: known is {TYPE} {', '.join(SUITES)}")
    if proof.get("proofPurpose") != ASSERT:
        raise BadProof(f"the proof's purpose is {proof.get('proofPurpose')!r}, expected {ASSERT}")
    method = proof.get("verificationMethod")
    if not isinstance(method, str):
        raise BadProof("the proof names no key")
    document = {key: value for key, value in secured.items() if key != "proof"}
    options = {key: value for key, value in proof.items() if key != "proofValue"}
    _same_context(document, options)
    try:
        public_key = find_key(method)
    except NotADid as problem:
        raise BadProof(str(problem)) from problem
    suite = SUITES[proof["cryptosuite"]]
    suite.check(public_key, suite.to_sign(document, options), proof.get("proofValue"))
    return method


def _same_context(document: Document, options: Document) -> None:
    """The suite lets others add contexts behind the signed ones; here that is a changed document, for it gives the
    words of the rest another meaning.
    """
    if "@context" in options and options["@context"] != document.get("@context"):
        raise BadProof("the document's @context is not the one that was signed")
