"""What an operator sends to a box: believed, refused, kept, tried out, taken back; and what no word of his can do."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from packbox.adapters import downlink_file, durable
from packbox.adapters.consent_file import Decision, write_decisions
from packbox.adapters.downlink_file import DOWNLINK_FILE, read_downlink
from packbox.app import desk as desk_module
from packbox.app.carry import LinkReport, new_report
from packbox.app.desk import Desk
from packbox.app.log_tail import LogTail
from packbox.core.outcome import Agreement, EventName
from packbox.core.record import BoxId, StoreId
from packbox.core.stamp import BootId, Stamp
from packbox.ports import Outbox
from packbox.settings import settings_of
from packbox.testing.memory_journal import MemoryJournal
from packwire import ids
from packwire.command import Command, CommandKind, encode_command
from packwire.config import Config, encode_config
from packwire.seal import digest

BOX = BoxId("11" * 8)
OPERATOR = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
NEXT = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
STRANGER = Ed25519PrivateKey.from_private_bytes(bytes(range(2, 34)))
NOW_MS = 1_800_000_000_000


def public(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes_raw()


def config(version: int, key: Ed25519PrivateKey = OPERATOR, box: str = BOX, **given: Any) -> bytes:
    return encode_config(Config(version=version, **given), ids.BoxId(box), key.sign, public(key))


def command(kind: CommandKind, number: int = 1, key: Ed25519PrivateKey = OPERATOR, **given: Any) -> bytes:
    given = {"expires_ms": NOW_MS + 1000, **given}
    whole = Command(id=number.to_bytes(8, "big"), command=kind, **given)
    return encode_command(whole, ids.BoxId(BOX), key.sign, public(key))


@dataclass
class FakeMind:
    """As much of a mind as a desk sees."""

    may_tell: bool = True
    outbox: Outbox = field(default_factory=lambda: Outbox(0, None, 0))
    pending: list[object] = field(default_factory=list)
    told: list[tuple[EventName, str]] = field(default_factory=list)
    logs: list[tuple[str, Sequence[str]]] = field(default_factory=list)
    agreements: list[Agreement] = field(default_factory=list)

    def tell(self, event: EventName, text: str) -> None:
        self.told.append((event, text))

    def show_log(self, name: str, lines: Sequence[str]) -> None:
        self.logs.append((name, lines))

    def agree(self, agreement: Agreement) -> None:
        self.agreements.append(agreement)


@dataclass
class FakeClock:
    wall_ms: int | None = NOW_MS

    def now(self) -> Stamp:
        return Stamp(BootId("ab" * 8), 0, self.wall_ms)


class EnoughError(Exception):
    """The desk looked as often as the test wants."""


class Asked:
    renewed = 0

    def renew(self) -> None:
        self.renewed += 1


class Box:
    """One box's data folder; each `run` is a start of it that serves the desk for a while."""

    def __init__(self, data_dir: Path, **settings: Any) -> None:
        given = {"operator_key": public(OPERATOR).hex(), "profile": "nissan-leaf", "broker": {"host": "old.example"}}
        self.own = settings_of({"data_dir": data_dir, **given, **settings})
        self.mind = FakeMind()
        self.clock = FakeClock()
        self.journal = MemoryJournal(BOX, StoreId("22" * 8), digest)
        self.link: LinkReport | None = new_report(StoreId("22" * 8))
        self.tail = LogTail()
        self.asking: Asked | None = None
        self.desk = self.started()

    def started(self, *, crashed: bool = False) -> Desk:
        self.desk = Desk(self.own, BOX, crashed=crashed)
        return self.desk

    async def run(self, *messages: tuple[str, bytes], looks: int = 3) -> Desk:
        """Starts anew as often as the desk asks for it, until nothing changes any more."""
        for leaf, payload in messages:
            self.desk.put(leaf, payload)
        for _ in range(5):
            if not await self._serve(looks):
                break
            self.started()
        return self.desk

    async def _serve(self, looks: int) -> bool:
        async def offload(work: Callable[[], Any], /) -> Any:
            return work()

        async def wait() -> None:
            nonlocal looks
            looks -= 1
            if looks < 0:
                raise EnoughError

        self.desk.asking = self.asking  # type: ignore[assignment]  # as much as a desk asks of it
        self.desk._wait = wait  # type: ignore[method-assign]  # a look at once instead of every 2 s
        try:
            await self.desk.serve(
                self.mind,  # type: ignore[arg-type]  # as much as a desk sees
                self.journal, self.link, offload, self.clock, self.tail, asyncio.Event(), lambda: None,
            )  # fmt: skip
        except EnoughError:
            return False
        return self.desk.again


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


async def test_a_configuration_of_the_operator_comes_into_force_and_is_told(box: Box) -> None:
    """Whole, at once, and reported back: the operator must know what his box does."""
    desk = await box.run(("c", config(7, battery="pack-9", heartbeat_every_s=900.0)))
    assert (desk.version, desk.settings.battery, desk.settings.heartbeat_every_s) == (7, "pack-9", 900.0)
    assert desk.settings.broker.host == "old.example"
    assert box.mind.told == [(EventName.CONFIG_APPLIED, "version 7: battery, heartbeat_every_s")]
    assert read_downlink(box.own.data_dir).unsaid == ()


async def test_it_is_still_in_force_after_a_restart(box: Box) -> None:
    """A box is switched off with every parked car."""
    await box.run(("c", config(7, battery="pack-9")))
    assert box.started().settings.battery == "pack-9"
    assert len(box.mind.told) == 1


REFUSED = {
    "older": (config(6), "version 6 is not above 7"),
    "the same number again": (config(7, battery="other"), "version 7 is not above 7"),
    "of a stranger": (config(8, STRANGER), "not signed by key"),
    "for another box": (config(8, box="33" * 8), "not signed by key"),
    "unsigned": (b"\xa1\x00\x08", "expected a COSE_Sign1"),
    "with a profile that is not here": (config(8, profile="no-such-car"), "no-such-car"),
    "rubbish": (b"\xff" * 40, "config: byte 0"),
    "a bomb": (bytes(5000), "at most 2048"),
}


@pytest.mark.parametrize("what", REFUSED)
async def test_a_bad_configuration_is_refused_told_and_changes_nothing(box: Box, what: str) -> None:
    """Whatever a broker brings, the box goes on as it was."""
    await box.run(("c", config(7, battery="pack-9")))
    bad, why = REFUSED[what]
    desk = await box.run(("c", bad), ("c", bad))
    assert (desk.version, desk.settings.battery) == (7, "pack-9")
    event, text = box.mind.told[-1]
    assert event is EventName.CONFIG_REFUSED
    assert why in text
    assert desk.trouble is not None
    assert why in desk.trouble
    assert len(box.mind.told) == 2


async def test_what_was_refused_once_is_not_told_at_every_start(box: Box) -> None:
    """It is retained at the broker and comes with each connection: a history is no place for echoes."""
    for _ in range(3):
        await box.run(("c", config(1, STRANGER)))
        box.started()
    assert len(box.mind.told) == 1


async def test_a_flood_of_bad_messages_fills_neither_history_nor_card(box: Box) -> None:
    """Whoever owns the broker can send for ever."""
    for n in range(desk_module.REFUSALS_TOLD_MAX * 3):
        await box.run(("c", config(n + 1, STRANGER)), looks=1)
    await box.run(looks=5)
    assert len(box.mind.told) <= desk_module.REFUSALS_TOLD_MAX
    assert len(read_downlink(box.own.data_dir).refused) <= desk_module.REFUSED_KEPT


async def test_without_an_operator_key_nobody_is_believed(tmp_path: Path) -> None:
    """A box from the shelf belongs to whoever sets it up."""
    box = Box(tmp_path, operator_key=None)
    desk = await box.run(("c", config(7, battery="pack-9")), ("x", command(CommandKind.RESEND, from_seq=1)))
    assert (desk.version, desk.settings.battery) == (0, None)
    assert [event for event, _ in box.mind.told] == [EventName.CONFIG_REFUSED, EventName.COMMAND_REFUSED]


async def test_a_key_that_is_set_later_makes_the_waiting_configuration_good(tmp_path: Path) -> None:
    """It was retained all the time."""
    await Box(tmp_path, operator_key=None).run(("c", config(7, battery="pack-9")))
    assert (await Box(tmp_path).run(("c", config(7, battery="pack-9")))).version == 7


async def test_the_operator_names_his_successor_and_then_only_he_counts(box: Box) -> None:
    """A key that was handed over must not open the door any more."""
    await box.run(("c", config(7, operator_key=public(NEXT))))
    assert (await box.run(("c", config(8, OPERATOR)))).version == 7
    assert (await box.run(("c", config(9, NEXT, battery="pack-9")))).version == 9
    assert box.started().settings.battery == "pack-9"


async def test_a_stranger_cannot_make_himself_the_successor(box: Box) -> None:
    """A rotation is only good when the old key signed it."""
    await box.run(("c", config(7, STRANGER, operator_key=public(STRANGER))))
    assert (await box.run(("c", config(8, STRANGER)))).version == 0


async def test_who_stands_at_the_box_has_the_last_word_about_the_operator(box: Box, tmp_path: Path) -> None:
    """An owner who takes the key away, or sets another, takes his box back."""
    await box.run(("c", config(7, battery="pack-9", operator_key=public(NEXT))))
    assert Box(tmp_path, operator_key=None).desk.version == 0
    other = Box(tmp_path, operator_key=public(STRANGER).hex())
    assert (await other.run(("c", config(8, NEXT)))).version != 8
    assert (await other.run(("c", config(9, STRANGER)))).version == 9


async def test_a_configuration_with_which_the_book_is_not_reached_is_taken_back(box: Box) -> None:
    """A wrong broker address must not lose a box for ever in a car on another continent."""
    await box.run(("c", config(7, broker_host="good.example")))
    assert box.link is not None
    box.link.acked_s = 1.0
    await box.run()
    box.link = new_report(StoreId("22" * 8))
    desk = await box.run(("c", config(8, broker_host="wrong.example", trial_h=1.0)))
    assert (desk.version, desk.settings.broker.host) == (8, "wrong.example")
    desk._state = desk_module.msgspec.structs.replace(desk._state, trial_left_s=0.0)
    desk = await box.run()
    assert (desk.version, desk.settings.broker.host) == (7, "good.example")
    assert box.mind.told[-1] == (EventName.CONFIG_UNDONE, "version 8: the book did not answer within its trial")
    assert (await box.run(("c", config(8, broker_host="wrong.example", trial_h=1.0)))).version == 7
    assert (await box.run(("c", config(9, broker_host="third.example")))).version == 9


async def test_one_answer_of_the_book_ends_the_trial(box: Box) -> None:
    """From then on a long time offline is only that."""
    await box.run(("c", config(7, broker_host="good.example")))
    assert box.link is not None
    box.link.acked_s = 1.0
    await box.run()
    state = read_downlink(box.own.data_dir)
    assert (state.on_trial, state.before) == (False, None)


async def test_a_configuration_that_makes_the_box_crash_is_taken_back(box: Box) -> None:
    """No trial time passes in a box that falls over at once."""
    await box.run(("c", config(7, battery="pack-9")))
    desk = box.started(crashed=True)
    assert (desk.version, desk.settings.battery) == (0, None)
    await box.run()
    assert box.mind.told[-1][0] is EventName.CONFIG_UNDONE


async def test_a_trial_gives_the_old_operator_back_his_box(box: Box) -> None:
    """A successor's key with a typing error would otherwise lock everybody out."""
    await box.run(("c", config(7, operator_key=public(STRANGER), trial_h=1.0)))
    box.started(crashed=True)
    assert (await box.run(("c", config(8, OPERATOR, battery="pack-9")))).version == 8


async def test_a_power_cut_half_way_leaves_the_old_one_or_the_new_one(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never a mixture, and never a box without configuration."""
    await box.run(("c", config(7, battery="pack-7")))

    def cut(path: Path, data: bytes, mode: int) -> None:
        path.with_name(path.name + ".new").write_bytes(data[: len(data) // 2])
        raise OSError(5, "power cut")

    monkeypatch.setattr(downlink_file, "write_atomically", cut)
    desk = await box.run(("c", config(8, battery="pack-8")))
    assert desk.version == 7
    assert desk.trouble is not None
    assert "version 8" in desk.trouble
    assert "cannot be written" in desk.trouble
    monkeypatch.setattr(downlink_file, "write_atomically", durable.write_atomically)
    assert box.started().settings.battery == "pack-7"
    assert (await box.run(("c", config(8, battery="pack-8")))).settings.battery == "pack-8"


@pytest.mark.parametrize("spoil", [lambda data: data[:-3], lambda data: b"", lambda data: b"\0" * len(data)])
async def test_a_spoilt_file_brings_the_own_settings_back_and_is_told(
    box: Box, spoil: Callable[[bytes], bytes]
) -> None:
    """A failing card is said, not suffered."""
    await box.run(("c", config(7, battery="pack-9")))
    file = box.own.data_dir / DOWNLINK_FILE
    file.write_bytes(spoil(file.read_bytes()))
    desk = box.started()
    assert (desk.version, desk.settings.battery) == (0, None)
    await box.run()
    assert box.mind.told[-1] == (EventName.CONFIG_UNDONE, "the file of what was sent cannot be read")


async def test_nothing_is_told_before_it_is_known_of_whom(box: Box) -> None:
    """The book knows our key only from the first hello on; until then it waits on disk."""
    box.mind.may_tell = False
    await box.run(("c", config(7)))
    assert box.mind.told == []
    box.mind.may_tell = True
    box.started()
    await box.run()
    assert [event for event, _ in box.mind.told] == [EventName.CONFIG_APPLIED]


# --- commands -------------------------------------------------------------------------------------------------------


async def test_records_are_sent_again_on_command_once(box: Box) -> None:
    """A book that lost its database asks for them; a broker that repeats itself must not cost the data plan."""
    asked: list[int] = []
    box.journal.take_back = lambda seq, upto, ranges: asked.append(seq) or 3  # type: ignore[method-assign,func-returns-value]
    again = command(CommandKind.RESEND, from_seq=17)
    await box.run(("x", again), ("x", again))
    box.started()
    await box.run(("x", again))
    assert asked == [17]
    assert box.mind.told == [
        (EventName.COMMAND_DONE, "0000000000000001 resend: 3 records from 17 on go again"),
    ]


async def test_an_expired_command_is_not_done(box: Box) -> None:
    """Nobody expects today what was asked for last year."""
    await box.run(("x", command(CommandKind.RESEND, from_seq=1, expires_ms=NOW_MS - 1)))
    assert box.mind.told == [(EventName.COMMAND_REFUSED, "0000000000000001 resend: expired")]


async def test_a_box_that_does_not_know_the_time_waits_until_it_does(box: Box) -> None:
    """Otherwise a command could be repeated years later on a box whose clock begins in 1970."""
    box.clock.wall_ms = None
    box.desk.put("x", command(CommandKind.RESEND, from_seq=1))
    await box._serve(2)
    assert box.mind.told == []
    box.clock.wall_ms = NOW_MS
    await box.run()
    assert [event for event, _ in box.mind.told] == [EventName.COMMAND_DONE]


async def test_a_command_of_a_stranger_is_refused_and_told(box: Box) -> None:
    """The broker's owner is not the box's operator."""
    await box.run(("x", command(CommandKind.RESEND, key=STRANGER, from_seq=1)))
    event, text = box.mind.told[0]
    assert (event, "not signed by key" in text) == (EventName.COMMAND_REFUSED, True)


async def test_the_log_leaves_only_with_consent_and_without_a_vin(box: Box) -> None:
    """Diagnostics is a purpose of its own."""
    logger = logging.getLogger("test.desk")
    logger.addHandler(box.tail)
    logger.warning("the unit answered %s", "JN1AZE0U123456789")
    logger.removeHandler(box.tail)
    await box.run(("x", command(CommandKind.LOG_SLICE, 1, lines=5)))
    assert box.mind.logs == []
    assert box.mind.told[-1][1].endswith("the owner has not agreed to diagnostics")
    write_decisions(
        box.own.data_dir, {"diagnostics": Decision(given=True, by="owner", at_ms=NOW_MS, text_version="2026-11")}
    )
    await box.run()
    await box.run(("x", command(CommandKind.LOG_SLICE, 2, lines=5)))
    (name, lines) = box.mind.logs[0]
    assert name == "0000000000000002"
    assert "the unit answered [struck out]" in lines[-1]


@pytest.mark.parametrize(
    ("polling", "decision", "asks"),
    [
        ("never", None, False),
        ("never", True, False),
        ("agreed", None, False),
        ("agreed", False, False),
        ("agreed", True, True),
    ],
)
async def test_inspect_needs_setting_and_the_owners_own_decision(
    tmp_path: Path, polling: str, decision: bool | None, asks: bool
) -> None:
    """An operator may not send a car a single frame that its owner did not allow."""
    if decision is not None:
        write_decisions(
            tmp_path, {"polling": Decision(given=decision, by="owner", at_ms=NOW_MS, text_version="2026-11")}
        )
    box = Box(tmp_path, polling=polling)
    box.asking = Asked()
    await box.run(("x", command(CommandKind.INSPECT)))
    assert box.asking.renewed == int(asks)
    assert box.mind.told[-1][0] is (EventName.COMMAND_DONE if asks else EventName.COMMAND_REFUSED)


async def test_a_withdrawn_consent_is_noticed_while_the_box_runs(tmp_path: Path) -> None:
    """The owner need not know how to restart a service."""
    box = Box(tmp_path, polling="agreed")
    assert box.desk.agreed.polling == "agreed"
    write_decisions(tmp_path, {"polling": Decision(given=False, by="owner", at_ms=NOW_MS, text_version="2026-11")})
    desk = await box.run()
    assert desk.agreed.polling == "never"
    assert box.mind.agreements[-1].purposes == ("history",)
