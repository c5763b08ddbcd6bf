"""An ECU that answers for another is no source: its answer is counted by reason and dropped."""

from __future__ import annotations

import numpy as np
import pytest

from packbox.adapters.profile_dir import Catalogue
from packbox.core.decode import Decoder
from packbox.core.frames import FrameBatch
from packbox.core.signals import Decoded
from packbox.core.stamp import BootId

AUX_VOLTAGE = bytes.fromhex("04 62 11 03 A0 AA AA AA")  # 160 x 0.08 V


def decoded(*frames: tuple[int, bytes]) -> Decoded:
    decoder = Decoder(Catalogue().profile("nissan-leaf"))
    n = len(frames)
    batch = FrameBatch(
        BootId("0" * 16),
        None,
        np.arange(n, dtype=np.int64) * 10_000_000,
        np.zeros(n, np.uint8),
        np.array([can_id for can_id, _ in frames], np.uint32),
        np.zeros(n, np.uint8),
        np.full(n, 8, np.uint8),
        np.frombuffer(b"".join(data for _, data in frames), np.uint8).reshape(n, 8),
    )
    return decoder.decode(decoder.start(), batch)[1]


CLUSTER = 0x763


def test_the_asked_unit_is_believed() -> None:
    """Else the next test would show nothing."""
    heard = decoded((0x79A, AUX_VOLTAGE))
    assert heard.refused.foreign_answers == 0
    assert heard.signals["aux_voltage_v"].value.tolist() == pytest.approx([12.8])


def test_a_unit_that_answers_for_another_is_counted_and_dropped() -> None:
    """The number may be of another battery, or of none."""
    heard = decoded((CLUSTER, AUX_VOLTAGE))
    assert (heard.refused.foreign_answers, dict(heard.signals)) == (1, {})


def test_a_unit_that_was_asked_the_same_by_somebody_else_is_not_accused() -> None:
    """A workshop asks every unit for its part number; the profile knows it of one."""
    heard = decoded((0x743, bytes.fromhex("03 22 11 03 00 00 00 00")), (CLUSTER, AUX_VOLTAGE))
    assert (heard.refused.foreign_answers, dict(heard.signals)) == (0, {})
