"""python-can's messages as columns, for the live source and the log formats that python-can reads."""

from __future__ import annotations

from collections.abc import Sequence

import can
import numpy as np
import numpy.typing as npt

from packbox.core.frames import CLASSIC_BYTES, ERROR, EXTENDED, FD, FD_BYTES, REMOTE, SENT, IntArray


def message_columns(
    messages: Sequence[can.Message],
) -> tuple[IntArray, IntArray, IntArray, npt.NDArray[np.uint8]]:
    """Ids, flags, lengths (n,) and data (n, 8 or 64) of at least one message."""
    head = np.array(
        [(m.arbitration_id, _flags(m), 0 if m.is_remote_frame else len(m.data)) for m in messages], np.int64
    )
    width = FD_BYTES if head[:, 2].max() > CLASSIC_BYTES else CLASSIC_BYTES
    data = b"".join((b"" if m.is_remote_frame else bytes(m.data)).ljust(width, b"\0") for m in messages)
    return head[:, 0], head[:, 1], head[:, 2], np.frombuffer(data, np.uint8).reshape(len(messages), width)


def _flags(message: can.Message) -> int:
    return (
        message.is_extended_id * EXTENDED
        | message.is_fd * FD
        | message.is_error_frame * ERROR
        | (not message.is_rx) * SENT
        | message.is_remote_frame * REMOTE
    )
