"""A published submodel template, and an instance of ours held against its qualifiers, types and semantic ids."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

BOUNDS: Final[Mapping[str, tuple[int, float]]] = {
    "One": (1, 1),
    "ZeroToOne": (0, 1),
    "ZeroToMany": (0, float("inf")),
    "OneToMany": (1, float("inf")),
}
TYPES: Final = ("modelType", "valueType", "typeValueListElement", "valueTypeListElement")


def cardinality(element: Any) -> str:
    """The template of the nameplate forgets the prefix once."""
    told = {qualifier["type"]: qualifier["value"] for qualifier in element["qualifiers"]}
    return str(told.get("SMT/Cardinality") or told["Cardinality"])


def meaning(element: Any) -> Sequence[str]:
    reference = element.get("semanticId") or {"type": "none", "keys": []}
    return [reference["type"], *(f"{key['type']} {key['value']}" for key in reference["keys"])]


def departures(template: Any, instance: Any) -> list[str]:
    """Where an instance is not what the template asks for: how many, which type, which meaning, and strangers."""
    ours = [] if meaning(template) == meaning(instance) else [f"meaning of {instance['idShort']}"]
    return ours + list(_departures(template["submodelElements"], instance["submodelElements"], ""))


def _departures(wanted: Sequence[Any], given: Sequence[Any], at: str) -> Iterator[str]:
    for element in wanted:
        here = [other for other in given if meaning(other) == meaning(element)]
        least, most = BOUNDS[cardinality(element)]
        path = f"{at}/{element['idShort']}"
        if not least <= len(here) <= most:
            yield f"{path}: {len(here)} for {cardinality(element)}"
        for other in here:
            yield from _differences(element, other, path)
    known = [meaning(element) for element in wanted]
    yield from (f"{at}/{other.get('idShort')}: unknown" for other in given if meaning(other) not in known)


def _differences(element: Any, other: Any, path: str) -> Iterator[str]:
    for kind in TYPES:
        if element.get(kind) != other.get(kind):
            yield f"{path}: {kind} {other.get(kind)} for {element.get(kind)}"
    if other.get("idShort") not in (element["idShort"], None):
        yield f"{path}: idShort {other['idShort']}"
    if element["modelType"] in ("SubmodelElementCollection", "SubmodelElementList"):
        yield from _departures(element["value"], other.get("value", []), path)
