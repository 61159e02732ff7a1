"""`docs/architecture.md`: whoever looks for a file finds it there."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
TREE = runpy.run_path(str(ROOT / "docs" / "site" / "tree.py"))
MODULES = sorted((ROOT / "src" / "pytest_llmbench").rglob("*.py"))
NAMED = sorted(
    path
    for path in set(re.findall(r"`(\w+/[\w./]+)`", PAGE.partition("## Every file")[0]))
    if path.partition("/")[0] in TREE["rooms"]()
)


def test_the_tree_is_what_the_files_say() -> None:
    assert TREE["with_tree"](PAGE) == PAGE, "run `make docs-tree`"


@pytest.mark.parametrize("path", NAMED)
def test_files_that_the_page_names_are_there(path: str) -> None:
    assert (ROOT / "src" / "pytest_llmbench" / path).exists()


def test_every_file_says_what_it_is_for() -> None:
    silent = [str(path) for path in MODULES if not TREE["first_sentence"](path) and path.read_text().strip()]
    assert silent == []
