"""The ports behind the operator's pages, put together; and the desk through which these pages do something.

In:  settings and a database, read here; written by whoever may (see `app.operate`).
Out: `web.fleet.room.Fleet`, and a task that keeps the list of batteries true.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

from packbook.adapters.authority import Authority, fingerprint_of
from packbook.adapters.store.database import Database
from packbook.adapters.store.fleet import SqlFleetList
from packbook.adapters.store.fleet_boxes import SqlFleetBoxes
from packbook.adapters.store.fleet_papers import SqlFleetPapers
from packbook.adapters.store.judging import judge
from packbook.app import enrolment, quarantine
from packbook.app.alerts import alerts_of
from packbook.app.operate import Act, Do, Office, OperateError, doing
from packbook.app.token import COUNT_MAX, FLEET
from packbook.clock import now_ms
from packbook.core.enrolment import MS_PER_DAY
from packbook.core.labels import Label
from packbook.ports.trouble import SettingsError, StoreError
from packbook.settings import Settings
from packbook.web.fleet.room import Fleet
from packwire import __version__
from packwire.codec import shown
from packwire.enrolment import code_digest, grouped, new_code, plain_code
from packwire.errors import Malformed, WireError
from packwire.seal import peek, read

ACTS: Final[dict[str, Act]] = {**enrolment.ACTS, **quarantine.ACTS}
JUDGE_EVERY_S: Final = 20.0
JUDGED_MOST: Final = 200  # then new batteries come first again
JUDGE_REST: Final = 9.0  # a tenth of a processor for forecasts: by 28 ms each, eight hours for 100,000 batteries
DAYS_MAX: Final = 365.0

log = logging.getLogger(__name__)


class BookDesk:
    """`ports.FleetDesk`."""

    def __init__(self, settings: Settings, do: Do) -> None:
        self._settings = settings
        self._do = do

    @property
    def why_no_codes(self) -> str | None:
        if self._settings.ca == "external":
            return "ca = external"
        if self._settings.ca_dir is None:
            return "ca_dir"
        return "enrol_url" if self._settings.enrol_url is None else None

    async def do(self, act: str, wish: Mapping[str, Any]) -> Any:  # noqa: ANN401 - JSON
        return await self._do(act, wish)

    async def new_codes(self, count: int, fleet: str, days: float, replaces: str | None, who: str) -> Sequence[Label]:
        if not 1 <= count <= COUNT_MAX or not 0.0 < days <= DAYS_MAX or not FLEET.fullmatch(fleet):
            raise OperateError("codes: their number, days or the fleet's name is out of range; none was made")
        if replaces is not None and count != 1:
            raise OperateError("one code for one box: a box is replaced by one")
        codes = [new_code() for _ in range(count)]
        expires_ms = now_ms() + int(days * MS_PER_DAY)
        labels = [self.label(code, fleet, expires_ms) for code in codes]  # before anything is kept
        wish = {
            "digests": [code_digest(code).hex() for code in codes],
            "fleet": fleet,
            "expires_ms": expires_ms,
            "replaces": replaces,
            "who": who,
        }
        await self._do("codes.keep", wish)
        return labels

    def label(self, code: str, fleet: str, expires_ms: int) -> Label:
        if self._settings.ca_dir is None or self._settings.enrol_url is None:
            raise SettingsError(f"{self.why_no_codes}: not set; labels say where boxes enrol, and with whom")
        if not FLEET.fullmatch(fleet):
            raise OperateError("this is no name of a fleet")
        try:
            whole = grouped(plain_code(code))
        except Malformed as problem:
            raise OperateError(str(problem)) from problem
        root = fingerprint_of(Authority(self._settings.ca_dir).root)
        return Label(self._settings.enrol_url, whole, root, fleet, expires_ms)

    def opened(self, payload: bytes) -> Mapping[str, Any] | str:
        """Its signature is not checked here: it stands in quarantine."""
        try:
            sealed = peek(payload)
        except WireError as problem:
            return str(problem)
        at = sealed.envelope
        told: dict[str, Any] = {
            "box": at.box,
            "store": at.store,
            "seq": at.seq,
            "previous": at.previous.hex(),
            "boot": at.boot,
            "mono_ms": at.mono_ms,
            "wall_ms": at.wall_ms,
            "kind": sealed.kind_number,
            "key_id": sealed.key_id.hex(),
            "signature": sealed.signature.hex(),
        }
        try:
            return told | {"says": shown(read(sealed).message, all_fields=False)}
        except WireError as problem:
            return told | {"unreadable": str(problem)}


def fleet_of(office: Office, *, own: bool) -> Fleet:
    """`own`: see `app.operate.doing`."""
    database = office.database
    desk = BookDesk(office.settings, doing(office, ACTS, own=own))
    alerts = alerts_of(office, own=own)
    return Fleet(SqlFleetList(database), SqlFleetBoxes(database), SqlFleetPapers(database), desk, alerts)


async def keep_judged(database: Database) -> None:
    """Until cancelled. Trouble with the database is the collector's to end on; here the next turn is early enough."""
    while True:
        try:
            while await judge(database, now_ms(), __version__, most=JUDGED_MOST, rest=JUDGE_REST) == JUDGED_MOST:
                pass
        except StoreError as problem:
            log.warning("could not look at the fleet: %s", problem)
        await asyncio.sleep(JUDGE_EVERY_S)
