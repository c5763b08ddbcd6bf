"""Ask on SocketCAN: by the kernel's ISO-TP sockets where it has them (can_isotp, Linux 5.10), else by plain frames.

In:  the interface's name and polls.
Out: `ports.Tester`. The main source hears question, flow control and answer like every other frame on the interface,
     marked as sent by this machine where they are ours, so answers reach the fold whichever way was taken.
Functional requests (7DF, 18DB33F1) always go by plain frames: the kernel would send flow control to everybody.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Final

from packbox.adapters.can_filters import EFF_FLAG, ID_BITS, exactly, pack_filters
from packbox.adapters.isotp import FrameTester
from packbox.core import exchange
from packbox.core.exchange import Ending, OutFrame, Reply
from packbox.core.isotp import RESPONSE_PENDING
from packbox.core.profile import EXTENDED_BIT, FUNCTIONAL_KEYS, NEGATIVE_ANSWER, Poll, message_key
from packbox.core.stamp import NS_PER_S
from packbox.ports import BusBusyError, BusDownError, PackboxError, Tester

log = logging.getLogger(__name__)

# The kernel does not say when an answer begins: a long one at a slow pace must fit too.
KERNEL_ANSWER_WITHIN_S: Final = 3.0
ANSWER_BYTES: Final = 4095

# linux/can.h, linux/can/isotp.h
_FRAME: Final = struct.Struct("=IB3x8s")
_SOL_CAN_ISOTP: Final = 106
_CAN_ISOTP_OPTS: Final = 1
_TX_PADDING: Final = 0x0004
_WAIT_TX_DONE: Final = 0x0400  # a frame that nobody acknowledges is told to the sender
_OPTIONS: Final = struct.Struct("=IIBBBB")  # flags, frame_txtime, ext_address, txpad, rxpad, rx_ext_address

_GONE: Final = frozenset((errno.ENETDOWN, errno.ENODEV, errno.ENXIO, errno.EAFNOSUPPORT, errno.EPERM))
# What the kernel's ISO-TP says of an answer that began and went wrong: sequence, time, too long, anything else.
_BROKEN: Final = frozenset((errno.EILSEQ, errno.ETIMEDOUT, errno.EMSGSIZE, errno.EBADMSG))

OpenRaw = Callable[[str, Sequence[int]], socket.socket]
OpenIsoTp = Callable[[str, Poll], socket.socket]


def socketcan_tester(interface: str) -> Tester:
    """The best that this kernel has."""
    by_frames = FrameTester(SocketCanLink(interface))
    try:
        socket.socket(socket.AF_CAN, socket.SOCK_DGRAM, socket.CAN_ISOTP).close()
    except OSError as problem:
        log.info("no ISO-TP in this kernel (%s): questions go by plain frames", problem.strerror)
        return by_frames
    return KernelTester(interface, by_frames)


class SocketCanLink:
    """`ports.FrameLink` of one interface: a raw socket of its own for each question."""

    def __init__(self, interface: str, open_raw: OpenRaw | None = None) -> None:
        self._interface = interface
        self._open_raw = open_raw or open_raw_socket
        self._socket: socket.socket | None = None

    async def send(self, frame: OutFrame) -> None:
        assert self._socket is not None, "sends only while it overhears"
        word = frame.can_id | (EFF_FLAG if frame.extended else 0)
        try:
            self._socket.send(_FRAME.pack(word, len(frame.data), frame.data))
        except OSError as problem:
            raise trouble(self._interface, problem) from problem

    @contextmanager
    def overhear(self, keys: Sequence[int], heard: Callable[[int, bytes], None]) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        try:
            opened = self._open_raw(self._interface, keys)
        except OSError as problem:
            raise trouble(self._interface, problem) from problem

        def read() -> None:
            try:
                received = opened.recv(_FRAME.size)
            except BlockingIOError:
                return
            except OSError:  # the source sees it too, and says so
                loop.remove_reader(opened)
                return
            if len(received) == _FRAME.size:
                word, length, data = _FRAME.unpack(received)
                heard(message_key(word & ID_BITS, bool(word & EFF_FLAG)), data[:length])

        with closing(opened):
            self._socket = opened
            loop.add_reader(opened, read)
            try:
                yield
            finally:
                loop.remove_reader(opened)
                self._socket = None


class KernelTester:
    """`ports.Tester` over CAN_ISOTP sockets, one for each question."""

    def __init__(self, interface: str, by_frames: FrameTester, open_isotp: OpenIsoTp | None = None) -> None:
        self._interface = interface
        self._by_frames = by_frames
        self._open_isotp = open_isotp or open_isotp_socket
        self._sent = 0

    @property
    def frames_sent(self) -> int:
        """The kernel sends one flow control for each answer of several frames, also for one that then breaks off."""
        return self._sent + self._by_frames.frames_sent

    async def ask(self, poll: Poll) -> Reply:
        if poll.tx_key in FUNCTIONAL_KEYS:
            return await self._by_frames.ask(poll)
        asked = exchange.question(poll).data
        try:
            with closing(self._open_isotp(self._interface, poll)) as line:
                line.settimeout(0)
                line.send(asked[1 : 1 + asked[0]])
                self._sent += 1
                return await self._answer(line, poll)
        except OSError as problem:
            raise trouble(self._interface, problem) from problem

    async def _answer(self, line: socket.socket, poll: Poll) -> Reply:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        until_s = began_s + KERNEL_ANSWER_WITHIN_S
        while True:
            try:
                async with asyncio.timeout_at(until_s):
                    data = await loop.sock_recv(line, ANSWER_BYTES)
            except OSError as problem:  # our own limit too, without a number; the kernel's ETIMEDOUT is a TimeoutError
                if problem.errno is None:
                    return Reply(Ending.SILENT)
                if problem.errno not in _BROKEN:
                    raise
                self._sent += 1
                return Reply(Ending.BROKEN)
            if len(data) >= exchange.FRAME_BYTES:
                self._sent += 1
            if data.startswith(poll.head):
                return Reply(Ending.ANSWERED, data)
            if len(data) == 3 and data[:2] == bytes((NEGATIVE_ANSWER, poll.request[0])):
                if data[2] != RESPONSE_PENDING:
                    return Reply(Ending.REFUSED, data, data[2])
                until_s = began_s + exchange.PENDING_WITHIN_NS / NS_PER_S


def trouble(interface: str, problem: OSError) -> PackboxError:
    kind = BusDownError if problem.errno in _GONE else BusBusyError
    return kind(f"{interface}: {problem.strerror}")


def open_raw_socket(interface: str, keys: Sequence[int]) -> socket.socket:
    """Hears these ids. Raises OSError."""
    opened = socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW)
    try:
        only = [exactly(key & ID_BITS, extended=bool(key & EXTENDED_BIT)) for key in keys]
        opened.setsockopt(socket.SOL_CAN_RAW, socket.CAN_RAW_FILTER, pack_filters(only))
        opened.settimeout(0)
        opened.bind((interface,))
    except BaseException:
        opened.close()
        raise
    return opened


def open_isotp_socket(interface: str, poll: Poll) -> socket.socket:
    """One pair of ids, padded to eight bytes, flow control as the kernel does by default: all frames, no gap."""
    opened = socket.socket(socket.AF_CAN, socket.SOCK_DGRAM, socket.CAN_ISOTP)
    try:
        options = _OPTIONS.pack(_TX_PADDING | _WAIT_TX_DONE, 0, 0, exchange.PADDING[0], 0, 0)
        opened.setsockopt(_SOL_CAN_ISOTP, _CAN_ISOTP_OPTS, options)
        flag = EFF_FLAG if poll.extended else 0
        opened.bind((interface, poll.rx | flag, poll.tx | flag))
    except BaseException:
        opened.close()
        raise
    return opened
