"""The format `credential`: what the record says as W3C credentials, identity and condition apart, in one file.

`packbook credential issue` adds what they rest on: chains of records, boxes' keys, a bundle's digest.
"""

from __future__ import annotations

from typing import Final

from packbook.adapters.rules import RuleBook
from packbook.app.credentials import Grounds, base_terms, issue, issuer_of
from packbook.core.formats import Made
from packbook.core.formats import credential as vc
from packbook.core.passport import Part, Passport
from packbook.settings import Settings

SUFFIX: Final = vc.SUFFIX


async def make(settings: Settings, passport: Passport, rules: RuleBook, grounds: Grounds | None = None) -> Made:
    """Raises PackbookError."""
    made = await issue(settings, passport, rules, grounds)
    fields = {name: rule.part for name, rule in rules.fields().fields.items()}
    terms = base_terms(issuer_of(settings), passport.made_ms, Part.VALUE, grounds)
    return Made(vc.presentation(made), vc.left_out(passport, fields, terms))
