"""Profiles, loaded once."""

from __future__ import annotations

import pytest

from packbox.adapters.profile_dir import Catalogue
from packbox.core.profile import Profile


@pytest.fixture(scope="session")
def catalogue() -> Catalogue:
    return Catalogue()


@pytest.fixture(scope="session")
def leaf(catalogue: Catalogue) -> Profile:
    return catalogue.profile("nissan-leaf")


@pytest.fixture(scope="session")
def imiev(catalogue: Catalogue) -> Profile:
    return catalogue.profile("mitsubishi-imiev")
