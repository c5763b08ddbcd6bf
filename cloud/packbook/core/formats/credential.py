"""W3C Verifiable Credentials 2.0 of one battery: which one it is, and how it is, apart, each to be signed alone.

In:  a `Passport` cut down to what may be told, the part asked for, and `Terms`: who issues it, when, on what grounds.
Out: an unsigned credential (`credential`), or a box's (`voucher`); `core.data_integrity` signs them. A `presentation`
carries several in one file.
What a signature says: the issuer saw these values, from these sources, by these methods. It does not say that the
car's own battery management was right. Numbers are cut to `DECIMALS` and moments to their day before anything is
signed, so the same record always gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from packbook.core.formats import LeftOut
from packbook.core.formats.writing import as_json, day_utc
from packbook.core.passport import Coverage, Fact, Histogram, Part, Passport

SUFFIX: Final = ".vc.json"
CONTEXT: Final = "https://www.w3.org/ns/credentials/v2"
# For terms that the first context does not know: the fields' names. By address, because verifiers compare contexts as
# texts, and the consortium's own, because it needs no server of ours.
TERMS_CONTEXT: Final = "https://www.w3.org/ns/credentials/undefined-terms/v2"
TYPES: Final = {Part.IDENTITY: "BatteryIdentityCredential", Part.VALUE: "BatteryConditionCredential"}
BOX_TYPE: Final = "MeasuringBoxCredential"
STATUS_TYPE: Final = "BitstringStatusListEntry"
DECIMALS: Final = 6  # finer than the resolution of any field
NO_ADDRESS: Final = "the book has no public address (setting public_url)"
MS_PER_DAY: Final = 86_400_000

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Chain:
    """The records behind the values: whoever holds record `upto` of this store can tell whether any was changed."""

    box: str
    store: str
    upto: int
    digest: bytes  # of record `upto`, as the record after it carries it (SHA-256, shortened)


@dataclass(frozen=True, slots=True)
class Resource:
    """Something outside that the credential speaks for, by its digest."""

    id: str
    digest: str  # sha256-BASE64, as Subresource Integrity writes it
    media_type: str


@dataclass(frozen=True, slots=True)
class Terms:
    """What a credential says besides the record itself. Absent: it is not said."""

    id: str  # URI of the credential
    issuer: str  # a DID
    at_ms: int
    valid_days: int | None = None
    status_list: str | None = None  # address of the list
    status_index: int | None = None
    schema: Resource | None = None
    previous: Resource | None = None  # the credential of this part that was issued before
    chains: Sequence[Chain] = ()
    resources: Sequence[Resource] = ()  # an evidence bundle


def credential(passport: Passport, part: Part, fields: Mapping[str, Part], subject: str, terms: Terms) -> Json:
    """`fields`: which part each field belongs to. `subject`: URI of the battery."""
    chosen = {name: facts for name, facts in passport.facts.items() if fields.get(name) is part}
    about: Json = {
        "id": subject,
        "type": "Battery",
        "battery": passport.battery,
        "category": passport.category,
        "rules": dict(passport.rules),
        "facts": {name: said for name, facts in chosen.items() if (said := [_fact(f) for f in facts if _known(f)])},
    }
    unknown = [{"field": name, "why": fact.why} for name, facts in chosen.items() for fact in facts if fact.why]
    if unknown:
        about["unknown"] = unknown
    if part is Part.VALUE and passport.coverage is not None:
        about["coverage"] = _coverage(passport.coverage)
    return _envelope(TYPES[part], terms, about)


def voucher(box: str, box_did: str, terms: Terms) -> Json:
    """The issuer's word that this key is that box's."""
    return _envelope(BOX_TYPE, terms, {"id": box_did, "type": "MeasuringBox", "box": box})


def presentation(credentials: Sequence[Mapping[str, Any]]) -> bytes:
    return as_json(
        {"@context": [CONTEXT], "type": ["VerifiablePresentation"], "verifiableCredential": list(credentials)}
    )


def left_out(passport: Passport, fields: Mapping[str, Part], terms: Terms) -> tuple[LeftOut, ...]:
    nameless = [LeftOut(name, "no rule says which part it belongs to") for name in passport.facts if name not in fields]
    valueless = [
        LeftOut(name, fact.why or "no value")
        for name, facts in passport.facts.items()
        for fact in facts
        if not _known(fact) and name in fields
    ]
    absent = []
    if terms.schema is None:  # the same address would carry the status list
        absent += [LeftOut(place, NO_ADDRESS) for place in ("credentialStatus", "credentialSchema")]
    if not terms.chains:
        absent.append(LeftOut("evidence", "no chain of records was named: 'packbook credential issue' names them"))
    if not terms.resources:
        absent.append(LeftOut("relatedResource", "no evidence bundle was named"))
    return (*nameless, *valueless, *absent)


def day_ms(at_ms: int) -> int:
    """The beginning of its day: a moment would tell when somebody was up."""
    return at_ms - at_ms % MS_PER_DAY


def _envelope(kind: str, terms: Terms, subject: Json) -> Json:
    document: Json = {
        "@context": [CONTEXT, TERMS_CONTEXT],
        "id": terms.id,
        "type": ["VerifiableCredential", kind],
        "issuer": terms.issuer,
        "validFrom": day_utc(terms.at_ms),
    }
    if terms.valid_days is not None:
        document["validUntil"] = day_utc(terms.at_ms + terms.valid_days * MS_PER_DAY)
    document["credentialSubject"] = subject
    if terms.status_list is not None:
        document["credentialStatus"] = {
            "id": f"{terms.status_list}#{terms.status_index}",
            "type": STATUS_TYPE,
            "statusPurpose": "revocation",
            "statusListIndex": str(terms.status_index),
            "statusListCredential": terms.status_list,
        }
    if terms.schema is not None:
        document["credentialSchema"] = {
            "id": terms.schema.id,
            "type": "JsonSchema",
            "digestSRI": terms.schema.digest,
        }
    if terms.chains:
        document["evidence"] = [_chain(chain) for chain in terms.chains]
    if terms.resources:
        document["relatedResource"] = [_resource(resource) for resource in terms.resources]
    if terms.previous is not None:
        document["previousCredential"] = _resource(terms.previous)
    return document


def _known(fact: Fact) -> bool:
    return fact.value is not None


def _fact(fact: Fact) -> Json:
    said: Json = {
        "value": _histogram(fact.value) if isinstance(fact.value, Histogram) else _rounded(fact.value),
        "unit": fact.unit,
        "source": fact.source.value,
        "by": fact.by,
    }
    optional = {
        "at": None if fact.at_ms is None else day_utc(fact.at_ms),
        "method": fact.method,
        "sigma": _rounded(fact.sigma),
        "lo90": _rounded(fact.lo90),
        "hi90": _rounded(fact.hi90),
        "conditions": {key: _rounded(value) for key, value in fact.conditions.items()} or None,
        "records": [{"box": one.box, "store": one.store, "seq": one.seq} for one in fact.evidence] or None,
    }
    return said | {key: value for key, value in optional.items() if value is not None}


def _histogram(histogram: Histogram) -> Json:
    """Row-major, as in the record; an open end is null."""
    return {
        "axes": [{"axis": axis.name, "unit": axis.unit, "edges": list(axis.edges)} for axis in histogram.axes],
        "counts": list(histogram.counts),
    }


def _coverage(coverage: Coverage) -> Json:
    said = {
        "since": None if coverage.since_ms is None else day_utc(coverage.since_ms),
        "until": None if coverage.until_ms is None else day_utc(coverage.until_ms),
        "observed_s": _rounded(coverage.observed_s),
        "inferred_s": _rounded(coverage.inferred_s),
        "unobserved_s": _rounded(coverage.unobserved_s),
        "observed_ah": _rounded(coverage.observed_ah),
        "observed_km": _rounded(coverage.observed_km),
        "odometer_km": _rounded(coverage.odometer_km),
    }
    return {key: value for key, value in said.items() if value is not None}


def _chain(chain: Chain) -> Json:
    return {
        "type": "RecordChain",
        "box": chain.box,
        "store": chain.store,
        "upto": chain.upto,
        "digest": chain.digest.hex(),
    }


def _resource(resource: Resource) -> Json:
    return {"id": resource.id, "digestSRI": resource.digest, "mediaType": resource.media_type}


def _rounded(value: float | int | str | None) -> float | int | str | None:
    return round(value, DECIMALS) + 0.0 if isinstance(value, float) else value  # + 0.0: minus zero is zero
