"""One raw CAN socket: opened as a listener needs it, its frames taken apart many at a time.

In:  an interface by name, with the ids that matter; frames as the kernel lays them out (linux/can.h).
Out: a socket that gives kernel times and the count of what was dropped; columns of frames.
Refuses with OSError, as the kernel says it.
"""

from __future__ import annotations

import fcntl
import socket
import struct
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from packbox.adapters.can_errors import ALL_CLASSES
from packbox.adapters.can_filters import EFF_FLAG, ID_BITS, RTR_FLAG, IdFilter, fold, pack_filters
from packbox.adapters.frame_room import FRAME_BYTES, SO_RXQ_OVFL, SO_TIMESTAMPNS
from packbox.core.frames import CLASSIC_BYTES, ERROR, EXTENDED, FD, FD_BYTES, REMOTE, IntArray

QUEUE_BYTES: Final = (
    4 << 20
)  # the kernel doubles it: about 2 s of the busiest 500 kbit/s bus, through any stall of ours
FRAME_COST_BYTES: Final = 1024  # what one queued frame takes of SO_RCVBUF, rounded up (sk_buff and its head)

# linux/can.h, linux/can/raw.h; asm-generic/socket.h (not all of them are in Python's socket module); linux/if.h
_ERR_FLAG: Final = 0x20000000
_CAN_RAW_ERR_FILTER: Final = 2
_SO_RCVBUFFORCE: Final = 33
_SIOCGIFFLAGS: Final = 0x8913
_IFF_UP: Final = 1
_IFREQ_FLAGS: Final = struct.Struct("16sH22x")
CLASSIC_FRAME_BYTES: Final = 16
_HEAD_BYTES: Final = 8
# Of 0 to 8 bytes, each as the word that keeps them.
_FIRST_BYTES: Final = (np.tri(CLASSIC_BYTES + 1, CLASSIC_BYTES, -1) * 0xFF).astype(np.uint8).view(np.uint64)[:, 0]


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
    source.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    source.setsockopt(socket.SOL_SOCKET, SO_RXQ_OVFL, 1)
    try:
        source.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, QUEUE_BYTES)
    except PermissionError:  # without CAP_NET_ADMIN the kernel grants up to net.core.rmem_max
        source.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, QUEUE_BYTES)


def parse_frames(
    raw: npt.NDArray[np.uint8], size: IntArray
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint8], npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Ids, flags, lengths and data of n frames: `raw` (n, 72) holds struct can_frame or canfd_frame, as `size` says."""
    assert raw.shape == (len(size), FRAME_BYTES)
    word = np.ascontiguousarray(raw[:, :4]).view(np.uint32)[:, 0]
    fd = size == FRAME_BYTES
    error, remote = word & _ERR_FLAG > 0, word & RTR_FLAG > 0
    flags = ((word & EFF_FLAG > 0) & ~error) * EXTENDED + fd * FD + error * ERROR + remote * REMOTE
    length = np.minimum(raw[:, 4], np.where(fd, FD_BYTES, CLASSIC_BYTES))
    length = np.where(remote & ~error, 0, length).astype(np.uint8)
    if np.any(length > CLASSIC_BYTES):
        data = raw[:, _HEAD_BYTES : _HEAD_BYTES + FD_BYTES]
        data = np.where(np.arange(FD_BYTES) < length[:, None], data, 0).astype(np.uint8)
    else:  # eight bytes are one word: a third of the time
        words = np.ascontiguousarray(raw[:, _HEAD_BYTES : _HEAD_BYTES + CLASSIC_BYTES]).view(np.uint64)[:, 0]
        data = (words & _FIRST_BYTES[length]).view(np.uint8).reshape(-1, CLASSIC_BYTES)
    return word & np.uint32(ID_BITS), flags.astype(np.uint8), length, data
