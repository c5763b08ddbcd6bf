"""The small, strict part of CBOR that this contract uses: one meaning has exactly one encoding.

In:  whole numbers within +-(2**53 - 1), byte strings, text, lists, maps with rising keys from 0, true, false, null,
     and one tag around a whole message.
Out: deterministic bytes (RFC 8949 §4.2.1), and back.
Refuses floats, every other tag, indefinite lengths, numbers longer than needed, keys twice or out of order, deep
nesting and anything behind the value. A full decoder would follow shared references, dates and bignums that a
stranger chose, and would let him re-encode a record into other bytes with the same signature.
"""

from __future__ import annotations

from typing import Any, Final

import cbor2

from packwire.errors import Malformed

MAX_MESSAGE_BYTES: Final = 131_072  # AWS IoT Core's limit for one publish: managed brokers stay possible
MAX_WHOLE: Final = 2**53 - 1  # exact in JSON (RFC 8259 §6) and inside every database's integer
MAX_DEPTH: Final = 8  # a record needs five: tag, list, map, list of nested bodies, list

_UNSIGNED, _NEGATIVE, _BYTES, _TEXT, _LIST, _MAP, _TAG, _SIMPLE = range(8)
_SIMPLE_VALUES: Final = {20: False, 21: True, 22: None}
_ARGUMENT_BYTES: Final = {24: 1, 25: 2, 26: 4, 27: 8}
_SMALLEST: Final = {24: 24, 25: 1 << 8, 26: 1 << 16, 27: 1 << 32}  # below it a shorter form exists


def dumps(value: object) -> bytes:
    """Deterministic CBOR bytes of a value that `loads` would give back."""
    return cbor2.dumps(value, canonical=True)


def loads(data: bytes, what: str = "message") -> object:
    """One value and nothing behind it. Raises Malformed that begins with `what` and names the byte."""
    if len(data) > MAX_MESSAGE_BYTES:
        raise Malformed(f"{what}: {len(data)} bytes; at most {MAX_MESSAGE_BYTES} are allowed")
    try:
        value, end = _item(data, 0, 0)
    except _Refused as problem:
        raise Malformed(f"{what}: byte {problem.at}: {problem.reason}") from None
    if end != len(data):
        raise Malformed(f"{what}: byte {end}: {len(data) - end} bytes behind the end")
    return value


def last_value(data: bytes, begin: int, depth: int) -> object:
    """The value that begins here, within `depth` others, and ends with the data; for who knows what stands before it.
    Raises Malformed, which names no message: `loads` says it better."""
    try:
        value, end = _item(data, begin, depth)
    except _Refused as problem:
        raise Malformed(f"byte {problem.at}: {problem.reason}") from None
    if end != len(data):
        raise Malformed(f"byte {end}: {len(data) - end} bytes behind the end")
    return value


class _Refused(Exception):
    def __init__(self, at: int, reason: str) -> None:
        self.at = at
        self.reason = reason


def _item(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    """The value that begins at `at`, and where the next one begins."""
    if at >= len(data):
        raise _Refused(at, "ends early")
    first = data[at]
    if first < 24:  # most of a message is small numbers
        return first, at + 1
    if depth > MAX_DEPTH:
        raise _Refused(at, f"nested deeper than {MAX_DEPTH}")
    major, info = first >> 5, first & 31
    if major == _UNSIGNED and info == 25 and at + 3 <= len(data) and (number := data[at + 1] << 8 | data[at + 2]) > 255:
        return number, at + 3  # the usual measurement
    if major == _SIMPLE:
        if info not in _SIMPLE_VALUES:
            raise _Refused(at, "only true, false and null are allowed here, no floats")
        return _SIMPLE_VALUES[info], at + 1
    number, begin = _argument(data, at, info)
    if major in (_UNSIGNED, _NEGATIVE):
        if number > MAX_WHOLE - (major == _NEGATIVE):
            raise _Refused(at, f"a whole number beyond +-{MAX_WHOLE}")
        return (number if major == _UNSIGNED else -1 - number), begin
    if major == _TAG:
        if depth:
            raise _Refused(at, f"tag {number} inside a message")
        inside, end = _item(data, begin, depth + 1)
        return cbor2.CBORTag(number, inside), end
    if number > len(data) - begin:
        raise _Refused(at, "ends early")
    if major == _BYTES:
        return data[begin : begin + number], begin + number
    if major == _TEXT:
        return _text(data, begin, number), begin + number
    return _list(data, begin, number, depth) if major == _LIST else _map(data, begin, number, depth)


def _argument(data: bytes, at: int, info: int) -> tuple[int, int]:
    if info < 24:
        return info, at + 1
    if info not in _ARGUMENT_BYTES:
        raise _Refused(at, "indefinite or reserved length")
    end = at + 1 + _ARGUMENT_BYTES[info]
    if end > len(data):
        raise _Refused(at, "ends early")
    number = int.from_bytes(data[at + 1 : end], "big")
    if number < _SMALLEST[info]:
        raise _Refused(at, "a number longer than needed")
    return number, end


def _text(data: bytes, begin: int, length: int) -> str:
    try:
        return data[begin : begin + length].decode()
    except UnicodeDecodeError:
        raise _Refused(begin, "text is not UTF-8") from None


def _list(data: bytes, at: int, length: int, depth: int) -> tuple[list[Any], int]:
    """The numbers that histograms are made of are read here: a call for each took most of the time."""
    out: list[Any] = []
    have = len(data) if depth < MAX_DEPTH else 0
    for _ in range(length):
        first = data[at] if at < have else 0xFF
        if first < 24:
            out.append(first)
            at += 1
        elif first == 0x19 and at + 3 <= have and (number := data[at + 1] << 8 | data[at + 2]) > 255:
            out.append(number)
            at += 3
        elif 0x20 <= first < 0x38:
            out.append(0x1F - first)
            at += 1
        else:
            value, at = _item(data, at, depth + 1)
            out.append(value)
    return out, at


def _map(data: bytes, at: int, length: int, depth: int) -> tuple[dict[int, Any], int]:
    out: dict[int, Any] = {}
    last = -1
    for _ in range(length):
        key_at = at
        if at < len(data) and (small := data[at]) < 24:
            key: Any = small
            at += 1
        else:
            key, at = _item(data, at, depth + 1)
        if type(key) is not int or key <= last:
            raise _Refused(key_at, "map keys must be whole numbers from 0, rising")
        if at < len(data) and (small := data[at]) < 24:
            out[key] = small
            at += 1
        else:
            out[key], at = _item(data, at, depth + 1)
        last = key
    return out, at


class Cursor:
    """Walk through strict CBOR part by part, where the whole would be too large to hold: it names the byte of a fault.

    Each call reads one head or value of the kind it is named after and refuses any other. `at`: the next byte.
    """

    def __init__(self, data: bytes, what: str) -> None:
        self._data = data
        self.what = what  # begins every refusal; the reader says here where in the whole it is
        self.at = 0

    def tag(self, wanted: int) -> None:
        self._exactly(_TAG, wanted, f"tag {wanted}")

    def items(self, most: int) -> int:
        """Begin a list: how many items follow."""
        return self._head(_LIST, most, "a list")

    def entries(self, wanted: int) -> None:
        """Begin a map of so many entries."""
        self._exactly(_MAP, wanted, f"a map of {wanted}")

    def key(self, wanted: int) -> None:
        self._exactly(_UNSIGNED, wanted, f"key {wanted}")

    def whole(self) -> int:
        return self._head(_UNSIGNED, MAX_WHOLE, "a whole number")

    def string(self, most: int) -> bytes:
        """A byte string, after which `at` stands behind it."""
        return self._string(_BYTES, most, "a byte string")

    def text(self, most: int) -> str:
        at = self.at
        try:
            return self._string(_TEXT, most, "text").decode()
        except UnicodeDecodeError:
            raise self.refusal(at, "text is not UTF-8") from None

    def begin_string(self, most: int) -> int:
        """Begin a byte string that holds CBOR itself: how long it says it is."""
        return self._head(_BYTES, most, "a byte string")

    def refusal(self, at: int, reason: str) -> Malformed:
        return Malformed(f"{self.what}: byte {at}: {reason}")

    def _string(self, major: int, most: int, called: str) -> bytes:
        at = self.at
        length = self._head(major, most, called)
        if length > len(self._data) - self.at:
            raise self.refusal(at, "ends early")
        self.at += length
        return self._data[self.at - length : self.at]

    def _exactly(self, major: int, wanted: int, called: str) -> None:
        at = self.at
        if self._head(major, MAX_WHOLE, called) != wanted:
            raise self.refusal(at, f"expected {called}")

    def _head(self, major: int, most: int, called: str) -> int:
        at = self.at
        if at >= len(self._data):
            raise self.refusal(at, "ends early")
        first = self._data[at]
        if first >> 5 != major:
            raise self.refusal(at, f"expected {called}")
        try:
            number, self.at = _argument(self._data, at, first & 31)
        except _Refused as problem:
            raise self.refusal(problem.at, problem.reason) from None
        if number > most:
            raise self.refusal(at, f"{called} of {number}; at most {most} are allowed")
        return number
