"""One question, one answer: what may be sent at all, and every way in which an answer can go wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packbox.core import exchange
from packbox.core.exchange import (
    Ending,
    NotHarmlessError,
    OutFrame,
    Reply,
    begin,
    begin_round,
    given_up,
    hear,
    hear_round,
    question,
    send_all,
)
from packbox.core.profile import READ_SERVICES, AnswerLayout, Poll, write_reason
from packbox.core.stamp import NS_PER_MS, NS_PER_S
from packbox.sim.mouth import iso_tp

CELLS = Poll("cells", 0x79B, 0x7BB, extended=False, request=b"\x21\x02", layouts=(AnswerLayout(()),))
ANSWER = b"\x61\x02" + bytes(range(100))


def told(frames: list[bytes], poll: Poll = CELLS, gap_ms: int = 2) -> tuple[Reply | None, int]:
    """What came of a question, and how many frames were sent after it."""
    asking, sent = begin(poll, 0), 0
    for k, frame in enumerate(frames, 1):
        turn = hear(asking, poll.rx_key, frame, k * gap_ms * NS_PER_MS)
        asking = turn.exchange
        sent += turn.send is not None
        if turn.reply is not None:
            return turn.reply, sent
    return None, sent


@given(data=st.binary(max_size=9))
def test_no_frame_can_be_made_that_does_more_than_read(data: bytes) -> None:
    """Whatever a profile or our own code got wrong, a customer's car is not written to."""
    try:
        frame = OutFrame(0x79B, extended=False, data=data)
    except NotHarmlessError:
        return
    assert frame.data == exchange.SEND_ALL.ljust(8, b"\0") or (
        frame.data[1] in READ_SERVICES and write_reason(frame.data[1 : 1 + frame.data[0]]) is None
    )


@pytest.mark.parametrize("length", [1, 2, 3, 7])
def test_every_other_service_is_refused_by_the_sender_itself(length: int) -> None:
    """Defence in depth: the loader has refused it already, and so has `Poll`."""
    for service in set(range(256)) - set(READ_SERVICES):
        with pytest.raises(NotHarmlessError, match="not one of those that only read"):
            OutFrame(0x79B, extended=False, data=bytes((length, service)).ljust(8, b"\0"))


@pytest.mark.parametrize(
    "data",
    [
        "0221010000000001",  # something behind the question
        "1008220102030405",  # the beginning of a long request
        "2122010203040506",  # its continuation
        "3001000000000000",  # flow control, but one frame at a time
        "3100000000000000",  # "wait"
        "3200000000000000",  # "overflow": breaks off somebody's transfer
        "0319010E00000000",  # 19, but not 02
        "023E800000000000",  # tester present that asks for no answer
        "022101",  # short
    ],
)
def test_what_is_nearly_a_question_is_refused(data: str) -> None:
    """One form of each thing is enough; every other is a mistake."""
    with pytest.raises(NotHarmlessError):
        OutFrame(0x79B, extended=False, data=bytes.fromhex(data))


@given(
    service=st.sampled_from(READ_SERVICES),
    rest=st.binary(min_size=1, max_size=2),
)
def test_every_poll_that_exists_can_be_asked(service: int, rest: bytes) -> None:
    """The two guards agree on what reads."""
    request = bytes((service,)) + rest
    if write_reason(request) is None:
        poll = Poll("p", 0x7E0, 0x7E8, extended=False, request=request, layouts=())
        assert question(poll).data[1 : 1 + len(request)] == request
    else:
        with pytest.raises(ValueError):
            Poll("p", 0x7E0, 0x7E8, extended=False, request=request, layouts=())


def test_a_long_answer_needs_one_flow_control() -> None:
    """96 cells come in fifteen frames; each frame that we send is one too many on a car's bus."""
    assert told(iso_tp(ANSWER)) == (Reply(Ending.ANSWERED, ANSWER), 1)
    assert told(iso_tp(b"\x61\x02\x01")) == (Reply(Ending.ANSWERED, b"\x61\x02\x01"), 0)


def test_flow_control_goes_to_the_unit_that_answers() -> None:
    """A question to everybody is answered by one; telling everybody to go on would be nonsense on the bus."""

    def unit(tx: int, rx: int, *, extended: bool) -> int:
        return send_all(Poll("vin", tx, rx, extended=extended, request=b"\x09\x02", layouts=())).can_id

    assert unit(0x7DF, 0x7EA, extended=False) == 0x7E2
    assert unit(0x18DB33F1, 0x18DAF1DB, extended=True) == 0x18DADBF1
    assert unit(0x79B, 0x7BB, extended=False) == 0x79B


def test_a_refusal_ends_the_question_and_says_why() -> None:
    """31: not known here. It is not asked again until the car has slept."""
    assert told([bytes.fromhex("037F2131AAAAAAAA")]) == (Reply(Ending.REFUSED, b"\x7f\x21\x31", 0x31), 0)


def test_wait_is_waited_for_but_not_for_ever() -> None:
    """7F xx 78: the answer follows within five seconds, however often it is said."""
    asking = begin(CELLS, 0)
    assert asking.deadline_ns == exchange.ANSWER_WITHIN_NS
    for _ in range(3):
        asking = hear(asking, CELLS.rx_key, bytes.fromhex("037F2178AAAAAAAA"), 10).exchange
        assert asking.deadline_ns == 5 * NS_PER_S
    turn = hear(asking, CELLS.rx_key, iso_tp(b"\x61\x02\x07")[0], 4 * NS_PER_S)
    assert turn.reply == Reply(Ending.ANSWERED, b"\x61\x02\x07")
    assert given_up(asking) == Reply(Ending.SILENT)


def test_frames_out_of_order_or_missing_break_the_answer() -> None:
    """Half of the cells at wrong places are worse than none."""
    frames = iso_tp(ANSWER)
    assert told([*frames[:3], *frames[4:]]) == (Reply(Ending.BROKEN), 1)
    reply, _ = told(frames[:5])
    assert reply is None  # and then the deadline passes:
    asking = begin(CELLS, 0)
    for frame in frames[:5]:
        asking = hear(asking, CELLS.rx_key, frame, 0).exchange
    assert given_up(asking) == Reply(Ending.BROKEN)


def test_no_answer_goes_on_for_ever() -> None:
    """A unit that sends one frame a second must not keep us on a bus that fell asleep."""
    asking, now_ns = begin(CELLS, 0), 0
    for frame in iso_tp(b"\x61\x02" + bytes(400)):
        turn = hear(asking, CELLS.rx_key, frame, now_ns)
        if turn.reply is not None:
            assert turn.reply.ending is Ending.BROKEN
            break
        asking = turn.exchange
        now_ns += NS_PER_S - NS_PER_MS
    assert now_ns <= exchange.OVER_WITHIN_NS + NS_PER_S


@pytest.mark.parametrize(
    ("key", "frame"),
    [
        (0x7BC, iso_tp(ANSWER)[0]),  # another unit
        (0x7BB, iso_tp(b"\x61\x04" + bytes(12))[0]),  # what another tester asked: no flow control from us
        (0x7BB, iso_tp(b"\x61\x01\x05")[0]),
        (0x7BB, bytes.fromhex("037F2231AAAAAAAA")),  # a refusal of another service
        (0x7BB, bytes.fromhex("037F21")),
        (0x7BB, iso_tp(ANSWER)[1]),  # a continuation of nothing
        (0x7BB, b""),
        (0x7BB, bytes(8)),
        (0x7BB, bytes.fromhex("3000000000000000")),
    ],
)
def test_what_belongs_to_somebody_else_changes_nothing(key: int, frame: bytes) -> None:
    """An ECU that answers for another, and a phone app beside us."""
    asking = begin(CELLS, 0)
    assert hear(asking, key, frame, 1) == exchange.Turn(asking)


@given(frames=st.lists(st.binary(max_size=8), max_size=40))
def test_any_frames_lead_to_a_reply_or_to_waiting(frames: list[bytes]) -> None:
    """Noise on a diagnostic id must not stop the box, nor make it send more than flow control."""
    reply, sent = told(frames)
    assert reply is None or reply.ending in Ending
    assert sent <= len(frames)


EVERYBODY = Poll(
    "vin", 0x7DF, 0x7E8, extended=False, request=b"\x09\x02", layouts=(AnswerLayout(()),), also=(0x7E9, 0x7EC)
)
VIN = b"\x49\x02\x01" + b"JN1ZE0123456"


def round_of(*heard: tuple[int, bytes]) -> tuple[Reply | None, list[int], exchange.Round]:
    """What came of a question to everybody, and to whom flow control was sent."""
    asking, flow = begin_round(EVERYBODY, 0), []
    for k, (key, frame) in enumerate(heard, 1):
        turn = hear_round(asking, key, frame, k * NS_PER_MS)
        asking = turn.round
        flow += [turn.send.can_id] if turn.send is not None else []
        if turn.reply is not None:
            return turn.reply, flow, asking
    return None, flow, asking


def test_any_unit_may_answer_what_everybody_was_asked() -> None:
    """An electric car has no engine control unit: its first address is often empty."""
    frames = [(0x7EC, frame) for frame in iso_tp(VIN)]
    reply, flow, asking = round_of(*frames)
    assert (reply, flow) == (None, [0x7E4])  # the others have a moment more
    assert asking.deadline_ns == (len(frames) * NS_PER_MS) + exchange.OTHERS_WITHIN_NS
    assert exchange.round_over(asking) == Reply(Ending.ANSWERED, VIN)


def test_answers_of_two_units_do_not_break_each_other() -> None:
    """Each has its own line and gets its own flow control."""
    frames = [(key, frame) for frame in iso_tp(VIN) for key in (0x7E8, 0x7E9)]
    reply, flow, asking = round_of(*frames)
    assert (reply, flow, list(asking.open)) == (None, [0x7E0, 0x7E1], [0x7EC])
    assert exchange.round_over(asking).data == VIN


def test_one_refusal_does_not_speak_for_the_others() -> None:
    """Nor does one that says it cannot end the waiting early."""
    refusal = bytes.fromhex("037F0912AAAAAAAA")
    reply, _, asking = round_of((0x7E8, refusal))
    assert (reply, asking.deadline_ns) == (None, exchange.ANSWER_WITHIN_NS)
    assert exchange.round_over(asking).ending is Ending.REFUSED
    reply, _, _ = round_of((0x7E8, refusal), (0x7E9, refusal), (0x7EC, refusal))
    assert reply is not None
    assert reply.ending is Ending.REFUSED


def test_an_answer_that_began_is_waited_for() -> None:
    """The slow one of two loses nothing because the other was quick."""
    first = iso_tp(VIN)[0]
    _, _, asking = round_of((0x7E9, first), (0x7E8, b"\x03\x49\x02\x01"))
    assert asking.deadline_ns == NS_PER_MS + exchange.CONTINUED_WITHIN_NS
    assert exchange.round_over(round_of((0x7E9, first))[2]).ending is Ending.BROKEN
    assert exchange.round_over(begin_round(EVERYBODY, 0)).ending is Ending.SILENT
