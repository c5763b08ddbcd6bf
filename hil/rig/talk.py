"""JSON lines to QEMU (QMP) and to the agent inside the guest, which speaks the same dialect.

In:  a Unix socket; commands with arguments.
Out: what they return. Refused for an error that the other side states, Late when nothing comes.
Events of QMP are kept, newest last, for who waits for one.
"""

from __future__ import annotations

import itertools
import json
import socket
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from .machine import Late, RigError

RETRY_S: Final = 0.05
EVENTS_KEPT: Final = 100
CHUNK: Final = 1 << 16


class Refused(RigError):
    """The other side understood, and said no."""


class Talk:
    def __init__(self, path: Path, *, within_s: float) -> None:
        self._path = path
        self.events: deque[Mapping[str, Any]] = deque(maxlen=EVENTS_KEPT)
        self._line = _connect(path, within_s)
        self._heard = bytearray()
        self._ids = itertools.count(1)

    def ask(self, command: str, /, *, within_s: float = 30.0, **arguments: object) -> Any:
        number = next(self._ids)
        dashed = {name.replace("_", "-"): value for name, value in arguments.items()}  # as QEMU writes them
        message = {"execute": command, "arguments": dashed, "id": number}
        deadline = time.monotonic() + within_s
        self._say(json.dumps(message).encode() + b"\n", within_s)
        while True:
            answer = self._next(deadline, command)
            if answer.get("id") == number:
                break
            if "event" in answer:
                self.events.append(answer)
        if "error" in answer:
            raise Refused(f"{command}: {answer['error'].get('desc')}")
        return answer["return"]

    def greet(self, *, within_s: float) -> None:
        """QMP begins with a greeting and takes commands after this one."""
        self._next(time.monotonic() + within_s, "greeting")
        self.ask("qmp_capabilities", within_s=within_s)

    def sync(self, *, within_s: float) -> None:
        """With an agent that may not run yet, or be in the middle of an answer to somebody before us."""
        token = next(self._ids)
        asked = {"execute": "guest-sync-delimited", "arguments": {"id": token}}
        deadline = time.monotonic() + within_s
        self._say(b"\xff" + json.dumps(asked).encode() + b"\n", within_s)
        while True:
            self._fill(deadline, "guest-sync-delimited", b"\xff")
            self._heard = self._heard.partition(b"\xff")[2]
            if self._next(deadline, "guest-sync-delimited").get("return") == token:
                return

    def close(self) -> None:
        self._line.close()

    def _say(self, message: bytes, within_s: float) -> None:
        self._line.settimeout(within_s)
        try:
            self._line.sendall(message)
        except TimeoutError as error:
            raise Late(f"{self._path.name} takes nothing") from error

    def _next(self, deadline: float, what: str) -> dict[str, Any]:
        self._fill(deadline, what, b"\n")
        line, _, rest = bytes(self._heard).partition(b"\n")
        self._heard = bytearray(rest)
        answer = json.loads(line)
        assert isinstance(answer, dict)
        return answer

    def _fill(self, deadline: float, what: str, until: bytes) -> None:
        while until not in self._heard:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise Late(f"no answer to {what} from {self._path.name}")
            self._line.settimeout(left_s)
            try:
                chunk = self._line.recv(CHUNK)
            except TimeoutError:
                continue
            if not chunk:
                raise RigError(f"{self._path.name} closed the line at {what}")
            self._heard += chunk


def _connect(path: Path, within_s: float) -> socket.socket:
    deadline = time.monotonic() + within_s
    while True:
        line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            line.connect(str(path))
        except OSError as error:
            line.close()
            if time.monotonic() > deadline:
                raise Late(f"{path}: {error.strerror}") from error
            time.sleep(RETRY_S)
        else:
            return line
