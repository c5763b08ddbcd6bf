"""Two verifiers of credentials that share no code with us or each other: openvc-core, and the JavaScript suite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from openvc.did.base import DidDocument, DidResolverRegistry, parse_did_document
from openvc.did.did_key import DidKeyResolver
from openvc.proof.di_jcs import EddsaJcsProofSuite

from packbook.core import did
from passport import js

Documents = Mapping[str, Mapping[str, Any]]  # by DID


class AtHand:
    """What a resolver of did:web would fetch."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    def supports(self, name: str) -> bool:
        return name in self._documents

    def resolve(self, name: str) -> DidDocument:
        return parse_did_document(dict(self._documents[name]))


def by_openvc(document: dict[str, Any], documents: Documents, now: datetime) -> None:
    """Raises ProofError."""
    resolver = DidResolverRegistry([DidKeyResolver(), AtHand(documents)])
    EddsaJcsProofSuite().verify(document, resolver=resolver, now=now)


def by_javascript(
    credentials: Sequence[Mapping[str, Any]], documents: Documents, keys: Sequence[bytes] = ()
) -> list[str | None]:
    """Of each null, or what is wrong. `keys`: of did:keys that sign."""
    known = {**documents, **{did.did_key(key): did.document(did.did_key(key), [key]) for key in keys}}
    multikey = {"@context": "https://w3id.org/security/multikey/v1"}
    methods = {
        method["id"]: multikey | method for document in known.values() for method in document["verificationMethod"]
    }
    return js.ask(documents={**known, **methods}, credentials=credentials)["credentials"]
