"""Where profiles lie, and which one a name means.

In:  a folder setting or none; a family, `family:variant` or the name of a vehicle.
Out: `core.profile.Profile` and the variant that the name fixes, if it fixes one; the vectors that ship with a profile.
Refuses with `ProfileError`: names that nothing answers to, missing folders, profiles that do not hold together.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

from packbox.core import profile as core
from packbox.ports import ProfileError

PROFILE_FILE: Final = "profile.toml"
VECTORS_FILE: Final = "vectors.json"
FURTHER_VECTORS: Final = "vectors-*.json"  # from sources under another licence, which stands in the file
README_FILE: Final = "README.md"


def profiles_folder(setting: Path | None = None) -> Path:
    """The setting, then the checkout, then what was installed under share/."""
    if setting is not None:
        if not setting.is_dir():
            raise ProfileError(f"{setting}: no such folder of profiles")
        return setting
    checkout = Path(__file__).resolve().parents[3] / "can_profiles"
    installed = Path(sys.prefix) / "share/packbox/can_profiles"
    for folder in (checkout, installed):
        if folder.is_dir():
            return folder
    raise ProfileError(f"no profiles found: neither {checkout} nor {installed} is there")


def profile_ids(folder: Path | None = None) -> tuple[str, ...]:
    found = profiles_folder(folder)
    return tuple(sorted(path.parent.name for path in found.glob(f"*/{PROFILE_FILE}")))


def load_profile(profile_id: str, folder: Path | None = None) -> core.Profile:
    known = profile_ids(folder)
    if profile_id not in known:
        raise ProfileError(f"no profile {profile_id!r}; known: {', '.join(known) or 'none'}")
    from packbox.adapters.profile_build import ProfileBuilder  # brings 15 MB along, which a box that runs does not need

    return ProfileBuilder(profiles_folder(folder) / profile_id).build()


class Catalogue:
    """All profiles of a folder by id, `id:variant` and vehicle name. Each is read when it is first asked for."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = profiles_folder(folder)
        self._loaded: dict[str, core.Profile] = {}

    @property
    def ids(self) -> tuple[str, ...]:
        return profile_ids(self._folder)

    def profile(self, profile_id: str) -> core.Profile:
        if profile_id not in self._loaded:
            self._loaded[profile_id] = load_profile(profile_id, self._folder)
        return self._loaded[profile_id]

    def find(self, name: str) -> tuple[core.Profile, str | None]:
        """`family`, `family:variant` or the name of a vehicle, in any case. None: behaviour tells the variant."""
        profile, variants = self.candidates(name)
        return profile, variants[0] if len(variants) == 1 else None

    def candidates(self, name: str) -> tuple[core.Profile, tuple[str, ...]]:
        """The same, with every variant that a car of this name can be."""
        family, colon, variant = name.partition(":")
        if family not in self.ids:
            return self._vehicle(name)
        profile = self.profile(family)
        known = tuple(v.id for v in profile.variants)
        if not colon:
            return profile, known
        if variant not in known:
            raise ProfileError(f"profile {family} has no variant {variant!r}; known: {', '.join(known)}")
        return profile, (variant,)

    def _vehicle(self, name: str) -> tuple[core.Profile, tuple[str, ...]]:
        """The exact name, else the longest known name that it begins with: lists add remarks behind the name."""
        wanted = name.strip().lower()
        best = ""
        found: tuple[core.Profile, tuple[str, ...]] | None = None
        broken: ProfileError | None = None
        for profile_id in self.ids:
            try:
                profile = self.profile(profile_id)
            except ProfileError as cause:  # somebody's unfinished profile must not stop the others
                broken = cause
                continue
            for vehicle, variants in profile.vehicles.items():
                if len(vehicle) > len(best) and _begins_with(wanted, vehicle):
                    best, found = vehicle, (profile, variants)
        if found is None and broken is not None:
            raise broken
        if found is None:
            raise ProfileError(f"no profile or vehicle {name!r}; profiles: {', '.join(self.ids)}")
        return found


def _begins_with(text: str, word: str) -> bool:
    """A remark begins with a blank, a dash or a bracket; a letter makes another name, a colon names a variant."""
    after = text[len(word) : len(word) + 1]
    return text.startswith(word) and not after.isalnum() and after != ":"


def load_vectors(profile_id: str, folder: Path | None = None) -> list[dict[str, Any]]:
    """The test vectors that ship with a profile; the form is that of `packbox decode` lines with `expected`."""
    home = profiles_folder(folder) / profile_id
    vectors = _list_of_objects(home / VECTORS_FILE, _json(home / VECTORS_FILE))
    for path in sorted(home.glob(FURTHER_VECTORS)):
        content = _json(path)
        if not isinstance(content, dict) or not all(isinstance(content.get(k), str) for k in ("licence", "credit")):
            raise ProfileError(f"{path}: must be an object with licence, credit and vectors")
        vectors += _list_of_objects(path, content.get("vectors"))
    return vectors


def _json(path: Path) -> object:
    from packbox.adapters.profile_build import read_bytes

    try:
        return json.loads(read_bytes(path))
    except ValueError as cause:
        raise ProfileError(f"{path}: not JSON: {cause}") from cause


def _list_of_objects(path: Path, content: object) -> list[dict[str, Any]]:
    if not isinstance(content, list) or not all(isinstance(v, dict) for v in content):
        raise ProfileError(f"{path}: vectors must be a list of objects")
    return list(content)
