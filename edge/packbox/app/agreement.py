"""What the owner agrees to, put together from his decisions and from what the box was set to.

In:  the settings and the file of decisions. Out: an `Agreement`, and how much the car may be asked.
Where nobody decided, the box keeps its owner's history and nothing else, and the setting `polling` says what was agreed
when the box was installed. A decision goes above it in one direction only: nothing makes a box ask more than it is set
to. A file of decisions that cannot be read agrees to nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from packbox.adapters.consent_file import ConsentFileError, Decision, read_decisions
from packbox.core.courtesy import Consent
from packbox.core.outcome import Agreement
from packbox.settings import Settings
from packwire.consent import UNDECIDED, Purpose

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Agreed:
    polling: Consent  # how much the car may be asked now
    decided_polling: bool  # the owner himself said yes to it
    agreement: Agreement | None  # None: nobody decided anything yet, nothing is told
    trouble: str | None = None  # why nothing counts as agreed

    @property
    def diagnostics(self) -> bool:
        return self.agreement is not None and Purpose.DIAGNOSTICS in self.agreement.purposes


NOTHING = Agreement((), "owner", "", None)


def agreed(settings: Settings) -> Agreed:
    try:
        decisions = read_decisions(settings.data_dir)
    except ConsentFileError as problem:
        log.error("nothing counts as agreed: %s", problem)
        return Agreed(Consent.NEVER, decided_polling=False, agreement=NOTHING, trouble=str(problem))
    if not decisions:
        return Agreed(settings.polling, decided_polling=False, agreement=None)
    purposes = purposes_of(decisions, settings)
    newest = max(decisions.values(), key=lambda decision: decision.at_ms or 0)
    return Agreed(
        settings.polling if Purpose.POLLING in purposes else Consent.NEVER,
        decided_polling=Purpose.POLLING in decisions and decisions[Purpose.POLLING].given,
        agreement=Agreement(tuple(sorted(purposes)), newest.by, newest.text_version, newest.at_ms),
    )


def purposes_of(decisions: Mapping[str, Decision], settings: Settings) -> frozenset[str]:
    installed = UNDECIDED | ({Purpose.POLLING} if settings.polling is not Consent.NEVER else frozenset())
    given = {purpose for purpose in Purpose if purpose in decisions and decisions[purpose].given}
    return frozenset(given | {purpose for purpose in installed if purpose not in decisions})
