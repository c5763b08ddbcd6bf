"""Who may see which field of a passport: roles and purposes over the tiers of Annex XIII, and nothing by default.

In:  an `AccessTable` (made from `rules/access-*.toml` and the fields' tiers), a `Passport`, a `Reader`.
Out: a `Cut`: the passport with the facts this reader may see, and the names of all fields he may not.
A fact that may not be seen is removed whole. What is withheld is listed by the table alone, not by what the battery
has: "negative_event: withheld" must read the same for a battery that never had one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Final

from packbook.core.passport import Coverage, Fact, Passport, Source
from packbook.core.rules import Tier

INTEREST: Final = "interest"  # the role whose purposes have grants of their own
PUBLIC: Final = "public"
NEEDED: Final = ("owner", "operator", "buyer", PUBLIC)  # the program itself asks as these
ALL_BATTERIES: Final = "*"  # in a `Read`: a list with the health of all of them; before a tenant's name: all of his
DAY_MS: Final = 86_400_000
COVERAGE: Final = "coverage"  # of the record, not of a fact; asked for like a field
ODOMETER: Final = "odometer_km"
REFERENCE: Final = frozenset({"soc_pct", "temp_degc"})  # conditions that say how a value is meant, not how the pack is
SOME_BOX: Final = "box"  # who measured, for readers of model data: a box's name leads to its owner
NO_CONSENT: Final = "the owner has not agreed to it"


class AccessError(ValueError):
    """The rules of access cannot be used. The text names field and reason."""


@dataclass(frozen=True, slots=True)
class Reader:
    """Who asks, as an explicit value: a share link makes one today, an account will later.

    `fields`: only these, of those the role may see; None: all of them.
    """

    role: str
    purpose: str | None = None  # of a legitimate interest
    fields: frozenset[str] | None = None
    link: str | None = None  # the share link's id
    account: str | None = None

    @property
    def name(self) -> str:
        """As the table knows the grant: `owner`, `interest/repair`."""
        return self.role if self.purpose is None else f"{self.role}/{self.purpose}"


@dataclass(frozen=True, slots=True)
class Read:
    """For the record: who read what of one battery's own life, and when."""

    at_ms: int
    battery: str
    reader: Reader
    door: str  # page api link export
    what: str  # which page, resource or format
    fields: tuple[str, ...] = ()  # individual ones, of a record; history and bundle name none: they are all


@dataclass(frozen=True, slots=True)
class Grant:
    """What one role, or one purpose of a legitimate interest, may see."""

    fields: frozenset[str]
    needs_consent: bool = True  # individual data only while the owner agrees to the purpose `passport`
    history: bool = False  # also what goes beyond a passport: sessions, times, signed records
    by_link: bool = False  # a share link may carry it


@dataclass(frozen=True, slots=True)
class Sight:
    """One role or purpose, as the rule file says it."""

    tiers: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    needs_consent: bool = True
    history: bool = False
    by_link: bool = False


@dataclass(frozen=True, slots=True)
class AccessRules:
    """The rule file `access-*.toml`."""

    family: str
    version: str
    groups: Mapping[str, tuple[str, ...]]
    roles: Mapping[str, Sight]
    interest: Mapping[str, Sight]  # purposes of a legitimate interest


@dataclass(frozen=True, slots=True)
class Withheld:
    field: str
    tier: Tier


@dataclass(frozen=True, slots=True)
class Cut:
    """`why`: why individual data that the role may see are missing; None: they are not."""

    passport: Passport
    withheld: tuple[Withheld, ...]
    why: str | None


@dataclass(frozen=True, slots=True)
class AccessTable:
    version: str
    tiers: Mapping[str, Tier]  # of every known field, and of COVERAGE
    grants: Mapping[str, Grant]  # by `Reader.name`

    def grant(self, reader: Reader) -> Grant | None:
        return self.grants.get(reader.name)

    def may_see(self, reader: Reader, field: str) -> bool:
        """Unknown roles, purposes and fields: no."""
        grant = self.grants.get(reader.name)
        if grant is None or field not in self.tiers or field not in grant.fields:
            return False
        return reader.fields is None or field in reader.fields

    def individual(self, reader: Reader) -> frozenset[str]:
        """Fields of one battery's own life that this reader may see: reading them is put on record."""
        return frozenset(
            field for field, tier in self.tiers.items() if tier is Tier.INDIVIDUAL and self.may_see(reader, field)
        )

    def individual_in(self, passport: Passport) -> tuple[str, ...]:
        """Fields of one battery's own life that this record holds, for the record of reads."""
        held = [name for name in passport.facts if self.tiers[name] is Tier.INDIVIDUAL]
        return tuple(sorted([*held, COVERAGE] if passport.coverage is not None else held))

    def redact(self, passport: Passport, reader: Reader, *, no_consent: str | None = None) -> Cut:
        """`no_consent`: why the owner's consent is missing, as `core.consent.may_leave` gives it; None: he agreed."""
        grant, individual = self.grant(reader), self.individual(reader)
        closed = grant is None or (grant.needs_consent and no_consent is not None)
        seen = frozenset(field for field in self.tiers if self.may_see(reader, field))
        if closed:
            seen -= individual
        hidden = self.tiers.keys() - seen - REFERENCE
        nameless = not any(self.tiers[field] is Tier.INDIVIDUAL for field in seen)
        facts = {
            field: tuple(_shown(fact, hidden, nameless) for fact in found)
            for field, found in passport.facts.items()
            if field in seen
        }
        cut = replace(
            passport,
            rules={**passport.rules, "access": self.version},
            facts=facts,
            coverage=_coverage(passport.coverage, seen) if COVERAGE in seen else None,
            doubts=() if nameless else passport.doubts,  # whoever sees a figure sees the doubt about it
        )
        withheld = tuple(Withheld(field, tier) for field, tier in sorted(self.tiers.items()) if field not in seen)
        return Cut(cut, withheld, NO_CONSENT if closed and individual else None)


def access_table(rules: AccessRules, tiers: Mapping[str, Tier]) -> AccessTable:
    """`tiers`: of every field that a passport may hold. Raises AccessError."""
    missing = [role for role in NEEDED if role not in rules.roles]
    if missing:
        raise AccessError(f"roles.{missing[0]}: is missing")
    known = {**tiers, COVERAGE: Tier.INDIVIDUAL}
    for group, names in rules.groups.items():
        _must_be_known(f"groups.{group}", names, known, "field")
    grants = {role: _grant(f"roles.{role}", sight, rules, known) for role, sight in rules.roles.items()}
    for purpose, sight in rules.interest.items():
        grants[f"{INTEREST}/{purpose}"] = _grant(f"interest.{purpose}", sight, rules, known)
    leaked = sorted(name for name in grants[PUBLIC].fields if known[name] is not Tier.PUBLIC)
    if leaked or grants[PUBLIC].history:
        what = f"{leaked[0]} is of the tier {known[leaked[0]]}" if leaked else "history is of one battery"
        raise AccessError(f"roles.{PUBLIC}: {what}; anyone may read only what is of the tier {Tier.PUBLIC}")
    return AccessTable(rules.version, known, grants)


def _grant(where: str, sight: Sight, rules: AccessRules, tiers: Mapping[str, Tier]) -> Grant:
    _must_be_known(f"{where}.tiers", sight.tiers, [str(tier) for tier in Tier], "tier")
    _must_be_known(f"{where}.groups", sight.groups, rules.groups, "group")
    _must_be_known(f"{where}.fields", sight.fields, tiers, "field")
    if sight.history and sight.by_link:
        raise AccessError(f"{where}: history does not go with by_link: sessions and times leave by no link")
    seen = {name for name, tier in tiers.items() if tier in sight.tiers}
    seen.update(*(rules.groups[group] for group in sight.groups), sight.fields)
    return Grant(frozenset(seen), sight.needs_consent, sight.history, sight.by_link)


def _must_be_known(where: str, names: Sequence[str], known: Collection[str], kind: str) -> None:
    strange = [name for name in names if name not in known]
    if strange:
        raise AccessError(f"{where}: there is no {kind} {strange[0]!r}")


def _shown(fact: Fact, hidden: Set[str], nameless: bool) -> Fact:
    """Days, not times; no condition that is itself a field he may not see; no names of boxes with model data alone."""
    return replace(
        fact,
        at_ms=_day(fact.at_ms),
        conditions={name: value for name, value in fact.conditions.items() if name not in hidden},
        by=SOME_BOX if nameless and fact.source is Source.MEASURED else fact.by,
        evidence=() if nameless else fact.evidence,
    )


def _coverage(coverage: Coverage | None, seen: frozenset[str]) -> Coverage | None:
    if coverage is None:
        return None
    return replace(
        coverage,
        since_ms=_day(coverage.since_ms),
        until_ms=_day(coverage.until_ms),
        odometer_km=coverage.odometer_km if ODOMETER in seen else None,
        gaps=tuple(replace(gap, at_ms=_day(gap.at_ms)) for gap in coverage.gaps),
    )


def _day(at_ms: int | None) -> int | None:
    return None if at_ms is None else at_ms - at_ms % DAY_MS
