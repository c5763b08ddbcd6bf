"""Rule files and official schemas, loaded once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from passport.official import document


@pytest.fixture(scope="session")
def schema(shared: Path) -> Callable[[str], Any]:
    """An official file by its path below ../shared/schemas."""
    return lambda name: document(shared / "schemas" / name)
