"""What a running box does not load. Memory itself is measured by `make bench-box`; this holds what brought it down."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

STARTED = """
import os, sys
from pathlib import Path
import packbox.__main__, packbox.app.run, packbox.adapters.can_bus
from packbox.adapters.identity import FileKey
from packbox.adapters.key_store import TLS_FILE, FileKeyStore
from packbox.adapters.profile_apart import find_apart
from packbox.settings import load_settings
from packwire.codec import from_wire, to_wire
from packwire.ed25519 import is_signed
from packwire.messages import Health

find_apart("nissan-leaf", load_settings().profiles_dir)
from_wire(Health, to_wire(Health(uptime_s=1.0)))
key = FileKey(bytes(32))
assert is_signed(b"record", key.sign(b"record"), key.public_key)
os.umask(0o077)
Path(TLS_FILE).write_text("good 1 2\\n-----BEGIN CERTIFICATE-----\\nAA==\\n-----END CERTIFICATE-----\\n")
assert FileKeyStore(Path(), key).held().until_ms == 2
print("\\n".join(sys.modules))
"""

# With the megabytes that each was measured to take in a box (docs/budgets.md); some came by way of another.
HEAVY = {
    "pydantic",  # 10, with its models
    "pydantic_settings",  # 9
    "cantools",  # 15, with the next
    "can",
    "httpx",  # 7
    "cryptography",  # 7, and 5 more with certificates and key files of other forms
    "email",
    "importlib.metadata",
    "importlib.resources",  # 1, with the next
    "tempfile",
    "numpy.fft",
    "numpy.ma",
    "numpy.random",
    "paho",  # 2, where there is a broker
    "packbox.adapters.ring",  # where raw frames are kept
}


def test_a_box_that_listens_loads_no_library_that_only_others_need(tmp_path: Path) -> None:
    """Each takes megabytes of a small computer for years, or for nothing; one import too many brings it back."""
    said = subprocess.run([sys.executable, "-c", STARTED], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert HEAVY.intersection(said.stdout.split()) == set()
