"""`packbook broker-config`: what is written, what is never written over, and that its rules are those of the table."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import SecretStr

from brokers import free_port
from packbook.__main__ import main
from packbook.app.broker_config import acl
from packbook.app.doctor import Findings, _examine_broker
from packbook.settings import Settings
from packwire.ids import BoxId
from packwire.rights import RIGHTS, Act, Role, may
from packwire.topics import Leaf, topic

A, B = "a" * 16, "b" * 16


def write(folder: Path, *more: str) -> int:
    return main(["broker-config", "--out", str(folder), *more])


def test_writing_again_changes_nothing_and_new_options_bring_it_up_to_date(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It may be run by a machine, each night."""
    assert write(tmp_path) == 0
    first = {path: path.read_text() for path in tmp_path.rglob("*.*") if path.is_file()}
    assert {str(path.relative_to(tmp_path)) for path in first} == {
        "mosquitto.conf",
        "packbook.acl",
        "mosquitto.service.d/packbook.conf",
    }
    assert write(tmp_path) == 0
    assert {path: path.read_text() for path in first} == first
    assert write(tmp_path, "--port", "9883") == 0
    assert "\nlistener 9883\n" in (tmp_path / "mosquitto.conf").read_text()
    assert "brought up to date" in capsys.readouterr().out


def test_what_somebody_changed_by_hand_is_never_written_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An operator's night of searching would be gone; instead the new text lies beside it, with the difference."""
    write(tmp_path)
    file = tmp_path / "mosquitto.conf"
    mine = file.read_text().replace("autosave_interval 60", "autosave_interval 10")
    file.write_text(mine)
    capsys.readouterr()
    assert write(tmp_path, "--port", "9883") == 1
    assert file.read_text() == mine
    assert "listener 9883" in (tmp_path / "mosquitto.conf.new").read_text()
    said = capsys.readouterr().err
    assert "-autosave_interval 10" in said
    assert "changed by hand and left alone: mosquitto.conf" in said
    (tmp_path / "mosquitto.conf.new").replace(file)  # taking the new one over is one `mv`
    assert write(tmp_path, "--port", "9883") == 0
    assert not (tmp_path / "mosquitto.conf.new").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--collector", A], "looks like the name of a box"),
        (["--operator", B], "looks like the name of a box"),
        (["--collector", "c0", "--operator", "c0"], "not of both"),
        (["--collector", "c 0"], "letters, digits"),
        (["--collector", "c0\ntopic readwrite #"], "letters, digits"),
        (["--collector", "+"], "letters, digits"),
        (["--etc", "/etc/with space"], "no spaces"),
        (["--bind", "0.0.0.0\nallow_anonymous true"], "no spaces"),
        (["--port", "0x"], None),
        (["--port", "99999"], "expected 1 to 65535"),
        (["--queue-mb", "0"], "would let a queue fill the memory"),
    ],
)
def test_what_would_open_the_broker_is_refused(
    tmp_path: Path, options: list[str], said: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    """A name goes into an ACL: one line more there is the whole fleet."""
    if said is None:
        with pytest.raises(SystemExit):
            write(tmp_path / "out", *options)
    else:
        assert write(tmp_path / "out", *options) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_acl_grants_what_the_table_grants() -> None:
    """mosquitto and the demo's broker must not drift apart: both follow `packwire.rights`."""
    granted: dict[tuple[Role, str], set[str]] = {}
    role = Role.BOX
    for line in acl(["collector-0"], ["operator-0"]).splitlines():
        if line.startswith("user "):
            role = Role.COLLECTOR if line == "user collector-0" else Role.OPERATOR
        if match := re.fullmatch(r"(?:pattern|topic) (read|write) pb/v1/(?:%u|\+)/(\w+)", line):
            granted.setdefault((role, match[1]), set()).add(match[2])
        else:
            assert not line or line.startswith(("#", "user "))
    assert granted == {
        (who, how): {leaf.value for leaf in leaves}
        for who, rights in RIGHTS.items()
        for how, leaves in (("read", rights.reads), ("write", rights.writes))
        if leaves
    }


@pytest.mark.parametrize(
    ("role", "name", "act", "where", "allowed"),
    [
        (Role.BOX, A, Act.PUBLISH, topic(BoxId(A), Leaf.RECORD), True),
        (Role.BOX, A, Act.PUBLISH, topic(BoxId(B), Leaf.RECORD), False),
        (Role.BOX, A, Act.PUBLISH, topic(BoxId(A), Leaf.ACK), False),
        (Role.BOX, A, Act.SUBSCRIBE, topic(BoxId(A), Leaf.ACK), True),
        (Role.BOX, A, Act.SUBSCRIBE, "pb/v1/+/ack", False),
        (Role.BOX, A, Act.SUBSCRIBE, f"$share/x/{topic(BoxId(A), Leaf.ACK)}", False),
        (Role.BOX, A, Act.RECEIVE, topic(BoxId(B), Leaf.ACK), False),
        (Role.BOX, "", Act.PUBLISH, "pb/v1//r", False),
        (Role.BOX, "+", Act.SUBSCRIBE, "pb/v1/+/ack", False),
        (Role.COLLECTOR, "c", Act.SUBSCRIBE, "pb/v1/+/r", True),
        (Role.COLLECTOR, "c", Act.SUBSCRIBE, "$share/book/pb/v1/+/r", True),
        (Role.COLLECTOR, "c", Act.SUBSCRIBE, "$share/book", False),
        (Role.COLLECTOR, "c", Act.SUBSCRIBE, "#", False),
        (Role.COLLECTOR, "c", Act.PUBLISH, topic(BoxId(A), Leaf.RECORD), False),
        (Role.OPERATOR, "o", Act.PUBLISH, topic(BoxId(A), Leaf.COMMAND), True),
        (Role.OPERATOR, "o", Act.PUBLISH, topic(BoxId(A), Leaf.ACK), False),
        (Role.OPERATOR, "o", Act.SUBSCRIBE, "pb/v1/+/r", False),
    ],
)
def test_who_may_do_what(role: Role, name: str, act: Act, where: str, allowed: bool) -> None:
    """The table's corners; the brokers themselves are asked in test_broker_rules.py."""
    assert may(role, name, act, where) is allowed


@pytest.mark.parametrize("box", [A, B])
@pytest.mark.parametrize("leaf", list(Leaf))
@pytest.mark.parametrize("act", list(Act))
def test_a_box_has_exactly_one_side_of_each_of_its_topics_and_none_of_others(box: str, leaf: Leaf, act: Act) -> None:
    """What it writes it does not read, and the other way round."""
    up = leaf in (Leaf.RECORD, Leaf.HEARTBEAT, Leaf.STATUS)
    assert may(Role.BOX, A, act, f"pb/v1/{box}/{leaf.value}") is (box == A and up is (act is Act.PUBLISH))


@pytest.mark.parametrize(("share", "problems"), [("book", 1), ("5f1c0de5f1c0de5f1c0de", 0)])
async def test_the_doctor_asks_for_a_share_that_no_box_guesses(share: str, problems: int) -> None:
    """mosquitto gives a box that joins the group its part, and then withholds it: every second record waits."""
    settings = Settings(
        database_url=SecretStr("postgresql://nobody@127.0.0.1/nothing"),
        share=share,
        broker=f"mqtt://127.0.0.1:{free_port()}",
    )
    findings = Findings("nothing")
    await _examine_broker(settings, findings)
    assert len([one for one in findings.problems if one.startswith("share: ")]) == problems
