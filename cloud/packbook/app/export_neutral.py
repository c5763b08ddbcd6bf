"""The format `neutral`: the record itself, identity and value apart, each signed by the book on its own.

Each part's signature is a COSE_Sign1 without its payload (RFC 9052 §2, detached) over the part's canonical bytes: the
part can be handed on alone and checked alone.
"""

from __future__ import annotations

import base64
import json
from typing import Final

from packbook.adapters.rules import RuleBook
from packbook.adapters.signing_key import read_or_make_key
from packbook.core.formats import Made
from packbook.core.formats.neutral import FORM, parts
from packbook.core.passport import Part, Passport
from packbook.ports.trust import Signer
from packbook.settings import Settings
from packwire.signed import sign_detached

SUFFIX: Final = ".passport.json"
PURPOSE: Final = "packbook/passport/1/"  # with the part's name: a signature of one part is worth nothing on another


def make(settings: Settings, passport: Passport, rules: RuleBook) -> Made:
    return signed(passport, rules, read_or_make_key(settings.book_key))


def signed(passport: Passport, rules: RuleBook, signer: Signer) -> Made:
    told = {"form": FORM, "book_key": signer.public_key.hex()}
    pieces = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in told.items()]
    for part, canonical in parts(passport, rules.fields()).items():
        signature = sign_detached(canonical, purpose_of(part), signer.sign, signer.public_key)
        text = base64.b64encode(signature).decode()
        pieces.append(f'"{part.value}": {{"signature": "{text}", "record": {canonical.decode()}}}')
    return Made(("{" + ",\n ".join(pieces) + "}\n").encode(), ())


def purpose_of(part: Part) -> str:
    return PURPOSE + part.value
