"""The format `dossier`: what second life and recycling ask for, under the table of what is owed."""

from __future__ import annotations

from packbook.adapters.rules import RuleBook
from packbook.core.formats import Made, dossier
from packbook.core.passport import Passport
from packbook.settings import Settings

SUFFIX = dossier.SUFFIX


def make(_settings: Settings, passport: Passport, rules: RuleBook) -> Made:
    return dossier.make(passport, rules.owed())
