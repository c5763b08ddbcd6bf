"""Asking on SocketCAN. Kernels without AF_CAN run these too: pairs of Unix sockets stand for the kernel's."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest

from can_fakes import can_frame
from packbox.adapters.isotp import FrameTester, ManyTester
from packbox.adapters.isotp_socketcan import KernelTester, SocketCanLink
from packbox.core.exchange import Ending, Reply
from packbox.core.profile import EXTENDED_BIT, Poll
from packbox.ports import BusBusyError, BusDownError
from packbox.sim.mouth import iso_tp

CELLS = Poll("cells", 0x79B, 0x7BB, extended=False, request=b"\x21\x02", layouts=())
VIN = Poll("vin", 0x18DB33F1, 0x18DAF1DB, extended=True, request=b"\x09\x02", layouts=())
EXTENDED_FLAG = 0x80000000


class Wire:
    """The far end of the socket that is opened next."""

    def __init__(self) -> None:
        self.fails: int | None = None
        self.opened: list[int] = []
        self._ends: list[socket.socket] = []
        self._open = asyncio.Event()

    def open(self, key: int) -> socket.socket:
        if self.fails is not None:
            raise OSError(self.fails, "failing")
        self.opened.append(key)
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        near.settimeout(0)
        far.settimeout(0)
        self._ends.append(far)
        self._open.set()
        return near

    async def read(self) -> bytes:
        async with asyncio.timeout(5):
            await self._open.wait()
            return await asyncio.get_running_loop().sock_recv(self._ends[-1], 5000)

    def say(self, *datagrams: bytes) -> None:
        for datagram in datagrams:
            self._ends[-1].send(datagram)

    def close(self) -> None:
        for end in self._ends:
            end.close()


@pytest.fixture
def wire() -> Iterator[Wire]:
    made = Wire()
    yield made
    made.close()


def by_frames(wire: Wire) -> FrameTester:
    return FrameTester(SocketCanLink("can0", lambda _name, keys: wire.open(*keys)))


def by_kernel(wire: Wire) -> KernelTester:
    return KernelTester("can0", by_frames(wire), lambda _name, poll: wire.open(poll.rx_key))


async def test_a_question_by_plain_frames(wire: Wire) -> None:
    """For kernels without can_isotp: the same bytes on the bus."""
    tester = by_frames(wire)
    asked = asyncio.create_task(tester.ask(CELLS))
    assert await wire.read() == can_frame(0x79B, bytes.fromhex("0221020000000000"))
    answer = b"\x61\x02" + bytes(40)
    first, *rest = iso_tp(answer)
    wire.say(can_frame(0x7BB, first))
    assert await wire.read() == can_frame(0x79B, bytes.fromhex("3000000000000000"))
    wire.say(*(can_frame(0x7BB, frame) for frame in rest))
    assert await asked == Reply(Ending.ANSWERED, answer)
    assert (wire.opened, tester.frames_sent) == ([0x7BB], 2)


async def test_long_ids_keep_their_mark(wire: Wire) -> None:
    """Without it the kernel would send an 11-bit frame to some other unit."""
    tester = by_frames(wire)
    asked = asyncio.create_task(tester.ask(VIN))
    assert await wire.read() == can_frame(0x18DB33F1 | EXTENDED_FLAG, bytes.fromhex("0209020000000000"))
    wire.say(can_frame(0x18DAF1DB | EXTENDED_FLAG, bytes.fromhex("037F0911AAAAAAAA")))
    assert await asked == Reply(Ending.REFUSED, b"\x7f\x09\x11", 0x11)
    assert wire.opened == [0x18DAF1DB | EXTENDED_BIT]


async def test_a_question_by_the_kernel(wire: Wire) -> None:
    """The kernel splits and joins; its flow control is counted too. What others asked for is passed over."""
    tester = by_kernel(wire)
    asked = asyncio.create_task(tester.ask(CELLS))
    assert await wire.read() == b"\x21\x02"
    answer = b"\x61\x02" + bytes(190)
    wire.say(b"\x7f\x21\x78", b"\x61\x04\x01", answer)
    assert await asked == Reply(Ending.ANSWERED, answer)
    assert tester.frames_sent == 2


async def test_a_question_to_everybody_never_goes_by_the_kernel(wire: Wire) -> None:
    """It would send flow control to everybody."""
    tester = by_kernel(wire)
    asked = asyncio.create_task(tester.ask(VIN))
    assert len(await wire.read()) == 16
    wire.say(can_frame(0x18DAF1DB | EXTENDED_FLAG, bytes.fromhex("037F0911AAAAAAAA")))
    assert (await asked).ending is Ending.REFUSED
    assert tester.frames_sent == 1


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENETDOWN, BusDownError),
        (errno.ENODEV, BusDownError),
        (errno.ENOBUFS, BusBusyError),
        (errno.ECOMM, BusBusyError),
    ],
)
async def test_trouble_is_told_apart(wire: Wire, number: int, kind: type[Exception]) -> None:
    """No bus is waited for; a full queue is a reason to slow down."""
    wire.fails = number
    for tester in (by_frames(wire), by_kernel(wire)):
        with pytest.raises(kind, match="can0: "):
            await tester.ask(CELLS)
        assert tester.frames_sent == 0


class Refusing(socket.socket):
    """A socket whose next reading fails as the kernel's ISO-TP says it."""

    number = errno.EILSEQ

    def recv(self, *_args: object) -> bytes:
        raise OSError(self.number, os.strerror(self.number))


@pytest.mark.parametrize("number", [errno.EILSEQ, errno.ETIMEDOUT, errno.EMSGSIZE])
async def test_an_answer_that_breaks_off_in_the_kernel_is_a_reply(wire: Wire, number: int) -> None:
    """Frames were missing, or the rest never came, which is not silence. Its flow control was sent all the same."""

    def opened(_name: str, _poll: Poll) -> socket.socket:
        near = Refusing(fileno=wire.open(0).detach())
        near.number = number
        return near

    tester = KernelTester("can0", by_frames(wire), opened)
    assert await tester.ask(CELLS) == Reply(Ending.BROKEN)
    assert tester.frames_sent == 2


@pytest.mark.looptime
async def test_silence_in_the_kernel_is_a_reply(wire: Wire) -> None:
    """A unit that is not fitted."""
    assert await by_kernel(wire).ask(CELLS) == Reply(Ending.SILENT)


class Counted:
    """A tester that only says where it was."""

    def __init__(self) -> None:
        self.frames_sent = 0

    async def ask(self, poll: Poll) -> Reply:
        del poll
        self.frames_sent += 1
        return Reply(Ending.ANSWERED)


async def test_each_question_goes_to_its_own_bus() -> None:
    """The same ids mean other units on another bus; a bus without interface is not asked elsewhere."""
    first, second = Counted(), Counted()
    many = ManyTester([first, second])
    replies = [(await many.ask(replace(CELLS, bus=bus))).ending for bus in (None, 0, 1, 2)]
    assert replies == [Ending.ANSWERED, Ending.ANSWERED, Ending.ANSWERED, Ending.SILENT]
    assert (first.frames_sent, second.frames_sent, many.frames_sent) == (2, 1, 3)
