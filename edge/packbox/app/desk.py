"""The box's desk for what its operator sends: believe it or not, keep it, put it in force, do it, report it.

In:  messages of the down-link, the file of what was sent before, the owner's decisions.
Out: the settings in force (`settings`, `agreed`), events that tell what came of each message, the wish to start anew.
Refuses what is not signed by the operator's key for this box, old versions, and whatever the settings do not bear: then
everything stays as it was. A configuration comes into force as the box starts anew within its process: whole, never in
parts. Until the book has answered once it is on trial: a box that can no longer be reached goes back by itself.
Nothing from here makes a box ask the car that its owner did not allow to: `inspect` needs his own decision.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec

from packbox.adapters.downlink_file import Accepted, Downlink, DownlinkFileError, read_downlink, write_downlink
from packbox.app.agreement import Agreed, agreed
from packbox.app.ask import Asking
from packbox.app.carry import LinkReport, Offload
from packbox.app.log_tail import LogTail
from packbox.app.mind import Mind
from packbox.app.overlay import laid_over, said
from packbox.core.courtesy import Consent
from packbox.core.outcome import EventName
from packbox.core.record import BoxId
from packbox.ports import Clock, Journal, PackboxError
from packbox.settings import Settings
from packwire import ids
from packwire.command import Command, CommandKind, decode_command
from packwire.config import Config, decode_config
from packwire.errors import WireError
from packwire.topics import Leaf

LOOK_EVERY_S: Final = 2.0
TRIAL_SAVE_S: Final = 600.0  # a power cut forgets at most so much of a trial
POST_MAX: Final = 16  # messages at once; both topics are retained, so what does not fit comes again
REFUSALS_TOLD_MAX: Final = 20  # per start: a stranger at the broker must not fill the history
REFUSED_KEPT: Final = 16
DONE_KEPT: Final = 256
DONE_KEPT_MS: Final = 30 * 86_400_000  # after a command expired: how wrong a clock may be
TEXT_CHARS: Final = 160
S_PER_H: Final = 3600.0

log = logging.getLogger(__name__)


class Desk:
    """First made, then `serve` beside the other tasks. `again`: leave and start anew, something else is in force."""

    def __init__(self, own: Settings, box: BoxId, *, crashed: bool = False) -> None:
        self.again = False
        self.asking: Asking | None = None
        self.refused: str | None = None  # the newest refusal, for health
        self._own = own
        self._box = ids.BoxId(box)
        self._post: deque[tuple[str, bytes]] = deque()
        self._news = asyncio.Event()
        self._held: list[tuple[bytes, Command]] = []  # until the clock is set and the car is known
        self._telling = 0
        self._refusals = 0
        self._state = self._opened()
        self.settings = own
        self._config: Config | None = None
        self._lay_over(crashed=crashed)
        self.agreed: Agreed = agreed(self.settings)

    @property
    def version(self) -> int:
        """Of the configuration in force; 0: the box's own settings."""
        return self._config.version if self._config is not None else 0

    @property
    def trouble(self) -> str | None:
        return self.refused or self.agreed.trouble

    def put(self, leaf: str, payload: bytes) -> None:
        """A message came. Never waits."""
        if len(self._post) < POST_MAX:
            self._post.append((leaf, payload))
            self._news.set()

    def begin_anew(self) -> None:
        """Something was found out that holds from the start on. Never waits."""
        self.again = True
        self._news.set()

    # -- at the start ------------------------------------------------------------------------------------------------

    def _opened(self) -> Downlink:
        try:
            state = read_downlink(self._own.data_dir)
        except DownlinkFileError as problem:
            log.error("the operator's configuration is lost, own settings hold: %s", problem)
            state = Downlink(unsaid=((EventName.CONFIG_UNDONE, "the file of what was sent cannot be read"),))
        key_set = bytes.fromhex(self._own.operator_key) if self._own.operator_key else None
        if state.key_set != key_set:  # somebody at the box has the last word
            state = msgspec.structs.replace(state, operator=None, operator_before=None, key_set=key_set)
        return state

    def _lay_over(self, *, crashed: bool) -> None:
        """What was in force before the restart is in force again, unless it does more harm than good."""
        if self._own.operator_key is None or self._state.in_force is None:
            return
        if crashed and self._state.on_trial:
            self._undo("the box crashed again and again with it")
        while (accepted := self._state.in_force) is not None:
            try:
                config = decode_config(accepted.signed, self._box, accepted.signer)
                self.settings, self._config = laid_over(self._own, config), config
            except (WireError, PackboxError) as problem:
                log.error("a configuration cannot be used any more: %s", problem)
                self._undo(str(problem))
            else:
                return

    def _undo(self, why: str) -> None:
        gone = self._state.in_force
        assert gone is not None
        log.warning("the operator's configuration is taken back: %s", why)
        self._save(
            msgspec.structs.replace(
                self._state,
                in_force=self._state.before,
                before=None,
                on_trial=False,
                operator=self._state.operator_before if self._state.on_trial else self._state.operator,
                refused=(*self._state.refused, _digest(gone.signed))[-REFUSED_KEPT:],
                unsaid=(*self._state.unsaid, (EventName.CONFIG_UNDONE, why[:TEXT_CHARS])),
            )
        )

    # -- while the box runs ------------------------------------------------------------------------------------------

    async def serve(
        self,
        mind: Mind,
        journal: Journal,
        link: LinkReport | None,
        offload: Offload,
        clock: Clock,
        tail: LogTail,
        committed: asyncio.Event,
        leave: Callable[[], None],
    ) -> None:
        """Until something else is in force; then `leave` is called and `again` is set."""
        work = _Work(self, mind, journal, offload, clock, tail, committed)
        if self.agreed.agreement is not None:
            await offload(partial(mind.agree, self.agreed.agreement))
        now_s = asyncio.get_running_loop().time
        while not self.again:
            began_s = now_s()
            await self._wait()
            if await self._read_post():
                break
            await work.do_held()
            await self._tell(mind, offload)
            if link is not None:
                self._try_out(link, mind, now_s() - began_s)
            await self._look_at_consent()
        log.info("something else is in force: the box starts anew")
        leave()

    async def _read_post(self) -> bool:
        """Whether something else is in force now."""
        while self._post and not self.again:
            leaf, payload = self._post.popleft()
            if leaf == Leaf.CONFIG:
                await asyncio.to_thread(self._take_config, payload)
            else:
                self._take_command(payload)
        return self.again

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(LOOK_EVERY_S):
                await self._news.wait()
        except TimeoutError:
            pass
        self._news.clear()

    async def _look_at_consent(self) -> None:
        if await asyncio.to_thread(agreed, self.settings) != self.agreed:
            log.info("the owner decided anew")
            self.again = True

    async def _tell(self, mind: Mind, offload: Offload) -> None:
        """Once in the history it leaves the file; a power cut between the two tells it twice, never not at all."""
        unsaid = self._state.unsaid
        if self._telling and not mind.pending:
            self._save(msgspec.structs.replace(self._state, unsaid=unsaid[self._telling :]))
            self._telling = 0
        elif unsaid and not self._telling and mind.may_tell:
            for event, text in unsaid:
                await offload(partial(mind.tell, EventName(event), text))
            self._telling = len(unsaid)

    # -- configurations ----------------------------------------------------------------------------------------------

    def _take_config(self, data: bytes) -> None:
        state = self._state
        if state.in_force is not None and data == state.in_force.signed:
            return None  # retained: it comes with every connection
        key = self._operator()
        if key is None:
            return self._refuse(EventName.CONFIG_REFUSED, "no operator key is set at this box", data)
        try:
            config = decode_config(data, self._box, key)
            if config.version <= state.highest:
                text = f"version {config.version} is not above {state.highest}, the highest that was in force"
                return self._refuse(EventName.CONFIG_REFUSED, text, data)
            laid_over(self._own, config)
        except (WireError, PackboxError) as problem:
            return self._refuse(EventName.CONFIG_REFUSED, str(problem), data)
        return self._accept(config, Accepted(data, key))

    def _accept(self, config: Config, accepted: Accepted) -> None:
        state = self._state
        new = msgspec.structs.replace(
            state,
            in_force=accepted,
            before=state.before if state.on_trial else state.in_force,
            on_trial=True,
            trial_left_s=config.trial_h * S_PER_H,
            highest=config.version,
            operator=config.operator_key or state.operator,
            operator_before=state.operator_before if state.on_trial else state.operator,
            refused=(),
            unsaid=(*state.unsaid, (EventName.CONFIG_APPLIED, said(config)[:TEXT_CHARS])),
        )
        try:
            write_downlink(self._own.data_dir, new)
        except DownlinkFileError as problem:  # it comes again with the next connection
            self.refused = f"version {config.version}: {problem}"
            log.warning("a configuration is not in force: %s", problem)
            return
        log.info("a configuration of the operator", extra={"VERSION": config.version})
        self._state, self.refused, self.again = new, None, True

    def _operator(self) -> bytes | None:
        return self._state.operator or self._state.key_set

    def _try_out(self, link: LinkReport, mind: Mind, passed_s: float) -> None:
        state = self._state
        if not state.on_trial or self.again:
            return
        if link.delivery.counts.acked or (link.acked_s is not None and not mind.outbox.waiting):
            log.info("the book answers: the operator's configuration stays", extra={"VERSION": self.version})
            self._save(msgspec.structs.replace(state, on_trial=False, before=None, operator_before=None))
            return
        left_s = state.trial_left_s - passed_s
        self._state = msgspec.structs.replace(state, trial_left_s=left_s)
        if left_s <= 0:
            self._undo(f"version {self.version}: the book did not answer within its trial")
            self.again = True
        elif left_s // TRIAL_SAVE_S != state.trial_left_s // TRIAL_SAVE_S:
            self._save(self._state)

    # -- commands ----------------------------------------------------------------------------------------------------

    def _take_command(self, data: bytes) -> None:
        key = self._operator()
        if key is None:
            return self._refuse(EventName.COMMAND_REFUSED, "no operator key is set at this box", data)
        try:
            command = decode_command(data, self._box, key)
        except WireError as problem:
            return self._refuse(EventName.COMMAND_REFUSED, str(problem), data)
        if command.id not in {known for known, _ in self._state.done}:
            self._held = [held for held in self._held if held[1].id != command.id] + [(data, command)]
            del self._held[:-POST_MAX]
        return None

    def held(self) -> list[tuple[bytes, Command]]:
        held, self._held = self._held, []
        return held

    def hold(self, data: bytes, command: Command) -> None:
        self._held.append((data, command))

    def done(self, command: Command, event: EventName, text: str, now_ms: int) -> None:
        """Done or refused for good: in both cases never again."""
        log.info(
            "a command of the operator: %s", text, extra={"COMMAND": command.command.value, "OUTCOME": event.value}
        )
        kept = [one for one in self._state.done if one[1] + DONE_KEPT_MS > now_ms]
        told = f"{command.id.hex()} {command.command.value}: {text}"
        self._save(
            msgspec.structs.replace(
                self._state,
                done=(*kept, (command.id, command.expires_ms))[-DONE_KEPT:],
                unsaid=(*self._state.unsaid, (event, told[:TEXT_CHARS])),
            )
        )

    def _refuse(self, event: EventName, text: str, data: bytes) -> None:
        """Everything stays as it was. Told once, however often the broker brings it."""
        self.refused = text[:TEXT_CHARS]
        if _digest(data) in self._state.refused or self._refusals >= REFUSALS_TOLD_MAX:
            return
        self._refusals += 1
        log.warning("what came as from the operator is refused: %s", text)
        self._save(
            msgspec.structs.replace(
                self._state,
                refused=(*self._state.refused, _digest(data))[-REFUSED_KEPT:],
                unsaid=(*self._state.unsaid, (event, self.refused)),
            )
        )

    def _save(self, state: Downlink) -> None:
        """Kept in memory where the disk refuses: then a restart may do or tell something twice."""
        self._state = state
        try:
            write_downlink(self._own.data_dir, state)
        except DownlinkFileError as problem:
            log.warning("not on disk: %s", problem)


class _Work:
    """What the three commands do."""

    def __init__(
        self, desk: Desk, mind: Mind, journal: Journal, offload: Offload, clock: Clock, tail: LogTail,
        committed: asyncio.Event,
    ) -> None:  # fmt: skip
        self._desk = desk
        self._mind = mind
        self._journal = journal
        self._offload = offload
        self._clock = clock
        self._tail = tail
        self._committed = committed

    async def do_held(self) -> None:
        for data, command in self._desk.held():
            now_ms = self._clock.now().wall_ms
            if now_ms is None or not self._mind.may_tell:
                self._desk.hold(data, command)  # whether it expired cannot be told yet, or nobody to tell it of
                continue
            if now_ms > command.expires_ms:
                self._desk.done(command, EventName.COMMAND_REFUSED, "expired", now_ms)
                continue
            refusal, text = await self._do(command)
            self._desk.done(command, EventName.COMMAND_REFUSED if refusal else EventName.COMMAND_DONE, text, now_ms)

    async def _do(self, command: Command) -> tuple[bool, str]:
        match command.command:
            case CommandKind.RESEND:
                assert command.from_seq is not None
                rows = await self._offload(partial(self._journal.take_back, command.from_seq, 0, ()))
                self._committed.set()
                return False, f"{rows} records from {command.from_seq} on go again"
            case CommandKind.LOG_SLICE:
                if not self._desk.agreed.diagnostics:
                    return True, "the owner has not agreed to diagnostics"
                lines = self._tail.newest(command.lines)
                await self._offload(partial(self._mind.show_log, command.id.hex(), lines))
                return False, f"{len(lines)} lines"
            case CommandKind.INSPECT:
                if not self._desk.agreed.decided_polling or self._desk.agreed.polling is Consent.NEVER:
                    return True, "the owner has not agreed to polling"
                if self._desk.asking is None:
                    return True, "this box does not ask this car"
                self._desk.asking.renew()
                return False, "everything is asked once more, as the rules allow"


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()[:8]
