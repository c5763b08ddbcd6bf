"""Break a crash loop: a box that crashes again and again leaves out, step by step, what it can do without, and listens.

In:  the starts of this boot that came to no orderly end (crash, watchdog, out of memory), noted in a small file.
Out: `Care`: what this start leaves out, and why.
Power cuts do not count: they end the boot, and a car cuts the power every day. Nothing recorded is deleted.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from packbox.adapters.durable import write_atomically
from packbox.adapters.journal.files import set_aside
from packbox.core.stamp import NS_PER_MS
from packbox.ports import Clock

log = logging.getLogger(__name__)

STARTS_FILE: Final = "starts.json"
WINDOW_MS: Final = 600_000  # slower crashes lose little: the state is saved every ten seconds
NO_ASKING_FROM: Final = 3
NEW_STORE_FROM: Final = 6  # the state itself may be what crashes us: begin anew beside it
NO_SENDING_FROM: Final = 9
CAREFUL_MAX_S: Final = 3600.0  # then it is tried in full again


@dataclass(frozen=True, slots=True)
class Care:
    """What to leave out this time. `why` None: nothing."""

    why: str | None = None
    may_ask: bool = True
    may_send: bool = True


IN_FULL: Final = Care()


class CrashGuard:
    """First `begin`, before the journal is opened; `left` at an orderly end."""

    def __init__(self, journal: Path, clock: Clock) -> None:
        self._journal = journal
        self._file = journal.with_name(STARTS_FILE)
        self._clock = clock

    def begin(self) -> Care:
        """Note this start, and judge by those before it. At most once a boot the journal is set aside."""
        now = self._clock.now()
        now_ms = now.mono_ns // NS_PER_MS
        starts, begun_anew = self._read(now.boot)
        crashes = [ms for ms in starts if now_ms - ms <= WINDOW_MS]
        if len(crashes) >= NEW_STORE_FROM and not begun_anew:
            begun_anew = self._begin_anew(len(crashes))
        self._write({"boot": now.boot, "starts_ms": [*crashes, now_ms], "begun_anew": begun_anew})
        if len(crashes) < NO_ASKING_FROM:
            return IN_FULL
        care = Care(f"{len(crashes)} crashes within 10 min", may_ask=False, may_send=len(crashes) < NO_SENDING_FROM)
        log.error("crashes again and again: leaves out what it can", extra={"WHY": care.why, "SENDS": care.may_send})
        return care

    def left(self) -> None:
        """This start came to an orderly end."""
        self._file.unlink(missing_ok=True)

    def _begin_anew(self, crashes: int) -> bool:
        try:
            moved = set_aside(self._journal)
        except OSError as problem:
            log.error("the journal cannot be set aside: %s", problem)
            return False
        log.error("%d crashes: a new store begins, the old journal is kept", crashes, extra={"FILE": str(moved)})
        return True

    def _read(self, boot: str) -> tuple[list[int], bool]:
        """The starts of this boot. A file that says nothing sensible is none."""
        try:
            said = json.loads(self._file.read_text(encoding="utf-8"))
            if said["boot"] == boot:
                return [int(ms) for ms in said["starts_ms"]], bool(said["begun_anew"])
        except (OSError, ValueError, KeyError, TypeError):
            pass
        return [], False

    def _write(self, said: dict[str, object]) -> None:
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self._file, json.dumps(said).encode(), 0o600)
        except OSError as problem:  # a full disk: listening goes on in memory, and so does this
            log.warning("this start cannot be noted: %s", problem)
