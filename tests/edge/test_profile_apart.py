"""A profile loaded in a child is the profile, and what loading takes stays out of the running box."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from packbox.adapters.profile_apart import find_apart
from packbox.adapters.profile_dir import Catalogue
from packbox.ports import ProfileError

HEAVY = ("cantools", "can", "pydantic_settings", "packbox.adapters.profile_build", "httpx")


def test_the_child_brings_the_same_profile(root: Path) -> None:
    """Word for word: the digest in every `hello` follows from it."""
    folder = root / "can_profiles"
    (one, variant), (other, _) = find_apart("nissan-leaf:ze0", folder), Catalogue(folder).find("nissan-leaf:ze0")
    assert (repr(one), variant) == (repr(other), "ze0")


def test_its_refusal_is_the_same(root: Path) -> None:
    """A misspelt name is named, not lost with the child."""
    with pytest.raises(ProfileError, match="no profile or vehicle 'submarine'"):
        find_apart("submarine", root / "can_profiles")


def test_a_running_box_loads_nothing_that_only_starting_needs() -> None:
    """25 MB on a computer that may have 512 (docs/budgets.md)."""
    look = f"import sys, packbox.app.run, packbox.adapters.can_bus; print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
