"""What any car answers to any OBD app: services 01, 03, 07, 09, 0A, and the simplest of UDS.

In:  a request and the truth about the car, by quantity.
Out: the answer, a refusal, or None where a real unit stays silent.
Refuses everything that would change something. A parameter that is not known is one the car does not support.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from packbox.core.profile import FUNCTIONAL_IDS, NEGATIVE_ANSWER, POSITIVE_ANSWER

FUNCTIONAL_KEY: Final = FUNCTIONAL_IDS[0]
ASKED_KEY: Final = 0x7E0  # ISO 15765-4: the first of eight units
ANSWER_KEY: Final = 0x7E8
UNIT_NAME: Final = b"SIM\0Packbox car".ljust(20, b"\0")

NO_SERVICE: Final = 0x11  # ISO 14229-1, negative response codes
NO_SUBFUNCTION: Final = 0x12
NOT_NOW: Final = 0x22
OUT_OF_RANGE: Final = 0x31
# ISO 14229-1: a question to everybody is not refused by those that do not know it.
_UNSAID: Final = frozenset((NO_SERVICE, NO_SUBFUNCTION, OUT_OF_RANGE))
_SILENT_BIT: Final = 0x80  # of a subfunction: no positive answer wanted
_SESSIONS: Final = (0x01, 0x03)  # default and extended
_SESSION_TIMES: Final = bytes.fromhex("0032 01F4")  # P2 50 ms, P2* 5 s
_VIN_DID: Final = b"\xf1\x90"
_CLEAR: Final = 0x04
_CODES: Final = (0x03, 0x07, 0x0A)  # stored, pending, permanent: none

Truth = Callable[[], Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class _Pid:
    """SAE J1979 by the layouts of can_profiles/generic-obd. Without a quantity it is always there."""

    size: int
    quantity: str | None = None
    factor: float = 1.0
    offset: float = 0.0
    fixed: int = 0

    def data(self, truth: Mapping[str, float]) -> bytes | None:
        if self.quantity is None:
            return self.fixed.to_bytes(self.size, "big")
        if self.quantity not in truth:
            return None
        raw = round((truth[self.quantity] - self.offset) / self.factor)
        return min(max(raw, 0), (1 << 8 * self.size) - 1).to_bytes(self.size, "big")


_PIDS: Final = {
    0x01: _Pid(4),  # no warning lamp, no trouble code
    0x0D: _Pid(1, "speed_kmh"),
    0x1C: _Pid(1, fixed=6),  # built to EOBD
    0x42: _Pid(2, "aux_voltage_v", 0.001),
    0x46: _Pid(1, "ambient_temp_degc", offset=-40),
    0x5B: _Pid(1, "soc_shown_pct", 100 / 255),
    0xA6: _Pid(4, "odometer_km", 0.1),
}
_PACK_PID: Final = 0x9A
_PACK_VOLTAGE_BIT: Final = 2
_PACK_CURRENT_BIT: Final = 4
_PIDS_AT_ONCE: Final = 6
_PAGE: Final = 0x20  # parameters that one "what is supported" tells about


class ObdUnit:
    def __init__(self, truth: Truth, vin: str) -> None:
        self._truth = truth
        self._vin = vin.encode("ascii")

    def answer(self, request: bytes, *, to_all: bool) -> bytes | None:
        said = self._answer(request)
        if to_all and said is not None and said[0] == NEGATIVE_ANSWER and said[2] in _UNSAID:
            return None
        return said

    def _answer(self, request: bytes) -> bytes | None:
        service = request[0]
        if service == 0x01 and len(request) > 1:
            return self._current(request[1 : 1 + _PIDS_AT_ONCE])
        if service == 0x09 and len(request) > 1:
            return self._vehicle(request[1])
        if service in _CODES:
            return bytes((service + POSITIVE_ANSWER, 0))
        if service == 0x19 and len(request) > 1:
            return bytes((0x59, request[1], 0xFF)) if request[1] == 0x02 else refusal(request, NO_SUBFUNCTION)
        if service == 0x22 and request[1:] == _VIN_DID:
            return b"\x62" + _VIN_DID + self._vin
        return courtesy(request)

    def _current(self, pids: bytes) -> bytes:
        truth = self._truth()
        known = {pid: data for pid, kind in _PIDS.items() if (data := kind.data(truth)) is not None}
        if (pack := _pack(truth)) is not None:
            known[_PACK_PID] = pack
        known |= pages(known)
        parts = [bytes((pid,)) + known[pid] for pid in pids if pid in known]
        return b"\x41" + b"".join(parts) if parts else refusal(b"\x01", NO_SUBFUNCTION)

    def _vehicle(self, info: int) -> bytes:
        known = {0x02: b"\x01" + self._vin, 0x0A: b"\x01" + UNIT_NAME}
        known |= pages(known)
        return bytes((0x49, info)) + known[info] if info in known else refusal(b"\x09", NO_SUBFUNCTION)


def courtesy(request: bytes) -> bytes | None:
    """What every unit says to questions that are not its own."""
    service, sub = request[0], request[1] if len(request) > 1 else 0
    if service == 0x3E:
        return None if sub & _SILENT_BIT else b"\x7e\x00"
    if service == 0x10:
        if sub & ~_SILENT_BIT not in _SESSIONS:
            return refusal(request, NO_SUBFUNCTION)
        return None if sub & _SILENT_BIT else bytes((0x50, sub)) + _SESSION_TIMES
    if service == _CLEAR:
        return refusal(request, NOT_NOW)
    return refusal(request, OUT_OF_RANGE if service in (0x21, 0x22) else NO_SERVICE)


def refusal(request: bytes, code: int) -> bytes:
    return bytes((NEGATIVE_ANSWER, request[0], code))


def pages(known: Mapping[int, bytes]) -> dict[int, bytes]:
    """Parameters 00, 20, 40, ...: which of the next 32 there are, the last bit saying that a further page exists."""
    made: dict[int, bytes] = {}
    for base in range(0, max(known), _PAGE):
        bits = sum(1 << (base + _PAGE - pid) for pid in known if base < pid <= base + _PAGE)
        more = any(pid > base + _PAGE for pid in known)
        made[base] = (bits | more).to_bytes(4, "big")
    return made


def _pack(truth: Mapping[str, float]) -> bytes | None:
    """Voltage in 1/64 V and current in 0.1 A, positive into the pack."""
    if "pack_voltage_v" not in truth or "pack_current_a" not in truth:
        return None
    voltage = round(truth["pack_voltage_v"] * 64).to_bytes(2, "big")
    current = round(truth["pack_current_a"] * 10).to_bytes(2, "big", signed=True)
    return bytes((_PACK_VOLTAGE_BIT | _PACK_CURRENT_BIT, 0)) + voltage + current


def vin_of(seed: int) -> str:
    """17 characters that no maker uses: ZZZ is nobody's code."""
    return f"ZZZS1M{seed % 10**11:011d}"
