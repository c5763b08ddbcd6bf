"""The box's key: made once, kept to ourselves, never silently replaced."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from packbox.adapters.identity import KeyFileError, make_key, read_key


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "key" / "box.pem"


def test_the_key_stays_the_same_for_ever(path: Path) -> None:
    """The box id follows from it: another key is another box."""
    made = make_key(path)
    again = read_key(path)
    assert again.public_key == made.public_key
    assert len(made.public_key) == 32
    Ed25519PublicKey.from_public_bytes(made.public_key).verify(again.sign(b"record"), b"record")


def test_two_boxes_have_two_keys(tmp_path: Path) -> None:
    """Else one could sign for the other."""
    assert make_key(tmp_path / "a" / "box.pem").public_key != make_key(tmp_path / "b" / "box.pem").public_key


def test_nobody_else_may_read_it(path: Path) -> None:
    """Whoever reads the key can forge the history."""
    make_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [p.name for p in path.parent.iterdir()] == ["box.pem"]


@pytest.mark.parametrize("wrong", [0o640, 0o604, 0o660])
def test_a_key_that_others_may_read_is_refused(path: Path, wrong: int) -> None:
    """It may have been copied; the person who opened it must know, and is told how to close it."""
    make_key(path)
    path.chmod(wrong)
    with pytest.raises(KeyFileError, match=rf"mode 0{wrong:o} .*chmod 600 {path}"):
        read_key(path)


def test_an_open_folder_is_refused(path: Path) -> None:
    """Whoever may write the folder may exchange the key."""
    make_key(path)
    path.parent.chmod(0o755)
    with pytest.raises(KeyFileError, match=r"mode 0755 .*chmod 700"):
        read_key(path)


@pytest.mark.parametrize("content", [b"", b"garbage", b"-----BEGIN PRIVATE KEY-----\n", b"x" * 10_000])
def test_a_broken_key_is_an_error_and_not_replaced(path: Path, content: bytes) -> None:
    """A torn card would otherwise turn one box into two, and split one history."""
    make_key(path)
    path.write_bytes(content)
    with pytest.raises(KeyFileError, match=r"box\.pem: not a readable private key"):
        read_key(path)
    with pytest.raises(KeyFileError, match="never written over"):
        make_key(path)
    assert path.read_bytes() == content


def test_a_key_of_another_kind_is_named(path: Path) -> None:
    """The broker's certificate key, put in the wrong place."""
    make_key(path)
    path.write_bytes(
        generate_private_key(SECP256R1()).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    with pytest.raises(KeyFileError, match="expected an Ed25519 key"):
        read_key(path)


def test_a_power_cut_while_making_it_leaves_a_box_that_can_start(path: Path) -> None:
    """The half-written file beside is not a key and must not block the first start for ever."""
    path.parent.mkdir(parents=True, mode=0o700)
    path.with_name("box.pem.new").write_bytes(b"-----BEGIN")
    make_key(path)
    assert read_key(path)


def test_no_key_is_said_so(path: Path) -> None:
    """`doctor` before the first start."""
    with pytest.raises(KeyFileError, match="no key here"):
        read_key(path)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """Wrong data_dir."""
    (tmp_path / "file").write_text("")
    with pytest.raises(KeyFileError, match="cannot be written"):
        make_key(tmp_path / "file" / "key" / "box.pem")
