"""`packbook verify-credential FILE`: check credentials, anybody's, without network and without settings.

In:  a file with one credential, or a presentation of several; what was fetched apart: the issuer's DID document, a
status list, the evidence bundle.
Out: a line of what was found for each credential, and what nobody could tell.
Exit codes: 0 everything that could be checked does, 1 something is wrong, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from packbook.app.command import DONE, PROBLEM, WRONG_USAGE
from packbook.app.credentials import sri
from packbook.clock import now_ms
from packbook.core import did
from packbook.core.data_integrity import BadProof, check
from packbook.core.formats.status_list import BadStatusList, is_revoked
from packwire.bundle import MAX_BUNDLE_BYTES, Bundle, decode_bundle
from packwire.errors import Malformed
from packwire.seal import digest

FILE_BYTES_MAX: Final = 20_000_000
Json = Mapping[str, Any]


class NotReadable(Exception):
    """A file that was named cannot be used. Nothing was checked."""


@dataclass(frozen=True, slots=True)
class Known:
    """What was brought along."""

    documents: Mapping[str, Json]  # by DID
    lists: Mapping[str, Json]  # status list credentials by their address
    bundle: bytes | None
    trusted: frozenset[str]  # DIDs
    at: datetime


@dataclass(slots=True)
class Found:
    credential: str
    kind: str
    about: str
    issuer: str
    wrong: list[str] = field(default_factory=list)
    right: list[str] = field(default_factory=list)
    open: list[str] = field(default_factory=list)  # what nobody could tell


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="a credential, or a presentation of several")
    more: dict[str, Any] = {"action": "append", "default": [], "type": Path, "metavar": "FILE"}
    parser.add_argument("--did", **more, help="an issuer's DID document, fetched from its address; several times")
    parser.add_argument("--status", **more, help="a status list credential; several times")
    parser.add_argument("--bundle", type=Path, metavar="FILE", help="the evidence bundle that came along")
    parser.add_argument("--trust", action="append", default=[], metavar="DID", help="who is believed; several times")
    parser.add_argument("--json", action="store_true", help="one JSON object a credential")


def main(args: argparse.Namespace) -> int:
    try:
        credentials = unpacked(_read_json(args.file))
        known = _known(args)
    except (NotReadable, OSError, did.NotADid) as problem:
        print(f"verify-credential: {problem}", file=sys.stderr)
        return WRONG_USAGE
    found = [examine(one, known) for one in credentials]
    for one in found:
        print(json.dumps(_as_json(one), ensure_ascii=False) if args.json else "\n".join(_lines(one)))
    return PROBLEM if any(one.wrong for one in found) else DONE


def unpacked(document: object) -> Sequence[Json]:
    """Raises NotReadable."""
    inside = document.get("verifiableCredential", document) if isinstance(document, dict) else None
    listed = inside if isinstance(inside, list) else [inside]
    several = _dicts(listed)
    if not several or len(several) != len(listed):
        raise NotReadable("neither a credential nor a presentation")
    return several


def examine(credential: Json, known: Known) -> Found:
    subject = credential.get("credentialSubject")
    kinds = [str(kind) for kind in credential.get("type") or () if kind != "VerifiableCredential"]
    about = str(subject.get("id")) if isinstance(subject, dict) else ""
    found = Found(str(credential.get("id")), ", ".join(kinds), about, _issuer(credential))
    _signature(credential, known, found)
    _dates(credential, known, found)
    _status(credential, known, found)
    _bundle(credential, known, found)
    return found


def _signature(credential: Json, known: Known, found: Found) -> None:
    try:
        method = _signed_by_issuer(credential, known)
    except BadProof as problem:
        found.wrong.append(f"signature: {problem}")
        return
    found.right.append(f"signed by {method}")
    if found.issuer not in known.trusted:
        found.open.append("whether its issuer is who you think: name those you believe with --trust")


def _signed_by_issuer(credential: Json, known: Known) -> str:
    """Anybody can sign; only its issuer's key makes it a word of the issuer's. Raises BadProof."""
    method = check(credential, lambda wanted: did.key_of(wanted, known.documents))
    if method.partition("#")[0] != _issuer(credential):
        raise BadProof(f"{method} signed, which is not its issuer {_issuer(credential)}")
    return method


def _dates(credential: Json, known: Known, found: Found) -> None:
    for name, late in (("validFrom", "not valid yet"), ("validUntil", "has run out")):
        if name not in credential:
            continue
        try:
            at = datetime.fromisoformat(str(credential[name]))
        except ValueError:
            at = None
        if at is None or at.tzinfo is None:
            found.wrong.append(f"{name}: {credential[name]!r} is no date and time with its zone")
        elif (known.at < at) if name == "validFrom" else (at < known.at):
            found.wrong.append(f"{name} {credential[name]}: {late}")
        else:
            found.right.append(f"{name} {credential[name]}")


def _status(credential: Json, known: Known, found: Found) -> None:
    entry = credential.get("credentialStatus")
    if entry is None:
        found.open.append("whether it was taken back: it names no status list")
        return
    if not isinstance(entry, dict):
        found.wrong.append("status: more than one, or none that can be read")
        return
    listed = known.lists.get(str(entry.get("statusListCredential")))
    if listed is None:
        found.open.append(
            f"whether it was taken back: fetch {entry.get('statusListCredential')} and give it as --status"
        )
        return
    try:
        _signed_by_issuer(listed, known)
        if _issuer(listed) != found.issuer:
            raise BadStatusList(f"of another issuer, {_issuer(listed)}")
        if is_revoked(entry, listed):
            found.wrong.append("it was taken back by its issuer")
        else:
            found.right.append(f"not taken back as of {listed.get('validFrom')}")
    except (BadProof, BadStatusList) as problem:
        found.wrong.append(f"status list: {problem}")


def _bundle(credential: Json, known: Known, found: Found) -> None:
    resources, chains = (_dicts(credential.get(name)) for name in ("relatedResource", "evidence"))
    if known.bundle is None:
        if resources or chains:
            found.open.append("whether the records bear it out: give the evidence bundle as --bundle")
        return
    if resources:
        same = any(one.get("digestSRI") == sri(known.bundle) for one in resources)
        (found.right if same else found.wrong).append(f"the bundle is {'' if same else 'not '}the one it names")
    if chains:
        try:
            bundle = decode_bundle(known.bundle)
        except Malformed as problem:
            found.wrong.append(f"bundle: {problem}")
            return
        for chain in chains:
            reason = _chain_problem(chain, bundle)
            named = f"box {chain.get('box')} store {chain.get('store')} up to record {chain.get('upto')}"
            found.wrong.append(f"{named}: {reason}") if reason else found.right.append(
                f"{named}: the records are the same"
            )


def _chain_problem(chain: Json, bundle: Bundle) -> str | None:
    upto = chain.get("upto")
    for part in bundle.stores:
        if (part.box, part.store) == (chain.get("box"), chain.get("store")):
            if not isinstance(upto, int) or not 1 <= upto <= len(part.records):
                return f"the bundle has {len(part.records)} records of it"
            same = digest(part.records[upto - 1].data).hex() == chain.get("digest")
            return None if same else "the bundle holds another record there"
    return "the bundle has none of it"


def _known(args: argparse.Namespace) -> Known:
    documents = [_read_json(path) for path in args.did]
    lists = [_read_json(path) for path in args.status]
    bundle = None if args.bundle is None else _read(args.bundle, MAX_BUNDLE_BYTES)
    return Known(
        documents={str(one.get("id")): one for one in documents},
        lists={str(one.get("id")): one for one in lists},
        bundle=bundle,
        trusted=frozenset(did.checked(name) for name in args.trust),
        at=datetime.fromtimestamp(now_ms() / 1000, UTC),
    )


def _read_json(path: Path) -> dict[str, Any]:
    """Raises NotReadable, OSError."""
    try:
        document = json.loads(_read(path, FILE_BYTES_MAX), object_pairs_hook=_once)
    except (ValueError, RecursionError) as problem:
        raise NotReadable(f"{path}: not JSON: {problem}") from problem
    if not isinstance(document, dict):
        raise NotReadable(f"{path}: not a JSON object")
    return document


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A name that stands twice means one thing to one reader and another to the next."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return found


def _read(path: Path, most: int) -> bytes:
    with path.open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise NotReadable(f"{path}: larger than {most} bytes")
    return data


def _issuer(credential: Json) -> str:
    issuer = credential.get("issuer")
    return str(issuer.get("id") if isinstance(issuer, dict) else issuer)


def _dicts(value: object) -> list[Json]:
    several = value if isinstance(value, list) else [value]
    return [one for one in several if isinstance(one, dict)]


def _lines(found: Found) -> Iterator[str]:
    yield f"{found.kind or 'credential'} {found.credential}"
    yield f"  about   {found.about}"
    yield f"  issuer  {found.issuer}"
    yield from (f"  wrong   {said}" for said in found.wrong)
    yield from (f"  right   {said}" for said in found.right)
    yield from (f"  open    {said}" for said in found.open)


def _as_json(found: Found) -> dict[str, object]:
    return {
        "credential": found.credential,
        "type": found.kind,
        "about": found.about,
        "issuer": found.issuer,
        "ok": not found.wrong,
        "wrong": found.wrong,
        "right": found.right,
        "open": found.open,
    }
