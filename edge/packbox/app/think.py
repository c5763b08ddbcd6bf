"""Keep thinking: take what came in, fold it, commit it in time, and bear a journal that cannot be written.

Records go to disk at once; under load, as a recording replayed at full speed makes it, several batches share a commit.
State without records goes to disk every `commit_every_s`, if anything was folded since. The work runs in the one thread
that owns the journal.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Final

from packbox.adapters.herald import Herald
from packbox.app.carry import Offload
from packbox.app.inbox import Inbox
from packbox.app.mind import Mind
from packbox.ports import JournalBrokenError, JournalError

log = logging.getLogger(__name__)

COALESCE_S: Final = 0.25  # a commit costs 13-16 kB of writes (facts/hil-and-pi.md): at most four a second
RETRY_S: Final = 5.0  # a full or read-only disk is rarely mended sooner


class Thinker:
    """`committed` is set when records went to disk."""

    def __init__(
        self,
        mind: Mind,
        inbox: Inbox,
        offload: Offload,
        committed: asyncio.Event,
        herald: Herald,
        commit_every_s: float,
    ) -> None:
        self.trouble = mind.trouble  # why the journal cannot be written now
        self._mind = mind
        self._inbox = inbox
        self._offload = offload
        self._committed = committed
        self._herald = herald
        self._commit_every_s = commit_every_s
        self._saved_s = 0.0  # when the last commit was tried
        self._trouble_began_s = 0.0

    async def run(self, is_over: Callable[[], bool]) -> None:
        """Until the inbox ends. `is_over`: asked then; the source itself ended, and what is open may be closed.

        Raises JournalError when the last of it cannot be saved, JournalBrokenError when the journal is damaged.
        """
        now_s = asyncio.get_running_loop().time
        self._saved_s = self._trouble_began_s = now_s()
        while not self._inbox.ended:
            items = await self._inbox.take(max(0.0, self._next_save_s() - now_s()))
            if items:
                await self._offload(partial(self._mind.fold, items))
                self._herald.alive(now_s())
            waited_out = not items and not self._inbox.ended
            if waited_out or now_s() >= self._next_save_s():
                await self._try_save() if self._mind.unsaved else self._nothing_to_save()
        if is_over():
            await self._offload(self._mind.finish)
        await self._save()

    def _next_save_s(self) -> float:
        if self.trouble is not None:
            return self._saved_s + RETRY_S
        if self._mind.pending:
            return self._saved_s + (0.0 if self._inbox.empty else COALESCE_S)
        return self._saved_s + self._commit_every_s

    def _nothing_to_save(self) -> None:
        """A bus that is down for months must not wear the card out."""
        self._saved_s = asyncio.get_running_loop().time()

    async def _try_save(self) -> None:
        try:
            await self._save()
        except JournalBrokenError:
            raise  # a restart sets the file aside; going on would pile up what can never be written
        except JournalError as problem:
            if self.trouble is None:
                log.warning("cannot save, listening goes on: %s", problem)
                self._trouble_began_s = asyncio.get_running_loop().time()
            self.trouble = str(problem)

    async def _save(self) -> None:
        now_s = asyncio.get_running_loop().time()
        self._saved_s = now_s
        before = self._mind.newest_seq
        try:
            await self._offload(self._mind.commit)
        finally:
            if self._mind.newest_seq > before:
                self._committed.set()
        if self.trouble is not None:
            log.info("saved again after %.0f s", now_s - self._trouble_began_s)
            self.trouble = None
