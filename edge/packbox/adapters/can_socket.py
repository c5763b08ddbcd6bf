"""One raw CAN socket: opened as a listener needs it, read one frame at a time, frames taken apart many at a time.

In:  an interface by name, with the ids that matter.
Out: frames as the kernel lays them out (linux/can.h), each with the kernel's time and its count of what it dropped.
Refuses with OSError, as the kernel says it.
"""

from __future__ import annotations

import fcntl
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from packbox.adapters.can_errors import ALL_CLASSES
from packbox.adapters.can_filters import EFF_FLAG, ID_BITS, RTR_FLAG, IdFilter, fold, pack_filters
from packbox.core.frames import CLASSIC_BYTES, ERROR, EXTENDED, FD, FD_BYTES, REMOTE, IntArray
from packbox.core.stamp import NS_PER_S

QUEUE_BYTES: Final = (
    4 << 20
)  # the kernel doubles it: about 2 s of the busiest 500 kbit/s bus, through any stall of ours
FRAME_COST_BYTES: Final = 1024  # what one queued frame takes of SO_RCVBUF, rounded up (sk_buff and its head)
FD_FRAME_BYTES: Final = 72

# linux/can.h, linux/can/raw.h; asm-generic/socket.h (not all of them are in Python's socket module); linux/if.h
_ERR_FLAG: Final = 0x20000000
_CAN_RAW_ERR_FILTER: Final = 2
_SO_RCVBUFFORCE: Final = 33
_SO_TIMESTAMPNS: Final = 35
_SO_RXQ_OVFL: Final = 40
_SIOCGIFFLAGS: Final = 0x8913
_IFF_UP: Final = 1
_IFREQ_FLAGS: Final = struct.Struct("16sH22x")
_CLASSIC_FRAME_BYTES: Final = 16
_HEAD_BYTES: Final = 8
_TIMESPEC: Final = struct.Struct("@ll")
_U32: Final = struct.Struct("@I")
_ANCILLARY_BYTES: Final = socket.CMSG_SPACE(_TIMESPEC.size) + socket.CMSG_SPACE(_U32.size)


# Size, bus, whether this machine sent it, kernel time in ns or 0, frames dropped so far or 0 (32 bits, per socket).
Head: TypeAlias = tuple[int, int, int, int, int]


@dataclass(frozen=True, slots=True)
class Interface:
    name: str
    ids: tuple[IdFilter, ...] = ()  # none: everything


def open_can_socket(interface: Interface) -> socket.socket:
    """A raw socket that receives the interface's frames, CAN FD and error frames among them. OSError when it cannot."""
    source = socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW)
    try:
        source.setsockopt(socket.SOL_CAN_RAW, socket.CAN_RAW_FD_FRAMES, 1)
        source.setsockopt(socket.SOL_CAN_RAW, _CAN_RAW_ERR_FILTER, ALL_CLASSES)
        if interface.ids:
            source.setsockopt(socket.SOL_CAN_RAW, socket.CAN_RAW_FILTER, pack_filters(fold(interface.ids)))
        ask_for_times(source)
        source.bind((interface.name,))
    except BaseException:
        source.close()
        raise
    return source


def is_up(any_socket: socket.socket, name: str) -> bool:
    """Whether the interface is there and somebody brought it up."""
    try:
        answer = fcntl.ioctl(any_socket, _SIOCGIFFLAGS, _IFREQ_FLAGS.pack(name.encode(), 0))
    except OSError:
        return False
    flags: int = _IFREQ_FLAGS.unpack(answer)[1]
    return bool(flags & _IFF_UP)


def ask_for_times(source: socket.socket) -> None:
    """Kernel time and drop count with every frame, room for a stall, never wait."""
    source.settimeout(0)
    source.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    source.setsockopt(socket.SOL_SOCKET, _SO_RXQ_OVFL, 1)
    try:
        source.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, QUEUE_BYTES)
    except PermissionError:  # without CAP_NET_ADMIN the kernel grants up to net.core.rmem_max
        source.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, QUEUE_BYTES)


def read_frames(source: socket.socket, bus: int, rows: Sequence[memoryview], heads: list[Head], until: int) -> None:
    """Rows from number len(heads) on, and `heads` with them, to `until`. Raises OSError when there is no more."""
    while len(heads) < until:
        size, ancillary, how, _ = source.recvmsg_into([rows[len(heads)]], _ANCILLARY_BYTES)
        if size not in (_CLASSIC_FRAME_BYTES, FD_FRAME_BYTES):
            continue  # CAN XL, which we never asked for
        kernel_ns = dropped = 0
        for _, kind, value in ancillary:
            if kind == _SO_TIMESTAMPNS:
                seconds, ns = _TIMESPEC.unpack(value)
                kernel_ns = seconds * NS_PER_S + ns
            elif kind == _SO_RXQ_OVFL:
                dropped = _U32.unpack(value)[0]
        # MSG_DONTROUTE: a program on this machine sent it (linux Documentation/networking/can.rst, 4.1.7).
        heads.append((size, bus, how & socket.MSG_DONTROUTE, kernel_ns, dropped))


def parse_frames(
    raw: npt.NDArray[np.uint8], size: IntArray
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint8], npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Ids, flags, lengths and data of n frames: `raw` (n, 72) holds struct can_frame or canfd_frame, as `size` says."""
    assert raw.shape == (len(size), FD_FRAME_BYTES)
    word = np.ascontiguousarray(raw[:, :4]).view(np.uint32)[:, 0]
    fd = size == FD_FRAME_BYTES
    error, remote = word & _ERR_FLAG > 0, word & RTR_FLAG > 0
    flags = ((word & EFF_FLAG > 0) & ~error) * EXTENDED + fd * FD + error * ERROR + remote * REMOTE
    length = np.minimum(raw[:, 4], np.where(fd, FD_BYTES, CLASSIC_BYTES))
    length = np.where(remote & ~error, 0, length).astype(np.uint8)
    width = FD_BYTES if np.any(length > CLASSIC_BYTES) else CLASSIC_BYTES
    data = raw[:, _HEAD_BYTES : _HEAD_BYTES + width]
    data = np.where(np.arange(width) < length[:, None], data, 0).astype(np.uint8)
    return word & np.uint32(ID_BITS), flags.astype(np.uint8), length, data
