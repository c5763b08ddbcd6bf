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
