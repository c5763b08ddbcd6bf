"""The format `aas`: an AAS environment, of two mappings: the condition's and the nameplate's."""

from __future__ import annotations

from packbook.adapters.rules import RuleBook
from packbook.core.formats import Made, aas
from packbook.core.passport import Passport
from packbook.settings import Settings

SUFFIX = aas.SUFFIX


def make(_settings: Settings, passport: Passport, rules: RuleBook) -> Made:
    condition = rules.load("idta-productcondition", aas.MAPPING)
    return aas.make(passport, condition, rules.load("idta-nameplate", aas.Nameplate))
