"""A DBC file becomes the draft of a profile folder: everything readable, nothing believed yet.

In:  a DBC file, an id, the folder of profiles.
Out: a new folder that `packbox profiles check` accepts: the frames, no signal feeding a quantity, all graded "?".
Refuses with ProfileError: a file that is no DBC, a bad id, an id that is taken. Messages that a profile cannot hold
(longer than eight bytes, float signals, signals wider than 63 bits) are left out and named.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cantools
from cantools.database.can import Database
from cantools.database.can import Message as DbcMessage

from packbox.adapters.profile_build import read_bytes
from packbox.adapters.profile_dir import PROFILE_FILE, README_FILE, VECTORS_FILE
from packbox.core.frames import CLASSIC_BYTES
from packbox.core.layout import MAX_SIGNAL_BITS
from packbox.core.profile import id_text
from packbox.ports import ProfileError

ID_FORM: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
DETECT_IDS: Final = 4  # a first guess: whoever knows the car picks the typical ones
DBC_FILE: Final = "imported.dbc"


@dataclass(frozen=True, slots=True)
class Draft:
    folder: Path
    messages: int
    left_out: tuple[str, ...]  # with the reason


def draft_profile(dbc: Path, profile_id: str, folder: Path) -> Draft:
    """Write the draft. Raises ProfileError; then nothing was written."""
    if not ID_FORM.fullmatch(profile_id):
        raise ProfileError(f"--id {profile_id!r}: lower case letters, digits and single dashes")
    home = folder / profile_id
    if home.exists():
        raise ProfileError(f"{home}: is there already; a profile is never written over")
    database = _database(dbc)
    reasons = {m.frame_id: reason for m in database.messages if (reason := _unfit(m)) is not None}
    left_out = tuple(f"{m.name}: {reasons[m.frame_id]}" for m in database.messages if m.frame_id in reasons)
    kept = [m for m in database.messages if m.frame_id not in reasons]
    if not kept:
        raise ProfileError(f"{dbc}: no message that a profile can hold" + "".join(f"; {text}" for text in left_out))
    clean = Database(messages=kept, nodes=database.nodes, buses=database.buses, version=database.version)
    files = {
        DBC_FILE: clean.as_dbc_string(),
        PROFILE_FILE: "\n".join(_profile_lines(profile_id, dbc.name, kept)) + "\n",
        VECTORS_FILE: "[]\n",
        README_FILE: _readme(profile_id, dbc.name, left_out),
    }
    try:
        home.mkdir(parents=True)
        for name, text in files.items():
            (home / name).write_text(text, encoding="utf-8", newline="\n")
    except OSError as cause:
        raise ProfileError(f"{home}: cannot be written: {cause.strerror}") from cause
    return Draft(home, len(kept), left_out)


def _database(dbc: Path) -> Database:
    data = read_bytes(dbc)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("cp1252", errors="replace")  # what older tools write
    try:
        database = cantools.database.load_string(text, "dbc", strict=True)
    except (cantools.Error, ValueError) as cause:
        raise ProfileError(f"{dbc}: not a DBC file that can be used: {cause}") from cause
    assert isinstance(database, Database)  # a DBC file describes CAN, not diagnostics
    return database


def _unfit(message: DbcMessage) -> str | None:
    if not 1 <= message.length <= CLASSIC_BYTES:
        return f"{message.length} bytes"
    for signal in message.signals:
        if signal.is_float:
            return f"signal {signal.name} is a float"
        if signal.length > MAX_SIGNAL_BITS:
            return f"signal {signal.name} has {signal.length} bits"
    return None


def _profile_lines(profile_id: str, source: str, messages: list[DbcMessage]) -> Iterator[str]:
    ids = [id_text(m.frame_id, m.is_extended_frame) for m in messages]
    yield f"# Draft made of {source}. docs/profiles.md explains every key; replace what says DRAFT."
    yield f"id = {_toml(profile_id)}"
    yield f"name = {_toml(f'DRAFT {profile_id}')}"
    yield "experimental = true"
    yield 'licence = "DRAFT: state under which licence the DBC file may be used"'
    yield 'native_current_positive = "charge" # DRAFT: prove it, driving off must show discharge'
    yield f"detect = {_toml(ids[:DETECT_IDS])} # DRAFT: ids that together are typical of the family"
    yield ""
    yield "[sources]"
    yield f"import = {_toml(f'{source}, imported, nothing verified')}"
    yield ""
    yield "[buses.CAN]"
    yield "bitrate = 500000 # DRAFT"
    yield 'where = "DRAFT: pins or place to tap"'
    yield ""
    yield "[rules]"
    yield 'charging = ["pack_current_a", "speed_kmh"]'
    yield 'driving = ["speed_kmh"]'
    yield ""
    yield "[[packs]]"
    yield f"id = {_toml(f'{profile_id}-pack')}"
    yield 'chemistry = "unknown"'
    yield ""
    yield "[[variants]]"
    yield 'id = "draft"'
    yield f"name = {_toml(f'DRAFT {profile_id}')}"
    yield f"pack = {_toml(f'{profile_id}-pack')}"
    yield f"dbc = [{_toml(DBC_FILE)}]"
    yield ""
    yield "[vehicles]"
    yield f'{_toml(profile_id)} = "draft"'
    for message, can_id in zip(messages, ids, strict=True):
        yield ""
        yield f"[messages.{can_id}]"
        yield 'bus = "CAN"'
        yield 'grade = "?"'
        yield 'source = "import"'
        if message.signals:
            yield f'# To use one: signals.{message.signals[0].name} = {{ quantity = "..." }}'


def _toml(value: str | list[str]) -> str:
    """JSON strings and lists of them are TOML too."""
    return json.dumps(value, ensure_ascii=False)


def _readme(profile_id: str, source: str, left_out: tuple[str, ...]) -> str:
    lines = [
        f"# {profile_id} (draft)",
        "",
        f"Made of `{source}` by `packbox profiles import-dbc`. Nothing is verified.",
    ]
    if left_out:
        lines += ["", "Left out, because a profile cannot hold it:", "", *(f"- {text}" for text in left_out)]
    return "\n".join([*lines, "", 'Next: docs/profiles.md, "A car of your own".', ""])
