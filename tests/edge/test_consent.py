"""What the owner agrees to: decided at the box, told in its records, kept by never sealing what goes beyond it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from fold_day import Day, plan
from packbox.__main__ import main
from packbox.adapters.consent_file import CONSENT_FILE, Decision, write_decisions
from packbox.adapters.identity import FileKey
from packbox.app.agreement import agreed
from packbox.app.mind import Mind
from packbox.core.courtesy import Consent
from packbox.core.outcome import Agreement, BoxHealth
from packbox.core.record import BoxId, StoreId
from packbox.settings import Settings
from packbox.testing.memory_journal import MemoryJournal
from packwire.consent import Purpose, is_within, needed_for
from packwire.ids import box_id_of
from packwire.messages import Consent as ConsentMessage
from packwire.messages import EventKind, Kind, Message
from packwire.seal import digest, open_sealed

KEY = FileKey(bytes(range(32)))
BOX = BoxId(box_id_of(KEY.public_key))


def agreement(*purposes: str) -> Agreement:
    return Agreement(tuple(sorted(purposes)), "owner", "2026-11", 1_800_000_000_000)


def mind_of(journal: MemoryJournal) -> Mind:
    mind = Mind(journal, KEY)
    mind.open()
    mind.meet(plan(), None)
    mind.begin("log:1", BoxHealth)
    return mind


def journal_of() -> MemoryJournal:
    return MemoryJournal(BOX, StoreId("57" * 8), digest)


def told(journal: MemoryJournal) -> list[Message]:
    return [open_sealed(row.sealed, KEY.public_key).message for row in journal.rows]


def kinds(messages: Sequence[Message]) -> set[Kind]:
    return {message.KIND for message in messages}


def a_day() -> Day:
    return Day(soc=80, temp=56).drive(60).idle(2).sleep(3).charge(120, amps=14).idle(2)


def lived(journal: MemoryJournal, given: Agreement | None) -> list[Message]:
    mind = mind_of(journal)
    if given is not None:
        mind.agree(given)
    mind.fold([a_day().frames()])
    mind.finish()
    mind.commit()
    return told(journal)


def test_a_box_of_which_nobody_decided_keeps_its_owners_history() -> None:
    """It was installed for that; nothing is told of a decision that nobody made."""
    said = lived(journal_of(), None)
    assert {Kind.DRIVE, Kind.CHARGE, Kind.USAGE, Kind.SOH} <= kinds(said)
    assert Kind.CONSENT not in kinds(said)


def test_what_was_decided_is_told_before_anything_that_it_lets_through() -> None:
    """A stranger who reads the chain sees under which consent each record was made."""
    said = lived(journal_of(), agreement("history", "passport"))
    assert [message.KIND for message in said[:2]] == [Kind.HELLO, Kind.CONSENT]
    assert said[1] == ConsentMessage(
        purposes=("history", "passport"), by="owner", text_version="2026-11", decided_ms=1_800_000_000_000
    )


def test_without_history_no_drive_and_no_charge_is_ever_sealed() -> None:
    """What does not exist cannot leak."""
    said = lived(journal_of(), agreement("passport"))
    assert not kinds(said) & {Kind.DRIVE, Kind.CHARGE, Kind.REST}
    assert {Kind.USAGE, Kind.SOH} <= kinds(said)


def test_without_any_purpose_the_box_tells_only_of_itself() -> None:
    """A box that fell silent altogether would look stolen."""
    said = lived(journal_of(), agreement())
    assert kinds(said) == {Kind.HELLO, Kind.CONSENT, Kind.HEALTH}


def test_a_restart_does_not_tell_the_same_decision_again_but_a_new_store_does() -> None:
    """Each chain must stand for itself, and none needs it twice."""
    journal = journal_of()
    lived(journal, agreement("history"))
    again = mind_of(journal)
    again.agree(agreement("history"))
    again.commit()
    assert [message.KIND for message in told(journal)].count(Kind.CONSENT) == 1
    again.agree(agreement("passport"))
    again.commit()
    assert told(journal)[-1] == ConsentMessage(
        purposes=("passport",), by="owner", text_version="2026-11", decided_ms=1_800_000_000_000
    )
    assert Kind.CONSENT in kinds(lived(journal_of(), agreement("history")))


def test_the_chain_has_no_hole_where_something_was_not_agreed_to() -> None:
    """Otherwise the book would wait for ever for records that never were."""
    journal = journal_of()
    lived(journal, agreement())
    assert [row.seq for row in journal.rows] == list(range(1, len(journal.rows) + 1))


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_has_a_rule(kind: Kind) -> None:
    """A kind that is added later is at least bound to the battery's purposes."""
    needed = needed_for(kind, EventKind.CELL_LOW)
    assert needed or kind in (Kind.HELLO, Kind.HEALTH, Kind.CONSENT)
    assert all(is_within({purpose}, kind, EventKind.CELL_LOW) for purpose in needed)
    assert is_within(set(), kind, EventKind.CELL_LOW) is (not needed)


# --- at the box -----------------------------------------------------------------------------------------------------


def decide(data_dir: Path, **decisions: bool) -> None:
    write_decisions(
        data_dir, {p: Decision(given=g, by="owner", at_ms=5, text_version="2026-11") for p, g in decisions.items()}
    )


@pytest.mark.parametrize(
    ("setting", "decision", "asks"),
    [("never", True, "never"), ("standing", True, "standing"), ("agreed", False, "never"), ("agreed", None, "agreed")],
)
def test_a_decision_never_makes_a_box_ask_more_than_it_is_set_to(
    tmp_path: Path, setting: str, decision: bool | None, asks: str
) -> None:
    """Both must agree: who installed the box, and who owns the car."""
    if decision is not None:
        decide(tmp_path, polling=decision)
    assert agreed(Settings(data_dir=tmp_path, polling=Consent(setting))).polling == asks


@pytest.mark.parametrize("bad", [b"", b"{", b'{"format": 9, "decisions": {}}', b'{"format": 1}', b"\xff\xfe"])
def test_a_spoilt_file_of_decisions_agrees_to_nothing(tmp_path: Path, bad: bytes) -> None:
    """A withdrawn consent must not come back with a bad sector."""
    (tmp_path / CONSENT_FILE).write_bytes(bad)
    found = agreed(Settings(data_dir=tmp_path, polling=Consent.AGREED))
    assert (found.polling, found.decided_polling, found.diagnostics) == (Consent.NEVER, False, False)
    assert found.agreement is not None
    assert found.agreement.purposes == ()
    assert found.trouble is not None
    assert CONSENT_FILE in found.trouble


def consent(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    try:
        code = main(["consent", *words])
    except SystemExit as leaving:
        code = int(str(leaving.code))
    said = capsys.readouterr()
    return code, said.out, said.err


def test_give_and_withdraw_are_kept_and_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An owner must be able to see what he agreed to, and to change his mind as easily."""
    here = ("--data-dir", str(tmp_path))
    assert consent(capsys, "give", "passport", "--by", "keeper", *here)[0] == 0
    assert consent(capsys, "withdraw", "history", *here)[0] == 0
    code, out, _ = consent(capsys, "show", "--json", *here)
    found = json.loads(out)
    assert code == 0
    assert {name: one["in_force"] for name, one in found.items()} == {
        "history": False, "passport": True, "polling": False, "diagnostics": False,
    }  # fmt: skip
    assert (found["passport"]["by"], found["passport"]["text_version"]) == ("keeper", "2026-11")


def test_show_explains_every_purpose_in_both_languages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody can agree to what he cannot read."""
    _, out, _ = consent(capsys, "show", "--data-dir", str(tmp_path))
    assert all(purpose in out for purpose in Purpose)
    assert "第三者" in out


@pytest.mark.parametrize(
    "words", [["give"], ["show", "history"], ["give", "everything"], ["give", "history", "--by", "Taro"]]
)
def test_wrong_words_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    """Exit 2: wrong usage. A name is no role."""
    code, _, err = consent(capsys, *words, "--data-dir", str(tmp_path))
    assert code == 2
    assert err


def test_a_decision_that_cannot_be_put_on_disk_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An owner who withdraws must not believe that he did."""
    code, _, err = consent(capsys, "withdraw", "history", "--data-dir", str(tmp_path / "nowhere"))
    assert code == 1
    assert "cannot be written" in err
