"""IDTA 02035-5 ProductCondition as value-only JSON: the shape both AAS servers and Catena-X take.

In:  a record, and the model's version as data. Out: JSON.
Refuses (CannotMake) a record without cycles or state of charge: the model requires them, and none is invented.
"""

from __future__ import annotations

from typing import Final

from packbook.core.formats import Made
from packbook.core.formats.groups import Model, fill
from packbook.core.formats.writing import Account, as_json
from packbook.core.passport import Passport

SUFFIX: Final = ".productcondition.json"
MAPPING: Final = Model


def make(passport: Passport, mapping: Model) -> Made:
    account = Account(passport, mapping.no_place)
    condition = fill(account, mapping)
    return Made(as_json(condition), account.left_out())
