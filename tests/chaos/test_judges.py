"""Judge and witness of the chaos run see what they are there to see: a run that cannot fail proves nothing."""

from __future__ import annotations

import dataclasses

import pytest

from chaos.verdict import differences, trouble_in_chain
from chaos.witness import HEAD, Witness
from packbook.testing.scripted_box import ScriptedBox
from packwire.ack import Ack
from packwire.seal import digest

KEY = ("box", "store")


@pytest.fixture
def box() -> ScriptedBox:
    box = ScriptedBox()
    box.life()
    return box


@pytest.mark.parametrize(
    ("held", "said"),
    [
        ([1, 2], "1 of 3 records lost: [3]"),
        ([1, 2, 2, 3], "1 of 3 records doubled: [2]"),
        ([1, 2, 3, 4], "1 of 3 records not as the box made them: [4]"),
    ],
    ids=["lost", "doubled", "invented"],
)
def test_a_record_too_few_or_too_many_is_named(held: list[int], said: str) -> None:
    """These are the two promises that the run is about."""
    wrong: list[str] = []
    differences({KEY: {seq: b"%d" % seq for seq in (1, 2, 3)}}, {KEY: [(seq, b"%d" % seq) for seq in held]}, wrong)
    assert wrong == [f"store {KEY}: {said}"]


def test_a_changed_record_and_a_store_of_nobody_are_named() -> None:
    """Byte for byte, and nothing that no box has on its disk."""
    wrong: list[str] = []
    differences({KEY: {1: b"made"}}, {KEY: [(1, b"kept")], ("who", "ever"): [(1, b"x")]}, wrong)
    assert len(wrong) == 2
    assert all("not as the box made them: [1]" in trouble for trouble in wrong)


def test_a_hole_in_a_chain_and_a_strangers_record_are_found(box: ScriptedBox) -> None:
    """The ledger's own word that all is well counts for nothing here."""
    rows = list(enumerate(box.sealed, start=1))
    stranger = ScriptedBox(name="bravo")
    stranger.life()
    assert trouble_in_chain(rows) == []
    assert trouble_in_chain(rows[:3] + rows[4:]) == ["the chain breaks at record 4 (found 5)"]
    assert trouble_in_chain([*rows[:3], (4, stranger.sealed[3])]) == ["the chain breaks at record 4 (found 4)"]


@dataclasses.dataclass
class Book:
    """What a connection to the ledger would answer of one store."""

    box: ScriptedBox
    held: set[int]

    async def fetchval(self, query: str, _box: str, _store: str, *place: int) -> int | bytes | None:
        if query == HEAD:
            return digest(self.box.sealed[place[0] - 1])
        return len(self.held & set(range(place[0], place[1] + 1)))


@pytest.mark.parametrize(
    ("held", "upto", "ranges", "said"),
    [
        ({1, 2, 3}, 3, (), ""),
        ({1, 2}, 3, (), "records 1..3"),
        ({1, 2, 4}, 2, ((4, 5),), "records 4..5"),
    ],
    ids=["true", "ahead", "range ahead"],
)
async def test_an_ack_of_what_is_not_there_is_noticed(
    box: ScriptedBox, held: set[int], upto: int, ranges: tuple[tuple[int, int], ...], said: str
) -> None:
    """A box forgets by the ack alone: one that comes before the COMMIT is the one fault that loses a record."""
    witness = Witness("nowhere", 0, "postgresql://nowhere")
    ack = Ack(box.store, upto, ranges, digest(box.sealed[upto - 1]))
    assert await witness.compare(Book(box, held), box.box, ack) == said


async def test_an_ack_that_names_another_record_is_noticed(box: ScriptedBox) -> None:
    """The number alone could be right by luck."""
    witness = Witness("nowhere", 0, "postgresql://nowhere")
    assert await witness.compare(Book(box, {1}), box.box, Ack(box.store, 1, (), bytes(16))) == "another record 1"
