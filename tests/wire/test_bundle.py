"""The bundle's form: one encoding, everything inside limits, nothing large before it is known to be right."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import cbor2
import pytest

from bundles import BATTERY, BOOK, BOOK_KEY, by_book, checkpoint, lived, part
from packwire import bundle as form
from packwire.bundle import Bundle, Claims, decode_bundle, encode_bundle, survey
from packwire.checkpoint import decode_checkpoint
from packwire.errors import BadSignature, Malformed, UnknownVersion
from packwire.signed import sign_whole

MEGABYTE = 1_000_000


def test_a_bundle_comes_back_as_it_was() -> None:
    """Also where each record stands in the file, so that anybody can look at the very bytes."""
    box = lived()
    claims = Claims(records=17, energy_in_wh=36_000.0, soh_pct=88.25)
    told = Bundle(5, BOOK_KEY, BATTERY, (part(box),), (b"certificate",), (checkpoint(box),), claims)
    data = encode_bundle(told, BOOK.sign)
    found = decode_bundle(data)
    assert [data[p.at : p.at + len(p.data)] for p in found.stores[0].records] == box.sealed
    assert replace(found, stores=()) == replace(told, stores=())


def test_the_outer_form_is_plain_cose() -> None:
    """A third party opens it with any CBOR library (docs/trust.md)."""
    data = by_book(lived())
    protected, unprotected, payload, _ = cbor2.loads(data).value
    assert (protected, list(unprotected)) == (bytes.fromhex("a10127"), [4])
    assert list(cbor2.loads(payload)) == list(form.KEYS)
    assert cbor2.dumps(cbor2.loads(data), canonical=True) == data


def test_nothing_may_follow_the_end() -> None:
    """Two files that mean the same must be the same."""
    with pytest.raises(Malformed, match="3 bytes behind the end"):
        decode_bundle(by_book(lived()) + b"abc")


def test_a_newer_format_is_named() -> None:
    """A reader must not guess at what it does not know."""
    data = by_book(lived(rounds=1))
    at = data.index(b"\xa9\x00\x01\x01") + 2
    with pytest.raises(Malformed, match="format 2, this side knows 1"):
        decode_bundle(data[:at] + b"\x02" + data[at + 1 :])


def head(major: int, length: int) -> bytes:
    return bytes([major << 5 | 26]) + length.to_bytes(4, "big")


def begun(rest: bytes) -> bytes:
    """A file that is right up to its list of stores."""
    data = by_book(lived(rounds=1))
    at = data.index(b"\x04\x81\xa4\x00\x48") + 1
    return data[:at] + rest


@pytest.mark.parametrize(
    "bomb",
    [
        head(4, 90_000_000) + bytes(MEGABYTE),  # a list of as many stores
        b"\x81\xa4\x00\x48" + bytes(8) + b"\x01\x48" + bytes(8) + b"\x02\x58\x20" + bytes(32) + b"\x03"
        + head(4, 90_000_000) + b"\x40" * MEGABYTE,  # of as many empty records
        b"\x81" * MEGABYTE,  # nested
        b"\x9f" * MEGABYTE,  # without end
        head(2, 0xFFFFFFFF),  # a string longer than the file
        b"\xc2" + head(2, MEGABYTE) + bytes(MEGABYTE),  # a number of a megabyte
    ],
)  # fmt: skip
def test_a_bomb_is_refused_at_its_head(bomb: bytes) -> None:
    """What a stranger sends must not fill our memory before it is found to be wrong."""
    data = begun(bomb)
    tracemalloc.start()
    found = survey(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.bundle is None
    assert found.troubles
    assert peak < MEGABYTE


def test_the_records_of_all_stores_together_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand stores of many empty records each would be a bomb too."""
    data = by_book(lived(), lived("bravo"))
    monkeypatch.setattr(form, "MAX_RECORDS", 30)
    assert "at most 13 are allowed" in survey(data).troubles[0].reason
    with pytest.raises(Malformed):
        by_book(lived(), lived("bravo"))


def test_a_file_beyond_the_limit_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """100 MB are twenty years and more."""
    data = by_book(lived())
    monkeypatch.setattr(form, "MAX_BUNDLE_BYTES", len(data) - 1)
    assert survey(data).bundle is None


def test_a_checkpoint_is_signed_by_the_key_that_it_names() -> None:
    """And for this purpose only: no other signature of the book's can be passed off as one."""
    point = checkpoint(lived())
    assert decode_checkpoint(point).upto == 17
    payload = cbor2.loads(point).value[2]
    with pytest.raises(BadSignature):
        decode_checkpoint(sign_whole(payload, "packbook/bundle/1", BOOK.sign, BOOK_KEY))
    said = cbor2.loads(payload)
    for key, value in ((4, 0), (5, b"short"), (6, "\x00"), (7, -1), (2, "text")):
        wrong = cbor2.dumps({**said, key: value}, canonical=True)
        with pytest.raises(Malformed):
            decode_checkpoint(sign_whole(wrong, "packbook/checkpoint/1", BOOK.sign, BOOK_KEY))
    newer = cbor2.dumps({**said, 0: 2}, canonical=True)
    with pytest.raises(UnknownVersion):
        decode_checkpoint(sign_whole(newer, "packbook/checkpoint/1", BOOK.sign, BOOK_KEY))
