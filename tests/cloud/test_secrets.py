"""Nothing secret is said: logs and topics of whole systems are searched for keys, codes and vehicle numbers."""

from __future__ import annotations

import base64
import logging
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from packbox.adapters.identity import FileKey
from packwire.testing import MemoryBroker, MemoryLink
from packwire.topics import parse
from worlds import runs
from worlds.plan import draw

WAIT_MAX_S = 60.0
VIN = re.compile(r"(?<![A-Za-z0-9])[A-HJ-NPR-Z0-9]{17}(?![A-Za-z0-9])")  # ISO 3779
CODE = re.compile(r"(?<![A-Z0-9])[0-9A-HJKMNP-TV-Z]{4}(?:-[0-9A-HJKMNP-TV-Z]{4}){6}(?![A-Z0-9])")  # a one-time code
PEM = re.compile(r"BEGIN [A-Z ]*PRIVATE KEY|CERTIFICATE REQUEST")


def forms(private: bytes) -> set[str]:
    """How a careless program would print it."""
    return {private.hex(), private.hex().upper(), private.hex(" "), base64.b64encode(private).decode(), repr(private)}


def secrets_in(folder: Path) -> set[str]:
    """Every private key below, in all its forms, and the lines of its file."""
    found: set[str] = set()
    for file in folder.rglob("*"):
        if file.is_file() and b"PRIVATE KEY" in (pem := file.read_bytes()):
            key = serialization.load_pem_private_key(pem, None)
            if isinstance(key, Ed25519PrivateKey):
                raw = key.private_bytes_raw()
            else:
                assert isinstance(key, ec.EllipticCurvePrivateKey)
                raw = key.private_numbers().private_value.to_bytes(32, "big")
            found |= forms(raw) | {line for line in pem.decode().splitlines() if not line.startswith("-")}
    return found


def leaks(text: str, secrets: set[str]) -> list[str]:
    """What of it should not be there; never the secret itself, which would then be in the log of the test."""
    found = [f"a secret of {len(secret)} characters" for secret in secrets if secret in text]
    return found + [f"looks like {match[0][:6]}..." for form in (VIN, CODE, PEM) for match in form.finditer(text)]


def test_the_search_finds_what_it_looks_for() -> None:
    """A search that finds nothing in anything would be no proof."""
    key = Ed25519PrivateKey.generate().private_bytes_raw()
    secrets = forms(key)
    for text in (
        f"key {key.hex()}",
        f"key={key!r}",
        "car JN1AZ0CP8BT000001 came",
        "ABCD-EFGH-JKMN-PQRS-TVWX-YZ01-2345",
    ):
        assert leaks(text, secrets)
    assert leaks("box a1b2c3d4e5f60718 store 0011223344556677 127.0.0.1:8883 2026-11-22 05:18:30", secrets) == []


@pytest.fixture
def demo_folder(tmp_path: Path) -> Path:
    """What a demo of two days left behind, its own output in `out`."""
    data = tmp_path / "data"
    command = ["demo", "--no-browser", "--port", "0", "--days", "2", "--boxes", "2", "--data-dir", str(data)]
    with (tmp_path / "out").open("w") as out:
        process = subprocess.Popen([sys.executable, "-m", "packbook", *command], stdout=out, stderr=out)
    try:
        deadline = time.monotonic() + WAIT_MAX_S
        while not _has_records(tmp_path / "out"):
            assert process.poll() is None, (tmp_path / "out").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=15)
    finally:
        process.kill()
        process.wait()
    return tmp_path


def _has_records(out: Path) -> bool:
    url = re.search(r"open (http://127\.0\.0\.1:\d+/)", out.read_text())
    if url is None:
        return False
    count = 0
    for key in re.findall(r"pbk_[0-9a-f]{8}_[\w-]{43}", out.read_text()):  # of each firm, as the demo prints them
        ask = urllib.request.Request(f"{url[1]}api/v1/batteries", headers={"Authorization": f"Bearer {key}"})  # noqa: S310 - the demo's own
        with urllib.request.urlopen(ask, timeout=10) as reply:  # noqa: S310 - as above
            count += reply.read().count(b'"battery"')
    return count >= 2


@pytest.mark.slow
def test_the_logs_of_a_whole_demo_hold_no_secret_and_keys_are_their_owners_alone(demo_folder: Path) -> None:
    """Logs are copied into bug reports. Certificates, keys and the broker are those of a real fleet."""
    secrets = secrets_in(demo_folder)
    assert len(secrets) >= 5 * 6  # of two boxes two each, issuer, broker and collector
    logs = [demo_folder / "out", *demo_folder.rglob("*.log")]
    assert {log.name for log in logs} == {"out", "book.log", "box.log"}
    assert {log.name: leaks(log.read_text(errors="replace"), secrets) for log in logs} == {log.name: [] for log in logs}
    private = [file for file in demo_folder.rglob("*") if file.is_file() and b"PRIVATE KEY" in file.read_bytes()]
    assert [str(file) for file in private if file.stat().st_mode & 0o077] == []


@pytest.mark.slow
def test_logs_and_topics_of_a_whole_world_hold_no_secret(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Power cuts, lost acks, full disks: what is said in trouble, down to the debug level, is searched too."""
    secrets: set[str] = set()
    topics: set[str] = set()
    make_key, publish, say = FileKey.__init__, MemoryBroker.publish, MemoryLink.publish

    def noting_key(self: FileKey, private: bytes) -> None:
        secrets.update(forms(private))
        make_key(self, private)

    def noting_publish(self: MemoryBroker, topic: str, payload: bytes, *, retain: bool = False) -> None:
        topics.add(topic)
        publish(self, topic, payload, retain=retain)

    def noting_say(self: MemoryLink, topic: str, payload: bytes, *, retain: bool = False) -> None:
        topics.add(topic)
        say(self, topic, payload, retain=retain)

    monkeypatch.setattr(FileKey, "__init__", noting_key)
    monkeypatch.setattr(MemoryBroker, "publish", noting_publish)
    monkeypatch.setattr(MemoryLink, "publish", noting_say)
    caplog.set_level(logging.DEBUG)
    runs.check_plan(draw(17, 3))
    said = "\n".join(f"{record.getMessage()} {vars(record)}" for record in caplog.records)
    assert len(caplog.records) > 20
    assert secrets
    assert leaks(said, secrets) == []
    assert [topic for topic in topics if parse(topic) is None] == []
    assert leaks("\n".join(topics), secrets) == []
