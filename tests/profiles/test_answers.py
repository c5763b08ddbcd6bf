"""Diagnostic answers: any bytes can be read, and text and trouble codes come out as people write them."""

from __future__ import annotations

import contextlib
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from can_frames import iso_tp
from packbox.adapters.profile_dir import Catalogue
from packbox.core.answers import Window, read, text, trouble_code
from packbox.core.isotp import Heard, Line, hear_answer, hear_request, window_of
from packbox.core.profile import (
    AnswerField,
    AnswerLayout,
    AnswerRows,
    Poll,
    Profile,
    RawMatch,
    RowDigest,
    write_reason,
)
from packbox.core.readings import Reader, UnreadableError


@pytest.fixture(scope="module")
def families(catalogue: Catalogue) -> list[Profile]:
    return [catalogue.profile(profile_id) for profile_id in catalogue.ids]


def listen(frames: list[bytes], gap_ms: int = 5) -> tuple[list[bytes], int, int]:
    """(answers, broken, negative) of frames on one id."""
    line, heard = Line(), Heard(Line())
    answers, broken, negative = [], 0, 0
    for k, frame in enumerate(frames):
        heard = hear_answer(line, frame, k * gap_ms * 1_000_000)
        line = heard.line
        broken, negative = broken + heard.broken, negative + heard.negative
        answers += [] if heard.answer is None else [heard.answer.data]
    return answers, broken, negative


@given(
    answer=st.binary(min_size=1, max_size=600).filter(lambda a: a[0] != 0x7F), padding=st.sampled_from([0, 0xAA, 0xFF])
)
def test_an_answer_is_put_together_whatever_its_length_and_padding(answer: bytes, padding: int) -> None:
    """Cut by the announced length, never by the padding: 00, 55, AA and FF are all in use."""
    assert listen(iso_tp(answer, padding)) == ([answer], 0, 0)


@given(frames=st.lists(st.binary(max_size=8), max_size=30))
def test_any_frames_on_an_answer_id_are_survived(frames: list[bytes]) -> None:
    """Noise on a diagnostic id is counted, never raised."""
    _, broken, negative = listen(frames)
    assert 0 <= broken + negative <= 2 * len(frames)


def test_frames_out_of_order_end_the_answer_and_are_counted_once() -> None:
    """What follows a hole would land at wrong offsets."""
    frames = iso_tp(bytes(range(0x61, 0x61 + 40)))
    assert listen([frames[0], frames[2], frames[3], *frames]) == ([bytes(range(0x61, 0x61 + 40))], 1, 0)


def test_an_answer_that_stops_and_goes_on_much_later_is_broken() -> None:
    """ISO 15765-2 gives the sender one second; later frames belong to something else."""
    assert listen(iso_tp(bytes(range(0x61, 0x61 + 20))), gap_ms=3_000) == ([], 1, 0)


def test_a_new_answer_before_the_end_of_the_old_gives_the_old_up() -> None:
    """Two testers on one id."""
    first, second = iso_tp(b"\x61\x02" + bytes(30)), iso_tp(b"\x61\x04" + bytes(12))
    assert listen([*first[:2], *second]) == ([b"\x61\x04" + bytes(12)], 1, 0)


def test_waiting_is_no_refusal() -> None:
    """7F xx 78 says that the answer follows."""
    assert listen([bytes.fromhex("037F2278"), bytes.fromhex("037F2231")]) == ([], 0, 1)


def test_the_request_is_kept_as_context_and_flow_control_is_not_one() -> None:
    """The answer of 19 02 does not repeat the mask that was asked for."""
    asked = hear_request(Line(), bytes.fromhex("0319020E00000000"))
    assert hear_request(asked, bytes.fromhex("3000000000000000")).request == bytes.fromhex("19020E")


def polls(catalogue_profiles: list[Profile]) -> list[Poll]:
    return [poll for profile in catalogue_profiles for poll in profile.polls]


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=300), offset=st.integers(0, 40))
def test_random_bytes_into_every_poll_never_raise(families: list[Profile], data: bytes, offset: int) -> None:
    """Software updates change answers over night; a box in a car must not stop for it."""
    for poll in polls(families):
        for layout in poll.layouts:
            names = [r.name for r in read(layout, Window(offset, data))]
            assert len(names) == len(set(names))


@pytest.fixture(scope="module")
def readers(families: list[Profile]) -> list[tuple[Reader, Profile]]:
    return [(Reader(profile), profile) for profile in families if profile.polls]


@settings(max_examples=1000, deadline=None)
@given(pick=st.randoms(use_true_random=False), data=st.binary(max_size=60), frame=st.binary(max_size=8))
def test_random_single_answers_give_readings_or_a_reason(
    readers: list[tuple[Reader, Profile]], pick: Random, data: bytes, frame: bytes
) -> None:
    """The door of `packbox decode` raises one exception only."""
    reader, profile = pick.choice(readers)
    poll = pick.choice(profile.polls)
    for content in (data, poll.head + data):
        with contextlib.suppress(UnreadableError):
            reader.answer(poll.tx, poll.rx, poll.request, content, poll.extended)
    with contextlib.suppress(UnreadableError):
        reader.frame(poll.rx, frame, poll.extended)


def test_a_sum_over_some_of_the_cells_is_no_sum(leaf: Profile) -> None:
    """One unmeasured cell would make the pack look three volts low."""
    poll = next(p for p in leaf.polls if p.id == "lbc-cells")
    cells = (3_700).to_bytes(2, "big") * 95 + b"\xff\xff"
    got = {r.name: r.value for r in read(poll.layouts[0], Window(0, cells))}
    assert got["cell_count"] == 95
    assert got["cell_voltage_sum"] is None
    assert got["cell_voltage_min"] == pytest.approx(3.7)
    assert got["cell_voltage_96"] is None


def test_text_is_freed_of_what_pads_it() -> None:
    """Japanese chassis numbers are shorter than a VIN's 17 characters."""
    assert text(b"ZE0-012345\x1b\x1b\x1b   ") == "ZE0-012345"
    assert text(b"\xff\xff\xff") is None
    assert text(b"AB\x07CD") is None


def test_trouble_codes_are_written_as_a_workshop_writes_them() -> None:
    """Top two bits of the first byte: P, C, B, U."""
    assert [trouble_code(bytes.fromhex(h)) for h in ("D000004E", "33D7004E", "4123002F", "9A01112F")] == [
        "U1000",
        "P33D7",
        "C0123",
        "B1A01-11",
    ]


def test_a_continuation_frame_alone_knows_its_place() -> None:
    """Old recordings kept single frames of an answer."""
    assert window_of(bytes.fromhex("240F0F01C4010FA6")) == (27, bytes.fromhex("0F0F01C4010FA6"), None)
    assert window_of(bytes.fromhex("3000000000000000")) is None


@given(request=st.binary(max_size=12))
def test_only_requests_that_read_can_be_polls(request: bytes) -> None:
    """No profile, whoever wrote it, can make a box change anything in a car."""
    allowed = (
        (len(request) == 2 and request[0] in (0x01, 0x09, 0x21))
        or (len(request) == 3 and request[0] == 0x22)
        or (len(request) == 3 and request[:2] == b"\x19\x02")
        or request == b"\x3e\x00"
    )
    assert (write_reason(request) is None) == allowed
    if not allowed:
        with pytest.raises(ValueError):
            Poll("x", 0x79B, 0x7BB, extended=False, request=request, layouts=())


@pytest.mark.parametrize("service", [s for s in range(256) if s not in (0x01, 0x09, 0x19, 0x21, 0x22, 0x3E)])
def test_no_other_service_is_ever_allowed(service: int) -> None:
    """2E writes, 31 runs routines, 11 resets, 14 clears, 27 opens, 10 changes the session: none of them."""
    assert write_reason(bytes([service, 0x01])) is not None
    assert write_reason(bytes([service, 0x01, 0x02])) is not None


# -- what a layout can say ---------------------------------------------------------------------------------------------


def read_values(layout: AnswerLayout, data: bytes) -> dict[str, object]:
    return {r.name: r.value for r in read(layout, Window(0, data))}


def test_fields_and_rows_can_depend_on_a_mark_in_the_answer() -> None:
    """Two generations answer the same question with the same length."""
    mark = RawMatch(0, "u16", (0xFB74, 0xFB75))
    layout = AnswerLayout(
        (),
        (AnswerField("soh", "%", "u8", 2), AnswerField("energy", "kWh", "u8", 3, when=mark)),
        (AnswerRows("temp_{n}", "degC", "s8", 4, 1, 2, when=mark, number_from=6),),
    )
    assert read_values(layout, bytes.fromhex("FB7464 0A 15FF")) == {
        "soh": 100,
        "energy": 10,
        "temp_6": 21,
        "temp_7": -1,
    }
    assert read_values(layout, bytes.fromhex("003F64 0A 15FF")) == {"soh": 100}
    assert read_values(layout, b"\xfb") == {}


def test_an_answer_says_nothing_while_all_its_marks_of_sleep_hold() -> None:
    """A BMS that sleeps sends zeros, but its counters are good; one zero alone is an ordinary value."""
    layout = AnswerLayout(
        (),
        (AnswerField("soc", "%", "u8", 0), AnswerField("cell", "V", "u8", 1), AnswerField("count", "", "u8", 2)),
        (AnswerRows("temp_{n}", "degC", "u8", 3, 1, 1, digests=(RowDigest("max", "temp_max", "degC"),)),),
        void_when=(RawMatch(0, "u8", (0,)), RawMatch(1, "u8", (0,))),
        void_keeps=("count",),
    )
    asleep = {"soc": None, "cell": None, "count": 7, "temp_1": None, "temp_max": None}
    assert read_values(layout, bytes((0, 0, 7, 0))) == asleep
    assert read_values(layout, bytes((0, 180, 7, 20))) == {
        "soc": 0,
        "cell": 180,
        "count": 7,
        "temp_1": 20,
        "temp_max": 20,
    }


def test_a_bit_mask_says_which_rows_are_there() -> None:
    """A pack of 10 cells answers with room for 16; what fills the room is no cell."""
    digests = tuple(RowDigest(what, what, "") for what in ("count", "min", "max", "first", "last"))
    rows = AnswerRows("cell_{n}", "V", "u8", 2, 1, 16, mask_at=0, number_from=33, digests=digests)
    values = read_values(AnswerLayout((), (), (rows,)), bytes((0xFF, 0xC0)) + bytes(range(10, 20)) + b"\xaa" * 6)
    assert (values["cell_33"], values["cell_42"], values["cell_43"], values["cell_48"]) == (10, 19, None, None)
    assert [values[d.name] for d in digests] == [10, 10, 19, 10, 19]
    empty = read_values(AnswerLayout((), (), (rows,)), bytes(18))
    assert [empty[d.name] for d in digests] == [0, None, None, None, None]


def test_supported_pids_are_listed_by_number() -> None:
    """The mask in an answer to PID 40 is about 41 to 60."""
    layout = AnswerLayout((), (AnswerField("pids", "hex", "pids", 0, offset=0x40),))
    assert read_values(layout, bytes.fromhex("80000021")) == {"pids": ["41", "5B", "60"]}
    assert read_values(layout, b"\x80") == {"pids": ["41"]}
    assert read_values(layout, b"") == {}
