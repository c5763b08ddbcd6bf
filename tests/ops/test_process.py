"""The running program, as those who watch and stop it see it."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from brokers import free_port

STOP_WAIT_MAX_S = 10.0  # docs/run.md says so; the units allow three times as much


def ask(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - our own loopback server
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read().decode()


def test_a_collector_answers_who_watches_it_and_leaves_in_time(tmp_path: Path) -> None:
    """Without pages, its broker away: alive, not ready and why, figures, JSON lines, and gone after SIGTERM."""
    settings = tmp_path / "packbook.toml"
    settings.write_text(
        f'database_url = "sqlite:///{tmp_path}/book.db"\nbroker = "mqtt://127.0.0.1:{free_port()}"\n'
        'metrics_port = 0\nlog_format = "json"\n'
    )
    command = [sys.executable, "-m", "packbook", "collect", "--settings", str(settings)]
    lines: list[dict[str, str]] = []
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        while not (found := re.fullmatch(r"metrics at (http://.*/)metrics", lines[-1]["message"] if lines else "")):
            lines.append(json.loads(process.stderr.readline()))
        alive = ask(f"{found[1]}healthz")
        ready = ask(f"{found[1]}readyz")
        figures = ask(f"{found[1]}metrics")
        stopped_s = time.monotonic()
        process.send_signal(signal.SIGTERM)
        _, rest = process.communicate(timeout=30)
        took_s = time.monotonic() - stopped_s
    lines += [json.loads(line) for line in rest.splitlines()]
    assert alive == (200, '{"alive":true}')
    assert (ready[0], json.loads(ready[1])) == (
        503,
        {"ready": False, "checks": {"database": "ok", "collector": "not_connected"}},
    )
    assert "packbook_source_connected 0.0" in figures[1]
    assert "packbook_database_up 1.0" in figures[1]
    assert process.returncode == 0
    assert took_s < STOP_WAIT_MAX_S
    assert all(line.keys() >= {"time", "level", "logger", "message"} for line in lines)
