"""The package's modules as syntax trees, read once, for tests of a whole kind."""

from __future__ import annotations

import ast
import functools
from collections.abc import Mapping
from pathlib import Path

import pytest_llmbench

_SOURCES = Path(pytest_llmbench.__file__).parent


@functools.cache
def modules() -> Mapping[str, ast.Module]:
    """Each by its path inside the package, such as `core/errors.py`."""
    return {
        path.relative_to(_SOURCES).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted(_SOURCES.rglob("*.py"))
    }
