"""Who held a battery, and what it counted as: a chain of hand-overs that anybody can check.

In:  the links of a chain as bytes, the life-cycle rules by version. Out: a `Chain`, and the first link that is broken.
Each link names the digest of the one before it, so none can be taken out, put in or moved; each is given by who took
the one before; status and passports change as the rules say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from packbook.core.declared import Declared, day_ms
from packbook.core.handover import Link, NotACustody, Statement, read_link
from packbook.core.lifecycle import LifeCycle
from packbook.core.passport import Passport

METHOD: Final = "custody/1"
DIGEST_SHOWN: Final = 16  # hex digits: enough to find a link by

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


def said_by(chain: Chain) -> list[Declared]:
    """What a chain says, field by field. It goes behind what was declared without a signature, and so before it."""
    said = [one for link in chain.links for one in _said(link)]
    if chain.broken is not None:
        why = f"link {chain.broken.number} does not hold: {chain.broken.why}"
        said.append(Declared("custody", why, "book", 0, method=METHOD, conditions={"broken": "yes"}))
    return said


def _said(link: Link) -> list[Declared]:
    """Both signed; he who takes over answers for it from then on."""
    told = link.statement

    def declared(name: str, value: str, by: str = told.taker.name, **more: str) -> Declared:
        return Declared(name, value, by, day_ms(told.on) or 0, on=told.on, method=METHOD, conditions=more)

    link_digest = link.digest.hex()[:DIGEST_SHOWN]
    documents = {"document": "; ".join(told.documents)} if told.documents else {}
    ended = {"recycled_on": told.on} if told.recycled else {}
    handed = {"role": told.role, "status": told.status, "link": link_digest, **documents}
    said = [declared("custody", told.taker.name, told.giver.name, **handed), declared("status", told.status, **ended)]
    if told.category is not None:
        said.append(declared("category", told.category))
    if told.passport_id is not None:
        said.append(declared("passport_id", told.passport_id))
    said += [declared("passport_before_id", before, closed_on=told.on) for before in told.passport_before]
    return said


def what_is_left(passport: Passport, keeps: Sequence[str]) -> Passport:
    """After recycling the passport ceases to exist: these fields are kept, and nothing of the battery's life."""
    facts = {name: found for name, found in passport.facts.items() if name in keeps}
    return replace(passport, facts=facts, coverage=None)
