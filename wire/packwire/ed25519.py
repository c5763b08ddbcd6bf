"""Did the holder of this key sign these bytes? Ed25519 (RFC 8032) by libsodium.

In:  signed bytes, a raw 64-byte signature, a raw 32-byte public key; all three may come from a stranger.
Out: yes or no. Keys and signatures of another length, and forms that RFC 8032 §5.1.7 forbids, are a no.
libsodium because a running box has 7 MB less of it in memory than of OpenSSL's bindings (docs/budgets.md).
"""

from __future__ import annotations

from typing import Final

from nacl.bindings import crypto_sign_BYTES, crypto_sign_open, crypto_sign_PUBLICKEYBYTES
from nacl.exceptions import BadSignatureError

SIGNATURE_BYTES: Final = int(crypto_sign_BYTES)
PUBLIC_KEY_BYTES: Final = int(crypto_sign_PUBLICKEYBYTES)


def is_signed(data: bytes, signature: bytes, public_key: bytes) -> bool:
    if len(signature) != SIGNATURE_BYTES or len(public_key) != PUBLIC_KEY_BYTES:
        return False
    try:
        crypto_sign_open(signature + data, public_key)
    except BadSignatureError:
        return False
    return True
