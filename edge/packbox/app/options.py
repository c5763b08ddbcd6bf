"""Command-line options that `run`, `history` and `doctor` share: which settings, which data."""

from __future__ import annotations

import argparse
from pathlib import Path

from packbox.settings import DEFAULT_FILE, Settings, load_settings


def add_settings_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--settings", type=Path, metavar="FILE", help=f"settings file (default {DEFAULT_FILE})")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="where journal and key live (setting data_dir)")


def settings_from(args: argparse.Namespace) -> Settings:
    """Raises SettingsError. An option named like a setting is laid over it."""
    given = {name: value for name, value in vars(args).items() if name in Settings.__struct_fields__}
    return load_settings(args.settings, given)
