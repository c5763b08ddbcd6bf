"""Who held a battery, and what it counted as: a chain of hand-overs that anybody can check.

In:  the links of a chain as bytes, the life-cycle rules by version. Out: a `Chain`, and the first link that is broken.
Each link names the digest of the one before it, so none can be taken out, put in or moved; each is given by who took
the one before; status and passports change as the rules say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from packbook.core.handover import Link, NotACustody, Statement, read_link
from packbook.core.lifecycle import LifeCycle

Rules = Callable[[str], LifeCycle | None]  # by version; None: not known here


@dataclass(frozen=True, slots=True)
class Broken:
    number: int  # of the link, from 1
    why: str


@dataclass(frozen=True, slots=True)
class Chain:
    """`links`: those that hold. `broken`: the first that does not."""

    links: tuple[Link, ...] = ()
    broken: Broken | None = None

    @property
    def last(self) -> Statement | None:
        return self.links[-1].statement if self.links else None

    @property
    def head(self) -> bytes | None:
        return self.links[-1].digest if self.links else None

    @property
    def passport_id(self) -> str | None:
        """The one in force; None: nobody named one."""
        named = [link.statement.passport_id for link in self.links if link.statement.passport_id is not None]
        return named[-1] if named else None

    @property
    def closed(self) -> tuple[tuple[str, str], ...]:
        """Passports that another one followed, each with the day of its end."""
        return tuple((before, link.statement.on) for link in self.links for before in link.statement.passport_before)


def verify(links: Sequence[bytes], rules: Rules, *, first: bytes | None = None) -> Chain:
    """`first`: the key that the chain must begin with; None: whoever began it is taken at his word."""
    chain = Chain()
    for number, data in enumerate(links, start=1):
        try:
            link = read_link(data)
        except NotACustody as problem:
            return Chain(chain.links, Broken(number, str(problem)))
        why = objection(chain, link.statement, rules)
        if number == 1 and first not in (None, link.statement.giver.key):
            why = f"it begins with {link.statement.giver.did}, not with the party you named"
        if why is not None:
            return Chain(chain.links, Broken(number, why))
        chain = Chain((*chain.links, link))
    return chain


def objection(chain: Chain, said: Statement, rules: Rules) -> str | None:
    """Why this statement cannot follow; None: it can."""
    law = rules(said.rules)
    if law is None:
        return f"life-cycle rules of version {said.rules} are not known here"
    return _does_not_connect(chain, said) or _not_allowed(chain, said, law) or _passport_wrong(chain, said, law)


def _does_not_connect(chain: Chain, said: Statement) -> str | None:
    last = chain.last
    if said.previous != chain.head:
        return "it does not follow the link before it: another digest is named"
    if last is None:
        return None
    if said.battery != last.battery:
        return f"it is of battery {said.battery}, the chain of {last.battery}"
    if last.recycled:
        return f"the battery was recycled on {last.on}; nothing follows"
    if said.giver.key != last.taker.key:
        return f"{said.giver.name} ({said.giver.did}) gives what {last.taker.name} ({last.taker.did}) holds"
    if said.on < last.on:
        return f"its day {said.on} is before {last.on}, the day of the link before it"
    return None


def _not_allowed(chain: Chain, said: Statement, law: LifeCycle) -> str | None:
    if said.role not in law.roles:
        return f"role {said.role}: is none of {', '.join(law.roles)}"
    before = None if chain.last is None else chain.last.status
    step = law.step(before, said.status)
    if step is None:
        return f"status {said.status}: cannot follow {before or 'nothing'}"
    wanted = step.documents
    if said.recycled:
        end = law.recycled
        if said.status != end.status or said.role not in end.roles:
            return f"only a {' or '.join(end.roles)} recycles, and what counts as {end.status}"
        wanted = max(wanted, end.documents)
    if len(said.documents) < wanted:
        return f"status {said.status}: needs {wanted} document, {len(said.documents)} are named"
    return None


def _passport_wrong(chain: Chain, said: Statement, law: LifeCycle) -> str | None:
    now = chain.passport_id
    step = law.step(None if chain.last is None else chain.last.status, said.status)
    if step is not None and step.new_passport and said.passport_id in (None, now):
        return f"status {said.status}: begins a new passport, and none is named"
    if said.passport_id is None:
        return "a passport is closed, and none is named that follows it" if said.passport_before else None
    if said.passport_id in (*said.passport_before, *(before for before, _ in chain.closed)):
        return f"passport {said.passport_id} was closed and cannot begin again"
    if now not in (None, said.passport_id, *said.passport_before):
        return f"passport {said.passport_id} does not say that it follows {now}"
    if now == said.passport_id and said.passport_before:
        return f"passport {now} is in force already"
    return None
