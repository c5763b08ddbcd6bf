"""What operators type: key ceremony, codes with labels and boot files, lost boxes; also while the book runs."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from packbook.__main__ import main
from packbook.adapters.authority import Authority, fingerprint_of
from packbook.app.enrolment import ACTS
from packbook.app.operate import SUFFIX, Office, OperateError, operate, operators_door
from packbook.settings import Settings
from packbox.adapters.enrolment_file import read_invitation
from packbox.adapters.identity import KeyFileError
from packbox.app.enrol import enrol, renew
from packbox.ports import EnrolDenied
from packwire.enrolment import plain_code

from .conftest import HOST, Book, Box


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """An empty folder with settings, as at the start of the afternoon."""
    (tmp_path / "passphrase").write_text("correct horse")
    (tmp_path / "settings.toml").write_text(
        f'database_url = "sqlite:///{tmp_path / "book.db"}"\nca_dir = "{tmp_path / "ca"}"\n'
        'enrol_url = "https://book.test:8443"\n'
    )
    return tmp_path


def packbook(place: Path, *words: str | Path) -> int:
    return main([*map(str, words), "--settings", str(place / "settings.toml")])


def ceremony(place: Path) -> tuple[str | Path, ...]:
    return "--root", place / "root.pem", "--passphrase-file", place / "passphrase"


def test_the_key_ceremony_leaves_no_root_key_with_the_book(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The root is one locked file to take away; what stays can only issue clients."""
    assert packbook(place, "ca", "init", *ceremony(place)) == 0
    assert packbook(place, "ca", "server-cert", "book.test", HOST, *ceremony(place)) == 0
    assert {path.name: path.stat().st_mode & 0o777 for path in (place / "ca").iterdir()} == {
        "root.pem": 0o644, "ca.pem": 0o644, "crl.pem": 0o644, "issuer-1.pem": 0o644, "issuer-1.key": 0o600,
        "server-book.test.pem": 0o644, "server-book.test.key": 0o600,
    }  # fmt: skip
    assert (place / "root.pem").stat().st_mode & 0o777 == 0o600
    assert b"BEGIN ENCRYPTED PRIVATE KEY" in (place / "root.pem").read_bytes()
    assert b"PRIVATE" not in (place / "ca/root.pem").read_bytes()
    server = x509.load_pem_x509_certificate((place / "ca/server-book.test.pem").read_bytes())
    assert server.issuer == Authority(place / "ca").root.subject
    capsys.readouterr()

    assert packbook(place, "ca", "init", *ceremony(place)) == 1
    assert "there is an authority already" in capsys.readouterr().err
    (place / "passphrase").write_text("wrong")
    assert packbook(place, "ca", "server-cert", "x.test", *ceremony(place)) == 1
    assert "not its passphrase" in capsys.readouterr().err


def test_the_next_issuer_stands_beside_the_first(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Rotation: old certificates stay good, and their list of revoked ones is still written."""
    packbook(place, "ca", "init", *ceremony(place))
    assert packbook(place, "ca", "renew-issuer", *ceremony(place)) == 0
    assert [one.subject.rfc4514_string() for one in Authority(place / "ca").certificates] == [
        "CN=Packbook fleet root", "CN=Packbook fleet issuer 2", "CN=Packbook fleet issuer 1",
    ]  # fmt: skip
    assert packbook(place, "ca", "show") == 0
    assert "issuer 2" in capsys.readouterr().out


def test_fifty_codes_with_labels_and_boot_files(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One afternoon's boxes: every code once on paper, once as a file, never in the database."""
    packbook(place, "ca", "init", *ceremony(place))
    capsys.readouterr()
    assert packbook(
        place, "token", "new", "--count", "50", "--fleet", "kyoto-taxis", "--expires", "2w",
        "--labels", place / "labels.html", "--boot-files", place / "boot",
    ) == 0  # fmt: skip
    codes = capsys.readouterr().out.split()
    assert len({plain_code(code) for code in codes}) == 50

    fingerprint = fingerprint_of(Authority(place / "ca").root)
    invitations = [read_invitation(place / f"boot/{n:03d}/packbox-enrol.toml") for n in range(1, 51)]
    assert [(one.url, one.code, one.fingerprint) for one in invitations] == [
        ("https://book.test:8443", code, fingerprint) for code in codes
    ]
    html = (place / "labels.html").read_text()
    assert html.count('<div class="label">') == html.count("<svg") == 50
    assert "<script" not in html
    assert not re.search(r'(?:src|href)="', html)
    assert all(code[:19] in html for code in codes)
    assert (place / "labels.html").stat().st_mode & 0o777 == 0o600
    on_disk = b"".join(path.read_bytes() for path in place.glob("book.db*") if path.is_file())
    assert not any(code.encode() in on_disk or plain_code(code).encode() in on_disk for code in codes)

    assert packbook(place, "token", "list") == 0
    listed = capsys.readouterr().out
    assert listed.count("fleet kyoto-taxis  expires") == 50
    assert packbook(place, "token", "drop") == 0
    assert packbook(place, "token", "list") == 0
    assert capsys.readouterr().out.count("fleet kyoto-taxis  expired") == 50


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("token", "new"), 1, "packbook ca init"),
        (("revoke", "00" * 8), 1, "packbook ca init"),
        (("token", "new", "--expires", "forever"), 2, "30d"),
        (("token", "new", "--count", "0"), 2, "1 to 10000"),
        (("token", "new", "--fleet", "a/b"), 2, "letters, digits"),
        (("revoke", "xyz"), 2, "16 digits"),
        (("box", "show", "00" * 8), 1, "not enrolled here"),
        (("ca", "init", "--root", "r.pem"), 2, "--passphrase-file"),
    ],
)
def test_wrong_wishes_are_named(
    place: Path, words: tuple[str, ...], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody should have to read a trace to learn that a folder is missing."""
    try:
        got = packbook(place, *words)
    except SystemExit as stopped:  # argparse
        got = int(str(stopped.code))
    assert (got, said in capsys.readouterr().err) == (code, True)


def test_with_an_external_authority_ours_issues_nothing(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`ca = external`: certificates are given and revoked elsewhere; ours are only checked."""
    packbook(place, "ca", "init", *ceremony(place))
    with (place / "settings.toml").open("a") as file:
        file.write('ca = "external"\n')
    assert packbook(place, "revoke", "00" * 8) == 2
    assert "another authority" in capsys.readouterr().err


async def test_a_certificate_is_checked_against_any_authority(
    book: Book, box: Box, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before a box of another authority is built in: does its certificate fit?"""
    await enrol(box.data_dir, box.keys, box.clock, await book.invitation())
    held = box.keys.held()
    assert held is not None
    (place / "box.pem").write_bytes(held.chain)
    trust = ("--trust", book.authority.folder / "ca.pem")
    assert packbook(place, "ca", "check", place / "box.pem", *trust) == 0
    assert f"good: CN={box.id},O=default" in capsys.readouterr().out
    server = book.authority.folder / f"server-{HOST}.pem"
    assert packbook(place, "ca", "check", server, *trust) == 1
    assert "not for client authentication" in capsys.readouterr().err
    packbook(place, "ca", "init", *ceremony(place))
    assert packbook(place, "ca", "check", place / "box.pem") == 1
    assert "does not descend" in capsys.readouterr().err


def test_the_doctor_tells_what_ends_soon(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A certificate that ends unnoticed stops a fleet; a folder that lost its key stops every renewal."""
    packbook(place, "ca", "init", *ceremony(place))
    packbook(place, "ca", "server-cert", HOST, *ceremony(place))
    door = f'enrol_cert_file = "{place}/ca/server-{HOST}.pem"\n'
    with (place / "settings.toml").open("a") as file:
        file.write(f"certificate_days = 1825\n{door}")
    packbook(place, "doctor")
    told = capsys.readouterr().out
    assert "the issuer ends in 1824 days: run 'packbook ca renew-issuer'" in told
    assert "the enrolment door" not in told
    (place / "ca/issuer-1.key").unlink()
    packbook(place, "doctor")
    assert "issuer-1.key: cannot be read" in capsys.readouterr().out


async def test_operators_act_while_the_book_runs(book: Book, box: Box) -> None:
    """A SQLite database has one writer, and a stolen box cannot wait until somebody stops the book."""
    await enrol(box.data_dir, box.keys, box.clock, await book.invitation())

    async def act(name: str, **arguments: Any) -> Any:
        return await operate(book.settings, ACTS, name, arguments)

    async with operators_door(Office(book.database, book.settings), ACTS):
        door = Path(book.settings.database_url.get_secret_value().removeprefix("sqlite:///") + SUFFIX)
        assert mode_of(door) == 0o600
        assert [one["box"] for one in await act("box.list")] == [box.id]
        await act("box.state", box=box.id, state="revoked", why="stolen")
        with pytest.raises(EnrolDenied, match="revoked"):
            await renew(box.data_dir, box.keys, box.clock)
        with pytest.raises(OperateError, match="not enrolled here"):
            await act("box.show", box="00" * 8)
        with pytest.raises(OperateError, match="another version"):
            await act("box.paint")
        shown = await act("box.show", box=box.id)
    assert [(one["act"], one["detail"]) for one in shown["acts"]] == [
        ("enrolled", "fleet default"),
        ("revoked", "stolen"),
    ]
    assert mode_of(door) is None


async def test_a_retired_box_says_no_more_until_it_is_reinstated(book: Book, box: Box) -> None:
    """Decommissioning: its certificates end, its codes open nothing, its entry and what was done to it stay."""
    await enrol(box.data_dir, box.keys, box.clock, await book.invitation())
    office = Office(book.database, book.settings)

    async def state(name: str, why: str) -> None:
        async with operators_door(office, ACTS):
            await operate(book.settings, ACTS, "box.state", {"box": box.id, "state": name, "why": why})

    await state("retired", "car scrapped")
    with pytest.raises(EnrolDenied, match="retired"):
        await renew(box.data_dir, box.keys, box.clock)
    with pytest.raises(EnrolDenied, match="retired"):
        await enrol(box.data_dir, box.keys, box.clock, await book.invitation())
    await state("active", "another car")
    await enrol(box.data_dir, box.keys, box.clock, await book.invitation())
    async with operators_door(office, ACTS):
        shown = await operate(book.settings, ACTS, "box.show", {"box": box.id})
    assert [one["act"] for one in shown["acts"]] == ["enrolled", "retired", "active", "enrolled"]


async def test_a_certificate_without_our_line_is_read_too(book: Book, box: Box) -> None:
    """Somebody builds one of another authority in by hand, or it is of a version that wrote no such line."""
    await enrol(box.data_dir, box.keys, box.clock, await book.invitation())
    ours, file = box.keys.held(), box.keys.tls_files[0]
    line, rest = file.read_bytes().split(b"\n", 1)
    assert line.startswith(b"good ")
    file.write_bytes(rest)
    assert ours is not None
    assert box.keys.held() == ours
    file.write_bytes(line + b"\n")
    with pytest.raises(KeyFileError, match="holds no certificate; enrol again"):
        box.keys.held()


def mode_of(path: Path) -> int | None:
    return path.stat().st_mode & 0o777 if path.exists() else None


def test_boxes_are_listed_as_json(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Other programs read this; an empty book gives nothing."""
    assert packbook(place, "box", "list", "--json") == 0
    assert [json.loads(line) for line in capsys.readouterr().out.split()] == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("enrol_port = 8443", "enrol_port needs ca_dir"),
        ('enrol_url = "http://book.test"', "expected https://"),
        ('box_broker = "mqtt://broker.test"', "expected mqtts://"),
        ('ca = "external"\nenrol_port = 8443', "boxes enrol there"),
    ],
)
def test_half_a_setup_ends_the_start(tmp_path: Path, line: str, said: str) -> None:
    """Found at start, not by the first box at the door."""
    with pytest.raises(ValueError, match=said):
        Settings(**tomllib.loads(line))
