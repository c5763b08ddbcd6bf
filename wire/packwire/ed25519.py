"""Did the holder of this key sign these bytes? Ed25519 (RFC 8032) by libsodium.

In:  signed bytes, a raw 64-byte signature, a raw 32-byte public key; all three may come from a stranger.
Out: yes or no. Keys and signatures of another length, and forms that RFC 8032 §5.1.7 forbids, are a no.
libsodium because a running box has 7 MB less of it in memory than of OpenSSL's bindings (docs/budgets.md).
"""

from __future__ import annotations

from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey


def is_signed(data: bytes, signature: bytes, public_key: bytes) -> bool:
    try:
        VerifyKey(public_key).verify(data, signature)
    except (BadSignatureError, ValueError):
        return False
    return True
