"""The application ack: what the book holds of one store, as `[store, upto, [[lo, hi], ...]]`.

`upto`: every record 1..upto is committed and its chain verified. `ranges`: committed beyond a hole. Cumulative
and retained: the newest replaces older ones, so a lost ack costs nothing. A record may leave the box only by this.

A fourth element, a map, may follow, for the ways out of a chain that stands still. `head` (key 0): the digest of record
`upto` as the book holds it; a box whose own record there is another one must begin a new store. `resend_from` (key 1):
from this number on the book wants everything again that this ack does not hold, also what an earlier ack held.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from packwire.cbor import MAX_WHOLE, dumps, loads
from packwire.errors import Malformed
from packwire.ids import ID_BYTES, StoreId
from packwire.seal import DIGEST_BYTES

_HEAD, _RESEND_FROM = 0, 1
MAX_RANGES = 64  # holes are rare; a box resends everything past the last range that fits


@dataclass(frozen=True, slots=True)
class Ack:
    store: StoreId
    upto: int = 0
    ranges: tuple[tuple[int, int], ...] = ()  # rising, both ends included, all above upto
    head: bytes | None = None
    resend_from: int | None = None

    def holds(self, seq: int) -> bool:
        return seq <= self.upto or any(lo <= seq <= hi for lo, hi in self.ranges)


def ack_of(store: StoreId, seqs: Iterable[int]) -> Ack:
    """The ack for a set of held sequence numbers, in any order."""
    runs: list[list[int]] = []
    for seq in sorted(set(seqs)):
        if runs and seq == runs[-1][1] + 1:
            runs[-1][1] = seq
        else:
            runs.append([seq, seq])
    upto = runs.pop(0)[1] if runs and runs[0][0] == 1 else 0
    return Ack(store, upto, tuple((lo, hi) for lo, hi in runs[:MAX_RANGES]))


def encode_ack(ack: Ack) -> bytes:
    more = {key: value for key, value in ((_HEAD, ack.head), (_RESEND_FROM, ack.resend_from)) if value is not None}
    return dumps([bytes.fromhex(ack.store), ack.upto, [list(r) for r in ack.ranges], *([more] if more else [])])


def decode_ack(data: bytes) -> Ack:
    """Raises Malformed with the field's name."""
    raw = loads(data, "ack")
    if not isinstance(raw, list) or len(raw) < 3:
        raise Malformed("ack: expected [store, upto, ranges]")
    store, upto, ranges = raw[:3]
    if not isinstance(store, bytes) or len(store) != ID_BYTES:
        raise Malformed(f"ack.store: expected {ID_BYTES} bytes")
    if not _is_seq(upto):
        raise Malformed("ack.upto: expected a whole number from 0")
    if not isinstance(ranges, list) or len(ranges) > MAX_RANGES:
        raise Malformed(f"ack.ranges: expected at most {MAX_RANGES} pairs")
    last = upto
    pairs: list[tuple[int, int]] = []
    for pair in ranges:
        if not isinstance(pair, list) or len(pair) != 2 or not all(map(_is_seq, pair)) or not last < pair[0] <= pair[1]:
            raise Malformed("ack.ranges: expected rising pairs [lo, hi] above upto")
        pairs.append((pair[0], pair[1]))
        last = pair[1]
    return Ack(StoreId(store.hex()), upto, tuple(pairs), *_more(raw[3:], upto))


def _more(rest: list[object], upto: int) -> tuple[bytes | None, int | None]:
    """Head and where to send from again, as far as they are there."""
    more = rest[0] if rest and isinstance(rest[0], dict) else {}
    head, resend_from = more.get(_HEAD), more.get(_RESEND_FROM)
    if head is not None and not (isinstance(head, bytes) and len(head) == DIGEST_BYTES and upto):
        raise Malformed(f"ack.head: expected the {DIGEST_BYTES} bytes of a digest, and upto above 0")
    if resend_from is not None and not (_is_seq(resend_from) and resend_from > 0):
        raise Malformed("ack.resend_from: expected a whole number from 1")
    return head, resend_from


def _is_seq(value: object) -> bool:
    return type(value) is int and 0 <= value <= MAX_WHOLE
