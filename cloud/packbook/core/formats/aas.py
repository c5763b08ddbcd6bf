"""An Asset Administration Shell environment (AAS part 5, JSON) with the submodels of the battery passport.

In:  a record, IDTA ProductCondition's version as data, and that of the nameplate.
Out: one shell of the battery, the submodel ProductCondition, and the BatteryNameplate when a manufacturer is declared.
Template qualifiers and concept descriptions stay in the published templates, to which the semantic ids lead.
Children of a list carry no idShort (constraint AASd-120), which the template released as 1.0.1 breaks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from packbook.core.formats import CannotMake, LeftOut, Made
from packbook.core.formats.groups import NOT_KNOWN, Group, Model, fill
from packbook.core.formats.writing import DAYS, UNWRITABLE, Account, Json, as_json, identifiers, text, uri, writable
from packbook.core.passport import Passport

SUFFIX: Final = ".aas.json"
MAPPING: Final = Model


@dataclass(frozen=True, slots=True)
class Element:
    """`kind`: an XML Schema type, or `languages` for a text in several. `one_of`: the values the model knows."""

    name: str
    kind: Literal["xs:string", "xs:anyURI", "xs:date", "languages"]
    field: str
    semantic_id: str
    one_of: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Nameplate:
    """One version of the battery nameplate. `missing`: what it asks for and no record holds, with the reason."""

    family: str
    version: str
    source: str
    id_short: str
    template: str
    semantic_id: str
    needs: str
    language: str
    elements: tuple[Element, ...]
    missing: Mapping[str, str] = field(default_factory=dict)


def make(passport: Passport, mapping: Model, nameplate: Nameplate | None = None) -> Made:
    """Raises CannotMake as `idta` does."""
    account = Account(passport, mapping.no_place)
    account.take("battery_id")
    account.taken.update(("identifiers", at) for at, _, _ in identifiers(passport))
    plate: list[Json] = []
    if nameplate and text(passport, nameplate.needs):
        plate = _plate(account, nameplate)
    elif nameplate:
        account.lacks(nameplate.id_short, f"no {nameplate.needs} is declared")
    condition = fill(account, mapping)
    asset = uri(passport) or passport.battery
    if not writable(asset):
        raise CannotMake("AAS environment", (LeftOut("globalAssetId", UNWRITABLE),))
    submodels = [_submodel(asset, mapping.aas_id_short, mapping.aas_template, mapping.aas_submodel, mapping.version)]
    submodels[0]["submodelElements"] = [
        _group(group, condition[group.name], mapping) for group in mapping.groups if group.name in condition
    ]
    if nameplate and plate:
        about = (nameplate.id_short, nameplate.template, nameplate.semantic_id, nameplate.version)
        submodels.append(_submodel(asset, *about) | {"submodelElements": plate})
    environment = {"assetAdministrationShells": [_shell(passport, asset, submodels)], "submodels": submodels}
    return Made(as_json(environment), account.left_out())


def _shell(passport: Passport, asset: str, submodels: list[Json]) -> Json:
    specific = [{"name": scheme, "value": value} for _, scheme, value in identifiers(passport)]
    about: Json = {"assetKind": "Instance", "globalAssetId": asset}
    if specific:
        about["specificAssetIds"] = specific
    return {
        "modelType": "AssetAdministrationShell",
        "idShort": "BatteryPassport",
        "id": f"{asset}#aas",
        "assetInformation": about,
        "submodels": [
            {"type": "ModelReference", "keys": [{"type": "Submodel", "value": submodel["id"]}]}
            for submodel in submodels
        ],
    }


def _submodel(asset: str, id_short: str, template: str, semantic_id: str, version: str) -> Json:
    major, _, revision = version.partition(".")
    return {
        "modelType": "Submodel",
        "idShort": id_short,
        "id": f"{asset}#{id_short}",
        "kind": "Instance",
        "administration": {"version": major, "revision": revision.partition(".")[0], "templateId": template},
        "semanticId": _meaning(semantic_id),
    }


def _meaning(semantic_id: str) -> Json:
    return {"type": "ExternalReference", "keys": [{"type": "GlobalReference", "value": semantic_id}]}


def _property(name: str, kind: str, value: object, semantic_id: str) -> Json:
    return {
        "modelType": "Property",
        "idShort": name,
        "semanticId": _meaning(semantic_id),
        "valueType": kind,
        "value": str(value),
    }


def _group(group: Group, content: object, model: Model) -> Json:
    if isinstance(content, dict):
        return _collection(group.name, content, group, model)
    items = [_item(group, item, model) for item in content] if isinstance(content, list) else []
    of: Json = {"typeValueListElement": "SubmodelElementCollection"}
    if group.shape == "documents":
        of = {"typeValueListElement": "Property", "valueTypeListElement": "xs:string"}
    listed: Json = {
        "modelType": "SubmodelElementList",
        "idShort": group.name,
        "semanticId": _meaning(_semantic_id(group.name, model)),
        "orderRelevant": False,
        "semanticIdListElement": _meaning(group.aas_item),
        **of,
    }
    return listed | {"value": items} if items else listed  # AAS knows no empty list, only one without a value


def _item(group: Group, item: object, model: Model) -> Json:
    """One of a list: without idShort."""
    if isinstance(item, dict):
        element = _collection("", item, group, model) | {"semanticId": _meaning(group.aas_item)}
    else:
        element = _property("", "xs:string", item, group.aas_item)
    return {key: value for key, value in element.items() if key != "idShort"}


def _collection(name: str, content: Json, group: Group, model: Model) -> Json:
    kinds = {place.name: place.aas_type for place in group.places}
    kinds |= {model.updated: "xs:dateTime", group.inner_updated: "xs:dateTime", group.text: "xs:string"}
    value: list[Json] = []
    for key, inner in content.items():
        if isinstance(inner, dict):
            value.append(_collection(group.aas_inner, inner, group, model))
        else:
            value.append(_property(key, kinds.get(key, "xs:float"), inner, _semantic_id(key, model)))
    return {
        "modelType": "SubmodelElementCollection",
        "idShort": name,
        "semanticId": _meaning(_semantic_id(name, model)),
        "value": value,
    }


def _semantic_id(name: str, model: Model) -> str:
    """The models name a property as its element, with a small first letter."""
    return model.aas_elements + name[:1].lower() + name[1:]


def _plate(account: Account, nameplate: Nameplate) -> list[Json]:
    elements = []
    for element in nameplate.elements:
        place = f"{nameplate.id_short}.{element.name}"
        value = uri(account.passport) if element.kind == "xs:anyURI" else text(account.passport, element.field)
        if value is None:
            account.lacks(place, f"{element.field}: {NOT_KNOWN}")
        elif element.kind == "xs:date" and not DAYS.fullmatch(value):
            account.lacks(place, f"a day is wanted, {value} is known")
        elif element.one_of and value not in element.one_of:
            account.lacks(place, f"{value} is none of the model's values")
        else:
            if element.kind != "xs:anyURI":  # that one is the shell's
                account.take(element.field)
            elements.append(_named(element, value, nameplate.language))
    for name, reason in nameplate.missing.items():
        account.lacks(f"{nameplate.id_short}.{name}", reason)
    return elements


def _named(element: Element, value: str, language: str) -> Json:
    if element.kind != "languages":
        return _property(element.name, element.kind, value, element.semantic_id)
    return {
        "modelType": "MultiLanguageProperty",
        "idShort": element.name,
        "semanticId": _meaning(element.semantic_id),
        "value": [{"language": language, "text": value}],
    }
