"""One question to a control unit and its answer (ISO 15765-2), without time or IO of its own.

In:  a `Poll`, then the frames heard on its answering id.
Out: `OutFrame`s to send (the question, one flow control), and a `Reply` when it is over.
Refuses: to make any frame that is neither a question that only reads nor "send it all". `OutFrame` is the only thing a
sender takes, and it checks its bytes again, whatever profile or code asked for it.

Only whole questions of one frame are ever sent, so we need no more of ISO-TP than receiving; the putting together is
that of `core.isotp`, which also reads the answers that others asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from packbox.core.isotp import FIRST_FRAME_BYTES, RESPONSE_PENDING, Line, hear_answer
from packbox.core.profile import FUNCTIONAL_KEYS, NEGATIVE_ANSWER, Poll, message_key, write_reason
from packbox.core.stamp import NS_PER_S

FRAME_BYTES: Final = 8  # several makers ignore shorter requests; padding to eight works everywhere (vehicles.md §1)
PADDING: Final = b"\x00"
SEND_ALL: Final = bytes((0x30, 0x00, 0x00))  # flow control: all frames, no gap; works for every family (vehicles.md §1)

ANSWER_WITHIN_NS: Final = NS_PER_S  # ISO 14229-2 gives 50 ms; gateways and busy units take longer
PENDING_WITHIN_NS: Final = 5 * NS_PER_S  # after 7F xx 78 (vehicles.md §1), counted from the question
CONTINUED_WITHIN_NS: Final = NS_PER_S  # ISO 15765-2, N_Cr
OTHERS_WITHIN_NS: Final = NS_PER_S // 10  # ISO 15765-4: every unit begins its answer within 50 ms
# A question is over by then in any case: asked within 2 s of the last traffic, nothing is sent 10 s after it.
OVER_WITHIN_NS: Final = 8 * NS_PER_S

# Functional requests go to everybody; flow control belongs to the one that answers (ISO 15765-4).
OBD_ANSWER_ABOVE: Final = 8  # 7E8 answers what 7E0 is asked
OBD_TO_ONE_29: Final = 0x18DA00F1  # with the unit's address in the third byte; it answers with the two exchanged


class NotHarmlessError(ValueError):
    """Somebody tried to make a frame that might change something in a car. Nothing was sent."""


class Ending(StrEnum):
    ANSWERED = "answered"
    REFUSED = "refused"  # 7F
    SILENT = "silent"  # nobody answered in time
    BROKEN = "broken"  # it began and did not end well


@dataclass(frozen=True, slots=True)
class OutFrame:
    """A frame that may go onto a car's bus. Raises NotHarmlessError for any other."""

    can_id: int
    extended: bool
    data: bytes

    def __post_init__(self) -> None:
        reason = harm_reason(self.data)
        if reason is not None:
            raise NotHarmlessError(f"frame {self.can_id:X} {self.data.hex(' ').upper()}: {reason}")

    @property
    def key(self) -> int:
        return message_key(self.can_id, self.extended)


@dataclass(frozen=True, slots=True)
class Reply:
    ending: Ending
    data: bytes = b""  # the whole answer, service byte first
    code: int | None = None  # why it was refused


@dataclass(frozen=True, slots=True)
class Exchange:
    """A question under way. Times are of any clock that only rises."""

    poll: Poll
    asked_ns: int
    deadline_ns: int
    line: Line


@dataclass(frozen=True, slots=True)
class Turn:
    exchange: Exchange
    send: OutFrame | None = None
    reply: Reply | None = None


@dataclass(frozen=True, slots=True)
class Round:
    """One question to everybody, and each unit that may answer it. Of a question to one unit there is one exchange."""

    open: Mapping[int, Exchange]  # by answering key, those that are not over
    best: Reply | None = None  # of those that are
    others_until_ns: int | None = None  # who has not begun by then stays silent

    @property
    def deadline_ns(self) -> int:
        if self.others_until_ns is None:
            return max(one.deadline_ns for one in self.open.values())
        begun = [one.deadline_ns for one in self.open.values() if one.line.expected]
        return max([self.others_until_ns, *begun])


@dataclass(frozen=True, slots=True)
class RoundTurn:
    round: Round
    send: OutFrame | None = None
    reply: Reply | None = None  # the whole question is over


def harm_reason(data: bytes) -> str | None:
    """Why a frame with these bytes must never be sent, or None for a reading question and for flow control."""
    if len(data) != FRAME_BYTES:
        return f"{len(data)} bytes, not {FRAME_BYTES}"
    if data == _padded(SEND_ALL):
        return None
    length = data[0]
    if not 1 <= length < FRAME_BYTES:
        return "neither a question of one frame nor flow control"
    if data != _padded(data[: 1 + length]):
        return "bytes behind its end"
    return write_reason(data[1 : 1 + length])


def question(poll: Poll) -> OutFrame:
    return OutFrame(poll.tx, poll.extended, _padded(bytes((len(poll.request),)) + poll.request))


def send_all(poll: Poll) -> OutFrame:
    """Flow control to the unit that answers this poll."""
    return OutFrame(_unit(poll), poll.extended, _padded(SEND_ALL))


def begin(poll: Poll, now_ns: int) -> Exchange:
    """The question is sent now."""
    return Exchange(poll, now_ns, now_ns + ANSWER_WITHIN_NS, Line(poll.request))


def hear(exchange: Exchange, key: int, frame: bytes, now_ns: int) -> Turn:
    """A frame was heard. What belongs to another unit, another question or another tester changes nothing."""
    poll = exchange.poll
    if key != poll.rx_key or not frame:
        return Turn(exchange)
    if now_ns >= exchange.deadline_ns:
        return Turn(exchange, reply=given_up(exchange))
    begins = frame[0] >> 4 == 1
    if begins and not frame[2:FRAME_BYTES].startswith(poll.head[:FIRST_FRAME_BYTES]):
        return Turn(exchange)
    heard = hear_answer(exchange.line, frame, now_ns)
    if heard.answer is not None:
        ours = heard.answer.data.startswith(poll.head)
        return Turn(exchange, reply=Reply(Ending.ANSWERED, heard.answer.data)) if ours else Turn(exchange)
    if frame[0] >> 4 == 0 and frame[1:2] == bytes((NEGATIVE_ANSWER,)):
        return _negative(exchange, frame)
    if heard.broken:
        # Stray continuation frames before anything of ours began are somebody else's.
        return Turn(exchange, reply=Reply(Ending.BROKEN)) if exchange.line.expected or begins else Turn(exchange)
    if not heard.line.expected:
        return Turn(exchange)
    going_on = replace(exchange, line=heard.line, deadline_ns=_until(exchange, now_ns + CONTINUED_WITHIN_NS))
    return Turn(going_on, send=send_all(poll) if begins else None)


def given_up(exchange: Exchange) -> Reply:
    """The deadline has passed."""
    return Reply(Ending.BROKEN if exchange.line.expected else Ending.SILENT)


def begin_round(poll: Poll, now_ns: int) -> Round:
    """The question is sent now; each unit that may answer has its own line."""
    units = (replace(poll, rx=rx, also=()) for rx in (poll.rx, *poll.also))
    return Round({unit.rx_key: begin(unit, now_ns) for unit in units})


def hear_round(asking: Round, key: int, frame: bytes, now_ns: int) -> RoundTurn:
    """A frame was heard. One refusal does not speak for the others, and one answer leaves them a moment to finish."""
    if key not in asking.open:
        return RoundTurn(asking)
    turn = hear(asking.open[key], key, frame, now_ns)
    if turn.reply is None:
        return RoundTurn(replace(asking, open={**asking.open, key: turn.exchange}), turn.send)
    rest = {k: one for k, one in asking.open.items() if k != key}
    best = turn.reply if asking.best is None or turn.reply.ending is Ending.ANSWERED else asking.best
    if not rest:
        return RoundTurn(Round(rest, best), reply=best)
    until_ns = asking.others_until_ns
    if until_ns is None and turn.reply.ending is Ending.ANSWERED:
        until_ns = now_ns + OTHERS_WITHIN_NS
    return RoundTurn(Round(rest, best, until_ns))


def round_over(asking: Round) -> Reply:
    """The deadline has passed: the best that anybody said."""
    if asking.best is not None and asking.best.ending is Ending.ANSWERED:
        return asking.best
    broken = [given_up(one) for one in asking.open.values() if one.line.expected]
    return asking.best or next(iter(broken), Reply(Ending.SILENT))


def _negative(exchange: Exchange, frame: bytes) -> Turn:
    if frame[0] < 3 or len(frame) < 4 or frame[2] != exchange.poll.request[0]:
        return Turn(exchange)
    if frame[3] == RESPONSE_PENDING:
        return Turn(replace(exchange, deadline_ns=exchange.asked_ns + PENDING_WITHIN_NS))
    return Turn(exchange, reply=Reply(Ending.REFUSED, bytes(frame[1:4]), frame[3]))


def _until(exchange: Exchange, deadline_ns: int) -> int:
    return min(deadline_ns, exchange.asked_ns + OVER_WITHIN_NS)


def _unit(poll: Poll) -> int:
    if poll.tx_key not in FUNCTIONAL_KEYS:
        return poll.tx
    return OBD_TO_ONE_29 | (poll.rx & 0xFF) << 8 if poll.extended else poll.rx - OBD_ANSWER_ABOVE


def _padded(data: bytes) -> bytes:
    return data.ljust(FRAME_BYTES, PADDING)
