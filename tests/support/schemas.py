"""The schemas that ship, as tests hold documents against them."""

from __future__ import annotations

import functools
import importlib.resources
import json
from typing import Any


@functools.cache
def schema(kind: str) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) that such a document obeys."""
    file = importlib.resources.files("pytest_llmbench").joinpath(f"schemas/{kind}.schema.json")
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found
