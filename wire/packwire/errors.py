"""What can be wrong with bytes from outside. Each error names the thing, the field and the reason."""

from __future__ import annotations


class WireError(ValueError):
    """These bytes are not a message of this contract. Nothing was changed; quarantine them with this text."""


class Malformed(WireError):
    """Not CBOR, not a COSE_Sign1, or a field of the wrong type or range."""


class UnknownVersion(WireError):
    """A schema number that this side does not know. Keep the bytes: a later version can read them."""


class UnknownKind(WireError):
    """A message kind that this side does not know. Keep the bytes: a later version can read them."""


class BadSignature(WireError):
    """The signature does not belong to these bytes, this topic and this key."""


class UnknownKey(WireError):
    """No public key with this id is known for this box yet. The record may be offered again."""


class BrokenChain(WireError):
    """The digest of the previous record is not the one on file: lost, reordered or forged."""
