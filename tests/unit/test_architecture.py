"""`docs/architecture.md`: whoever looks for a file finds it there."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
TREE = runpy.run_path(str(ROOT / "docs" / "site" / "tree.py"))
PACKAGE = ROOT / "src" / "pytest_llmbench"
MODULES = sorted(PACKAGE.rglob("*.py"))
NAMED = sorted(
    path
    for path in set(re.findall(r"`(\w+/[\w./]+)`", PAGE.partition("## Every file")[0]))
    if path.partition("/")[0] in TREE["rooms"]()
)


def test_the_tree_is_what_the_files_say() -> None:
    assert TREE["with_tree"](PAGE) == PAGE, "run `make docs-tree`"


def test_the_tree_has_the_files_that_there_are() -> None:
    files = (path for path in PACKAGE.rglob("*") if path.is_file())
    there = {path.relative_to(PACKAGE).as_posix() for path in files if path.suffix not in {".pyc", ".mo"}}
    assert _listed() == {name for name in there if name.count("/") == 0 or not name.endswith("__init__.py")}


def _listed() -> set[str]:
    """The files in the page's tree; that a folder is one is said by its line, not by its `__init__.py`."""
    found, room = set[str](), ""
    for line in PAGE.partition("## Every file")[2].splitlines():
        if line.startswith("### "):
            room = line.removeprefix("### ")
        elif line.startswith("- "):
            names = re.findall(r"`([^`]+)`", line)
            of_assets = Path(names[0]).name in TREE["ASSETS"]
            name, *more = names if of_assets else names[:1]
            found |= {f"{room}{name}{one}" for one in more} if more else {f"{room}{name}"}
    return {name for name in found if not name.endswith("/")}


@pytest.mark.parametrize("path", NAMED)
def test_files_that_the_page_names_are_there(path: str) -> None:
    assert (PACKAGE / path).exists()


def test_every_file_says_what_it_is_for() -> None:
    silent = [str(path) for path in MODULES if not TREE["first_sentence"](path) and path.read_text().strip()]
    assert silent == []
