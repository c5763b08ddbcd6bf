"""The header of a digital product passport: EN 18223 in the shape of IDTA-02099-1 DppMetadata.

In:  a record in which passport, operator and a web identifier of the battery are declared. Out: JSON.
Refuses (CannotMake) a record without them: who answers for a passport is nobody's guess.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from packbook.core.formats import CannotMake, LeftOut, Made
from packbook.core.formats.writing import Account, Json, as_json, day_utc, newest_ms, text, uri
from packbook.core.passport import Passport

SUFFIX: Final = ".dpp.json"


@dataclass(frozen=True, slots=True)
class Header:
    family: str
    version: str
    source: str
    granularity: str
    schema_version: str
    status: str
    contents: tuple[str, ...]  # the models of the content that this book writes


MAPPING: Final = Header


def make(passport: Passport, mapping: Header) -> Made:
    passport_id, product, operator = text(passport, "passport_id"), uri(passport), text(passport, "operator_id")
    account = Account(passport)
    if not (passport_id and product and operator):
        asked = {
            "digitalProductPassportId": (passport_id, "declare passport_id"),
            "uniqueProductIdentifier": (product, "declare one of identifiers as a URI: it must lead to the passport"),
            "economicOperatorId": (operator, "declare operator_id"),
        }
        lacking = tuple(LeftOut(name, reason) for name, (value, reason) in asked.items() if not value)
        raise CannotMake(f"DPP header {mapping.version}", lacking)
    header: Json = {
        "digitalProductPassportId": passport_id,
        "uniqueProductIdentifier": product,
        "granularity": mapping.granularity,
        "dppSchemaVersion": mapping.schema_version,
        "dppStatus": mapping.status,
        "lastUpdate": day_utc(newest_ms(passport)),
        "economicOperatorId": operator,
    }
    for name in ("passport_id", "operator_id"):
        account.take(name)
    account.take_uri()
    facility = text(passport, "facility_id")
    if facility:
        header["facilityId"] = facility
        account.take("facility_id")
    else:
        account.lacks("facilityId", "facility_id is not declared")
    header["contentSpecificationIds"] = list(mapping.contents)
    return Made(as_json(header), account.left_out())
