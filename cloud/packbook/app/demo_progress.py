"""What the demo shows while it runs: one line per box, redrawn on a terminal, now and then in a pipe.

In:  the book's own API, as any program may ask it.
Out: text.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Final, TextIO

ASK_WAIT_MAX_S: Final = 5.0
PLAIN_EVERY_S: Final = 10.0  # between two progress lines in a pipe


@dataclass(frozen=True, slots=True)
class Seen:
    """What the book's pages know of a box's battery."""

    records: int
    newest: date | None
    soh: str
    sessions: str


NOTHING_SEEN: Final = Seen(0, None, "-", "")


async def ask(url: str, keys: Sequence[str]) -> Mapping[str, Seen] | None:
    """What the pages' own API says to the holders of these keys, by the car's name. None when it does not answer."""
    try:
        answers = [await asyncio.to_thread(_answer, f"{url}api/v1/batteries", key) for key in keys]
    except (OSError, ValueError):
        return None
    return {str(battery["vehicle"]): _seen(battery) for answer in answers for battery in answer["batteries"]}


def _answer(url: str, key: str) -> dict[str, Any]:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {key}"})  # noqa: S310 - our own address
    with urllib.request.urlopen(request, timeout=ASK_WAIT_MAX_S) as reply:  # noqa: S310 - as above
        answer: dict[str, Any] = json.load(reply)
        return answer


def _seen(battery: Mapping[str, Any]) -> Seen:
    soh = battery["soh"] or {}
    newest_ms = battery["last_ms"]
    text = "-"
    if soh.get("soh_pct") is not None:
        text = f"{soh['soh_pct']:.1f} %"
        if soh.get("lo90_pct") is not None and soh.get("hi90_pct") is not None:
            text += f" ({soh['lo90_pct']:.1f} to {soh['hi90_pct']:.1f})"
    sessions = battery["sessions"] or {}
    return Seen(
        int(battery["records"]),
        datetime.fromtimestamp(newest_ms / 1000, UTC).date() if newest_ms is not None else None,
        text,
        f", drives {sessions.get('drive', 0)}, charges {sessions.get('charge', 0)}",
    )


def line(name: str, seen: Mapping[str, Seen]) -> str:
    known = seen.get(name, NOTHING_SEEN)
    newest = known.newest.isoformat() if known.newest else "starting"
    return f"{name:<16.16}  {newest:<10}  {known.records:>6} records  SoH {known.soh}"


def summary(names: Sequence[str], seen: Mapping[str, Seen], took_s: float) -> str:
    return "\n".join(
        [f"after {took_s:.0f} s:", *(f"  {line(n, seen)}{seen.get(n, NOTHING_SEEN).sessions}" for n in names)]
    )


class Screen:
    """Lines redrawn in place on a terminal; now and then a plain line in a pipe."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._live = out.isatty()
        self._drawn = 0
        self._next_plain_s = 0.0

    def show(self, lines: Sequence[str], at_s: float) -> None:
        if self._live:
            width = shutil.get_terminal_size().columns - 1
            self.wipe()
            self._write("".join(f"{line[:width]}\n" for line in lines))
            self._drawn = len(lines)
        elif at_s >= self._next_plain_s:
            self._next_plain_s = at_s + PLAIN_EVERY_S
            self._write("".join(f"[{at_s:4.0f} s] {line}\n" for line in lines))

    def say(self, text: str) -> None:
        """A message that stays."""
        self.wipe()
        self._write(f"{text}\n")

    def wipe(self) -> None:
        if self._drawn:
            self._write(f"\x1b[{self._drawn}F\x1b[J")
            self._drawn = 0

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()
