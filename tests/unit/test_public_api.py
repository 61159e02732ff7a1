"""`pytest_llmbench.api`: what others may import, and that it costs nothing."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_llmbench import api

ROOT = Path(__file__).parents[2]
IN_DOCS = (
    ("pytest_llmbench.cases", "Case"),
    ("pytest_llmbench.cases", "load_cases"),
    ("pytest_llmbench.cases.suites", "Case"),
    ("pytest_llmbench.datasets.files", "contaminated"),
    ("pytest_llmbench.generation.backend", "Backend"),
)
"""Paths that earlier documentation named."""


def typed() -> dict[str, str]:
    """Each name that type checkers see, with its module."""
    tree = ast.parse(Path(api.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If) and isinstance(node.test, ast.Name))
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    return {name.name: str(node.module) for node in imports for name in node.names}


def test_what_types_say_is_what_is_there() -> None:
    there = {name: f"pytest_llmbench.{home}" for home, names in api._HOMES.items() for name in names}
    assert there == typed()
    assert sorted(there) == sorted(api.__all__) == dir(api)


@pytest.mark.parametrize("name", api.__all__)
def test_every_public_name_is_found_and_documented(name: str) -> None:
    assert getattr(api, name).__doc__


def test_another_name_is_refused() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Planner'"):
        _ = api.Planner  # type: ignore[attr-defined]


def test_importing_it_imports_nothing_else() -> None:
    code = "import sys, pytest_llmbench.api; print([n for n in sys.modules if n.startswith('pytest_llmbench.')])"
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert seen.strip() == "['pytest_llmbench.api']"


@pytest.mark.parametrize(("module", "name"), IN_DOCS)
def test_paths_that_documentation_named_still_lead_there(module: str, name: str) -> None:
    assert getattr(__import__(module, fromlist=[name]), name) is getattr(api, name)


@pytest.mark.parametrize("folder", ["tests/suites", "docs", "examples"])
def test_what_users_copy_imports_public_names_only(folder: str) -> None:
    ours = {ROOT / "docs/decisions", ROOT / "docs/site"}
    files = [
        path for path in (ROOT / folder).rglob("*") if path.suffix in {".py", ".md"} and ours.isdisjoint(path.parents)
    ]
    lines = [line.strip() for path in files for line in path.read_text(encoding="utf-8").splitlines()]
    imports = [line for line in lines if line.startswith(("from pytest_llmbench", "import pytest_llmbench"))]
    assert imports
    public = tuple(f"from pytest_llmbench.{module} import " for module in ("api", "config"))
    assert all(line.startswith(public) for line in imports), imports
