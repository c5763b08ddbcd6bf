"""Battery Pass PerformanceAndDurability, the block `batteryCondition`.

In:  a record, and the model's version as data. Out: JSON with the groups that have evidence.
The model requires fifteen groups; a car fills eleven at best. The missing ones are listed, never invented: the block is
then incomplete by the model's schema, each group in it is complete.
"""

from __future__ import annotations

from typing import Final

from packbook.core.formats import LeftOut, Made
from packbook.core.formats.groups import Model, fill
from packbook.core.formats.writing import Account, as_json
from packbook.core.passport import Passport

SUFFIX: Final = ".batterypass.json"
MAPPING: Final = Model
MAKERS: Final = LeftOut("batteryTechicalProperties", "what the maker declares of the model is not in-use data")


def make(passport: Passport, mapping: Model) -> Made:
    account = Account(passport, mapping.no_place)
    condition = fill(account, mapping)
    return Made(as_json({"batteryCondition": condition}), (MAKERS, *account.left_out()))
