"""What the chip of an slcan adapter tells its computer, a line each: for whoever plays one on a serial line.

In:  frames, bus errors, the chip's state. Out: lines as the kernel's slcan driver reads them, through `_say`.
Source: drivers/net/can/slcan/slcan-core.c of Linux 6.1.
"""

from __future__ import annotations

from abc import ABC, abstractmethod


class SlcanChip(ABC):
    def frame(self, can_id: int, data: bytes) -> None:
        self._say(f"t{can_id:03X}{len(data)}{data.hex().upper()}")

    def bus_errors(self, codes: str) -> None:
        """a ACK, b bit0, B bit1, c CRC, f form, s stuff, o RX overrun, O TX overrun."""
        self._say(f"e{len(codes)}{codes}")

    def state(self, state: str, rx: int = 0, tx: int = 0) -> None:
        """a active, w warning, p passive, b bus-off."""
        self._say(f"s{state}{rx:03d}{tx:03d}")

    @abstractmethod
    def _say(self, line: str) -> None:
        """One line, without its end."""
