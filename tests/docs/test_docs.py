"""What the documents say is held to what is there."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

import packbook.__main__
import packbox.__main__

LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)")
BOX_COMMANDS = sorted(packbox.__main__.COMMANDS)
BOOK_COMMANDS = sorted(packbook.__main__.COMMANDS)


def tracked(root: Path, *patterns: str) -> list[Path]:
    out = subprocess.run(
        ["git", "ls-files", "-z", *patterns], cwd=root, capture_output=True, check=True, text=True
    ).stdout
    return [root / name for name in out.split("\0") if name]


def test_every_link_between_documents_leads_somewhere(root: Path) -> None:
    """A reader who follows a link into nothing stops believing the rest."""
    dead = [
        f"{page.relative_to(root)}: {target}"
        for page in tracked(root, "*.md")
        for target in LINK.findall(page.read_text())
        if not (page.parent / target).exists()
    ]
    assert dead == []


@pytest.mark.parametrize(
    ("program", "commands", "page"),
    [("packbox", BOX_COMMANDS, "docs/box.md"), ("packbook", BOOK_COMMANDS, "docs/book.md")],
)
def test_every_command_is_documented(root: Path, program: str, commands: list[str], page: str) -> None:
    """Other programs drive the command line: what it offers must be written down."""
    text = (root / page).read_text()
    assert [name for name in commands if f"{program} {name}" not in text] == []


def test_the_pictures_of_the_readme_are_there_and_light(root: Path) -> None:
    """`make screens` takes them; a picture nobody shows, or that loads for seconds, is none."""
    shown = set(re.findall(r'src="(docs/pictures/[^"]+)"', (root / "README.md").read_text()))
    there = {path.relative_to(root).as_posix(): path.stat().st_size for path in (root / "docs/pictures").iterdir()}
    assert shown == there.keys()
    assert len(shown) == 2
    assert max(there.values()) < 300_000


def test_every_decision_is_listed(root: Path) -> None:
    """A decision nobody can find is made again, differently."""
    folder = root / "docs/decisions"
    listed = set(LINK.findall((folder / "README.md").read_text()))
    assert listed == {page.name for page in folder.glob("*.md")} - {"README.md"}


def test_nothing_names_one_machine(root: Path) -> None:
    """A path or package mirror of the machine it was written on is wrong on every other one."""
    mirror = r"https?://[^\s\"]*(?:/simple\b|/packages/[0-9a-f]{2}/|/-/[^\s\"]+\.tgz|/debian[/ ])"
    telltale = re.compile(f"{re.escape(str(root))}/|{re.escape(str(Path.home()))}/|{mirror}")
    here = Path(__file__)
    found = [
        f"{path.relative_to(root)}: {match.group()}"
        for path in tracked(root)
        if path != here and path.suffix not in {".png", ".blf", ".gz", ".bin"}
        for match in [telltale.search(path.read_text(errors="replace"))]
        if match
    ]
    assert found == []
