"""Why a promise is not made, in words: for whoever looks at one battery or at a fleet."""

from __future__ import annotations

from packbook.core.guarantee import Condition, Failed
from packbook.core.words import Words


def failed_text(t: Words, failed: Failed) -> str:
    """A condition in plain words, with the figures where they tell the reader more than the words do."""
    scale = 100.0 if failed.condition is Condition.PROBABILITY else 1.0
    digits = 0 if failed.condition in (Condition.PROBABILITY, Condition.EVIDENCE, Condition.RESISTANCE) else 1
    found, asked = (t.number(value * scale, digits) for value in (failed.found, failed.asked))
    return t(f"condition.{failed.condition}.text", found=found, asked=asked)
