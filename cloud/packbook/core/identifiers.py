"""The names that a battery is found by: one key for each way to write the same name.

In:  `scheme:value` as it was declared; what somebody asks for: a GS1 link or its path, a link, a DID, any code.
Out: the key to file or look it up by. The original spelling stays in the declared fact.
GS1 links are the same when GTIN and serial are: host, folder, batch and query say nothing about which battery it is.
Every other name is opaque and counts as it is spelled.
"""

from __future__ import annotations

from typing import Final

from packbook.core.digital_link import DigitalLink, NotAnIdentifier, parse_link

KEY_MAX: Final = 300  # a link on a nameplate has at most 255 characters


def filed_key(declared: str) -> str | None:
    """Of `scheme:value`. None: it names no single battery (a GS1 link without serial) or is too long for a name."""
    _scheme, colon, value = declared.partition(":")
    return asked_key(value) if colon else None


def asked_key(text: str) -> str | None:
    """Of what stands in an address. None: that cannot be the name of a battery."""
    text = text.strip()
    if not 0 < len(text) <= KEY_MAX or not text.isprintable():
        return None
    try:
        link = parse_link(text)
    except NotAnIdentifier:
        return text
    if link.asset is None and link.serial is None:
        return None
    return DigitalLink(gtin=link.gtin, serial=link.serial, asset=link.asset).path
