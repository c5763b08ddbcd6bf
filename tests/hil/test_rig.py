"""The plain logic of the rigs: talking to a guest, judging what a test left behind, knowing when disks are old."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rig import faults, image
from rig.faults import Look
from rig.figures import Figures
from rig.machine import Fault, Late, Ran, ScriptFailed
from rig.planted import HANGS, NO_FILTER, NO_WATCHDOG, caught, plant
from rig.talk import Refused, Talk


@contextmanager
def other_side(path: Path, answer: Callable[[bytes], bytes]) -> Iterator[None]:
    """Answers each message of one caller."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(path))
        server.listen(1)

        def serve() -> None:
            caller, _ = server.accept()
            with caller:
                while heard := caller.recv(4096):
                    caller.sendall(answer(heard))

        thread = threading.Thread(target=serve)
        thread.start()
        yield
    thread.join()


def line(**fields: object) -> bytes:
    return json.dumps(fields).encode() + b"\n"


def test_an_answer_is_found_among_events(tmp_path: Path) -> None:
    """QEMU tells of a reset or a lost disk whenever it happens, also in the middle of an answer."""
    heard: list[bytes] = []

    def answer(message: bytes) -> bytes:
        heard.append(message)
        number = json.loads(message)["id"]
        return (
            line(event="RESET") + line(**{"return": "stale", "id": 0}) + line(**{"return": {"ok": True}, "id": number})
        )

    with other_side(tmp_path / "qmp.sock", answer):
        talk = Talk(tmp_path / "qmp.sock", within_s=5)
        assert talk.ask("block-set", node_name="root") == {"ok": True}
        assert [event["event"] for event in talk.events] == ["RESET"]
        talk.close()
    assert json.loads(heard[0])["arguments"] == {"node-name": "root"}


def test_a_refusal_and_a_silence_are_exceptions(tmp_path: Path) -> None:
    """A test must not go on with an answer that never came."""
    answers = iter((lambda n: line(error={"class": "GenericError", "desc": "no such disk"}, id=n), lambda n: b""))
    with other_side(tmp_path / "qmp.sock", lambda message: next(answers)(json.loads(message)["id"])):
        talk = Talk(tmp_path / "qmp.sock", within_s=5)
        with pytest.raises(Refused, match="eject: no such disk"):
            talk.ask("eject")
        with pytest.raises(Late, match=r"no answer to eject from qmp\.sock"):
            talk.ask("eject", within_s=0.05)
        talk.close()


def test_an_agent_in_the_middle_of_an_answer_is_brought_back(tmp_path: Path) -> None:
    """After a snapshot was loaded the agent may still be answering somebody of before."""

    def answer(message: bytes) -> bytes:
        token = json.loads(message.strip(b"\xff"))["arguments"]["id"]
        return (
            b'half of an old answer"}\n' + b"\xff" + line(**{"return": 999_999}) + b"\xff" + line(**{"return": token})
        )

    with other_side(tmp_path / "agent.sock", answer):
        talk = Talk(tmp_path / "agent.sock", within_s=5)
        talk.sync(within_s=5)
        talk.close()


def test_nobody_there_is_late(tmp_path: Path) -> None:
    with pytest.raises(Late, match="No such file"):
        Talk(tmp_path / "none.sock", within_s=0)


QUIET = Look({"can0": {"error frames": 3, "dropped": 7}}, {"can0": "ERROR-ACTIVE"}, "cursor", 0, (), ())


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (QUIET, set()),
        (Look({"can0": {"error frames": 4, "dropped": 7}}, {}, "", 0, (), ()), {Fault.CAN_ERROR}),
        (Look({"can0": {"error frames": 3, "dropped": 9}}, {}, "", 0, (), ()), {Fault.FRAME_DROP}),
        # The interface went and came back: it counts from zero.
        (Look({"can0": {"error frames": 0, "dropped": 0}}, {}, "", 0, (), ()), set()),
        (Look({}, {"can0": "BUS-OFF"}, "", 0, (), ()), {Fault.CAN_ERROR}),
        (Look({}, {"can0": "STOPPED"}, "", 1, (), ()), {Fault.RESTART}),
        (Look({}, {}, "", 0, ("broken",), ()), {Fault.JOURNAL_FAULT}),
        (Look({}, {}, "", 0, (), ("Oops: 0000",)), {Fault.KERNEL_FAULT}),
    ],
)
def test_what_a_test_left_behind_is_named(after: Look, expected: set[Fault]) -> None:
    """Counters of a bench live longer than a test: only what grew counts."""
    assert set(faults.found(QUIET, after)) == expected


def test_disks_are_made_anew_exactly_when_something_in_them_changes(tmp_path: Path) -> None:
    """A stale image would test the code of yesterday."""
    tree = tmp_path / "tree"
    (tree / "__pycache__").mkdir(parents=True)
    (tree / "a.py").write_text("1")
    before = image._digest([tree, "text"])
    (tree / "__pycache__/a.pyc").write_text("made by reading it")
    assert image._digest([tree, "text"]) == before
    (tree / "a.py").rename(tree / "b.py")
    renamed = image._digest([tree, "text"])
    (tree / "b.py").write_text("2")
    assert len({before, renamed, image._digest([tree, "text"]), image._digest([tree, "texts"])}) == 4


class Kept:
    """A shell that keeps what is put there."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def run(self, script: str, *, within_s: float = 30.0, check: bool = True) -> Ran:
        raise AssertionError

    def put(self, path: str, data: bytes) -> None:
        self.files[path] = data

    def get(self, path: str) -> bytes:
        return self.files[path]


@pytest.mark.parametrize("fault", [NO_FILTER, HANGS, NO_WATCHDOG])
def test_a_planted_fault_is_python_and_not_our_source(fault: object) -> None:
    """The source changes and the fault does not: it must not rot unseen until somebody runs the rig."""
    shell = Kept()
    plant(shell, fault)  # type: ignore[arg-type]  # each of the parameters is one
    ((path, text),) = shell.files.items()
    compile(text, path, "exec")
    assert path.startswith("/usr/lib/packbox/any/packbox/")


def test_a_check_that_does_not_fail_is_found_out() -> None:
    """A planted fault that nobody notices is the rig's own fault."""
    with caught():
        raise AssertionError
    with pytest.raises(AssertionError, match="was not caught"), caught():
        pass
    with pytest.raises(ScriptFailed), caught():
        raise ScriptFailed("false", Ran(1, "", ""))


def test_figures_show_what_was_promised() -> None:
    figures = Figures()
    figures.tell("start", 9.5, "s", limit=60)
    figures.tell("start", 12.34, "s", limit=60)
    (told,) = figures.lines()
    assert told.split() == ["start", "12.3", "s", "(promised", "60)"]


def test_figures_of_all_processes_stand_in_one_table() -> None:
    """Guests run side by side, and whoever reads the end of the report sees one run."""
    here, there = Figures(), Figures()
    here.tell("boot", 24.5, "s")
    there.tell("driving lost", 9.7, "s", limit=10.0)
    here.join(there.packed())
    assert [line.split()[0] for line in here.lines()] == ["boot", "driving"]
    assert here.lines()[1] == there.lines()[0]
