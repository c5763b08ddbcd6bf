"""One signed whole that is no record: COSE_Sign1 with Ed25519 over some bytes, for one named purpose only.

In:  a payload and the purpose it is signed for (a topic, or a string of our own); or signed bytes and a public key.
Out: the signed bytes; or the payload, believed.
Refuses every byte that could be otherwise: strict CBOR, one protected header, one unprotected header (the key id).
The purpose is COSE's external data: a signature made for one box's configuration is worth nothing anywhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import cbor2

from packwire.cbor import dumps, loads
from packwire.ed25519 import is_signed
from packwire.errors import BadSignature, Malformed
from packwire.ids import KEY_ID_BYTES, key_id_of

COSE_SIGN1_TAG: Final = 18
PROTECTED: Final = dumps({1: -8})  # algorithm: EdDSA
KEY_ID_HEADER: Final = 4  # RFC 9052 §3.1
SIGNATURE_BYTES: Final = 64


def sign_whole(payload: bytes, purpose: str, sign: Callable[[bytes], bytes], public_key: bytes) -> bytes:
    """`sign` makes a raw Ed25519 signature with the private half of `public_key`."""
    signature = sign(_to_be_signed(payload, purpose))
    return dumps(cbor2.CBORTag(COSE_SIGN1_TAG, [PROTECTED, {KEY_ID_HEADER: key_id_of(public_key)}, payload, signature]))


def open_whole(signed: bytes, purpose: str, public_key: bytes, what: str) -> bytes:
    """The payload. Raises Malformed or BadSignature, each beginning with `what`."""
    payload, key_id, signature = _taken_apart(signed, what)
    # The key id is not signed: unless it is compared, another id would make a second form of the same whole.
    trusted = key_id_of(public_key)
    if key_id != trusted or not is_signed(_to_be_signed(payload, purpose), signature, public_key):
        raise BadSignature(f"{what} of key {key_id.hex()}: not signed by key {trusted.hex()} for {purpose}")
    return payload


def sign_detached(payload: bytes, purpose: str, sign: Callable[[bytes], bytes], public_key: bytes) -> bytes:
    """The same without the payload in it (RFC 9052 §2): for what is kept in another form beside its signature."""
    signature = sign(_to_be_signed(payload, purpose))
    return dumps(cbor2.CBORTag(COSE_SIGN1_TAG, [PROTECTED, {KEY_ID_HEADER: key_id_of(public_key)}, None, signature]))


def check_detached(signed: bytes, payload: bytes, purpose: str, public_key: bytes, what: str) -> None:
    """Raises Malformed or BadSignature unless this is the key's signature of this payload for this purpose."""
    cose = loads(signed, what)
    if not isinstance(cose, cbor2.CBORTag) or not isinstance(cose.value, list) or len(cose.value) != 4:
        raise Malformed(f"{what}: expected a COSE_Sign1 (tag {COSE_SIGN1_TAG})")
    if cose.value[2] is not None:
        raise Malformed(f"{what}: expected a signature without its payload")
    whole = cbor2.CBORTag(cose.tag, [*cose.value[:2], payload, cose.value[3]])
    open_whole(dumps(whole), purpose, public_key, what)


def _taken_apart(signed: bytes, what: str) -> tuple[bytes, bytes, bytes]:
    cose = loads(signed, what)
    if not isinstance(cose, cbor2.CBORTag) or cose.tag != COSE_SIGN1_TAG:
        raise Malformed(f"{what}: expected a COSE_Sign1 (tag {COSE_SIGN1_TAG})")
    if not isinstance(cose.value, list) or len(cose.value) != 4:
        raise Malformed(f"{what}: a COSE_Sign1 needs four parts")
    protected, unprotected, payload, signature = cose.value
    if protected != PROTECTED:
        raise Malformed(f"{what}.protected: algorithm is not EdDSA (-8)")
    if not isinstance(unprotected, dict) or set(unprotected) != {KEY_ID_HEADER}:
        raise Malformed(f"{what}.unprotected: expected the key id and nothing else")
    key_id = unprotected[KEY_ID_HEADER]
    if not isinstance(key_id, bytes) or len(key_id) != KEY_ID_BYTES:
        raise Malformed(f"{what}.key_id: expected {KEY_ID_BYTES} bytes")
    if not isinstance(payload, bytes):
        raise Malformed(f"{what}.payload: expected a byte string")
    if not isinstance(signature, bytes) or len(signature) != SIGNATURE_BYTES:
        raise Malformed(f"{what}.signature: expected {SIGNATURE_BYTES} bytes")
    return payload, key_id, signature


def _to_be_signed(payload: bytes, purpose: str) -> bytes:
    return dumps(["Signature1", PROTECTED, purpose.encode(), payload])
