"""Work every number out again, from the records alone.

In:  opened records (their signatures are somebody else's business) and the facts of the packs they name.
Out: findings: what is proven, what is only claimed, what differs, what cannot be told because records are missing.
Records that were lost or evicted never make a number wrong: then it is missing, and the words say why.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from operator import attrgetter
from typing import Final

from packproof.finding import Finding, Verdict
from packproof.life import Life, lives
from packproof.soh_again import Packs, check_soh
from packproof.usage_again import check_usage
from packwire.seal import Record

__all__ = ["Finding", "Packs", "Verdict", "recompute"]

_BY_STORE: Final = attrgetter("envelope.box", "envelope.store")
_IN_ORDER: Final = attrgetter("envelope.box", "envelope.store", "envelope.seq")


def recompute(records: Iterable[Record], packs: Packs) -> tuple[Finding, ...]:
    """Findings by store, in the order of the records. Any order in, several stores at once, no record twice."""
    findings: list[Finding] = []
    for _, one_store in groupby(sorted(records, key=_IN_ORDER), key=_BY_STORE):
        for life in lives(tuple(one_store)):
            findings += _of_life(life, packs)
    return tuple(findings)


def _of_life(life: Life, packs: Packs) -> list[Finding]:
    return check_usage(life) + check_soh(life, packs)
