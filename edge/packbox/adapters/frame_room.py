"""Room for a batch of frames, filled by the kernel many at a time (recvmmsg): one system call for hundreds of frames.

In:  a non-blocking socket that was asked for times (`can_socket.ask_for_times`).
Out: frames as the kernel lays them out (linux/can.h), each with its size, the kernel's time of it, what the kernel had
     dropped by then, and whether a program on this machine sent it.
Refuses with OSError, as the kernel says it; BlockingIOError when nothing waits.
The C structures live once, for good: a call only tells the kernel where to put things.
"""

from __future__ import annotations

import ctypes
import os
import socket
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from packbox.core.frames import BoolArray, IntArray
from packbox.core.stamp import NS_PER_S

FRAME_BYTES: Final = 72  # struct canfd_frame, the longest that fits here

# asm-generic/socket.h; Python's socket module has neither
SO_TIMESTAMPNS: Final = 35
SO_RXQ_OVFL: Final = 40

_LONG: Final = ctypes.sizeof(ctypes.c_long)
_TIME_BYTES: Final = 2 * _LONG  # struct timespec
_COUNT_BYTES: Final = 4
_TIME_SPACE: Final = socket.CMSG_SPACE(_TIME_BYTES)
_ANCILLARY_BYTES: Final = _TIME_SPACE + socket.CMSG_SPACE(_COUNT_BYTES)
_HEAD: Final = socket.CMSG_LEN(0)  # of a control message: length, level, type
_TYPE: Final = ctypes.sizeof(ctypes.c_size_t) + ctypes.sizeof(ctypes.c_int)


class _Piece(ctypes.Structure):
    """struct iovec"""

    _fields_ = (("base", ctypes.c_size_t), ("length", ctypes.c_size_t))


class _Header(ctypes.Structure):
    """struct msghdr"""

    _fields_ = (
        ("name", ctypes.c_size_t),
        ("name_length", ctypes.c_uint32),
        ("pieces", ctypes.c_size_t),
        ("n_pieces", ctypes.c_size_t),
        ("ancillary", ctypes.c_size_t),
        ("ancillary_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Message(ctypes.Structure):
    """struct mmsghdr"""

    _fields_ = (("header", _Header), ("size", ctypes.c_uint32))


class FrameRoom:
    """Rows 0..n-1 hold what was read. `raw` (capacity, 72): the frames' bytes; `sizes`: how many of them count."""

    def __init__(self, capacity: int) -> None:
        self.raw: npt.NDArray[np.uint8] = np.zeros((capacity, FRAME_BYTES), np.uint8)
        self._ancillary: npt.NDArray[np.uint8] = np.zeros((capacity, _ANCILLARY_BYTES), np.uint8)
        self._pieces: npt.NDArray[Any] = np.zeros(capacity, np.dtype(_Piece))
        self._pieces["base"] = self.raw.ctypes.data + np.arange(capacity) * FRAME_BYTES
        self._pieces["length"] = FRAME_BYTES
        self._messages: npt.NDArray[Any] = np.zeros(capacity, np.dtype(_Message))
        self._headers = self._messages["header"]
        self._headers["pieces"] = self._pieces.ctypes.data + np.arange(capacity) * ctypes.sizeof(_Piece)
        self._headers["n_pieces"] = 1
        self._headers["ancillary"] = self._ancillary.ctypes.data + np.arange(capacity) * _ANCILLARY_BYTES
        library = ctypes.CDLL(None, use_errno=True)
        self._receive = library.recvmmsg
        self._receive.argtypes = (ctypes.c_int, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p)

    def fill(self, source: socket.socket, begin: int, end: int) -> int:
        """Rows from `begin` on, at most to `end`, with what waits; the row after the last. Raises OSError."""
        self._headers["ancillary_length"][begin:end] = _ANCILLARY_BYTES
        where = self._messages.ctypes.data + begin * ctypes.sizeof(_Message)
        n: int = self._receive(source.fileno(), where, end - begin, socket.MSG_DONTWAIT, None)
        if n < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))  # of the fitting subclass, BlockingIOError among them
        return begin + n

    def sizes(self, n: int) -> IntArray:
        return self._messages["size"][:n].astype(np.int64)

    def sent_here(self, n: int) -> BoolArray:
        """MSG_DONTROUTE: a program on this machine sent it (linux Documentation/networking/can.rst, 4.1.7)."""
        ours: BoolArray = self._headers["flags"][:n] & socket.MSG_DONTROUTE > 0
        return ours

    def times_ns(self, n: int) -> IntArray:
        """The kernel's wall time of each frame; 0 where it gave none."""
        stamp = np.ascontiguousarray(self._ancillary[:n, _HEAD : _HEAD + _TIME_BYTES]).view(np.dtype(ctypes.c_long))
        return np.where(self._timed(n), stamp[:, 0].astype(np.int64) * NS_PER_S + stamp[:, 1], 0)

    def drops(self, n: int) -> IntArray:
        """How many frames the kernel had dropped by each (32 bits, per socket); 0 where it says nothing."""
        after_time = np.where(self._timed(n), _TIME_SPACE, 0)
        used = self._headers["ancillary_length"][:n].astype(np.int64) - after_time
        told = used >= _HEAD + _COUNT_BYTES
        total = np.zeros(n, np.int64)
        rows = np.flatnonzero(told)
        columns = after_time[rows, None] + _HEAD + np.arange(_COUNT_BYTES)
        total[rows] = self._ancillary[rows[:, None], columns].view(np.uint32)[:, 0]
        return total

    def _timed(self, n: int) -> BoolArray:
        """Of each row: is its first control message the time? The count of drops, if any, follows it."""
        types = np.ascontiguousarray(self._ancillary[:n, _TYPE : _TYPE + 4]).view(np.int32)[:, 0]
        there: BoolArray = (self._headers["ancillary_length"][:n] > _HEAD) & (types == SO_TIMESTAMPNS)
        return there
