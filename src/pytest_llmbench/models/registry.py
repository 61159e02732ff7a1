"""The model registry: short names for models, with what is known about each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_llmbench.documents import read_yaml
from pytest_llmbench.errors import UsageError, located
from pytest_llmbench.starter import present

_REGISTRY = Path("configs/models.yaml")


def load_registry(path: Path | None = None) -> Mapping[str, Mapping[str, Any]]:
    """Alias to what the registry says of it. `hub` is always there; every other field is optional.

    The registry of the current project, `configs/models.yaml`, wins over the one that the package carries.

    Raises:
        UsageError: the file is missing or not a registry, with file and line.
    """
    document = read_yaml(path or present(_REGISTRY))
    models = document.data.get("models") if isinstance(document.data, dict) else None
    if not isinstance(models, dict):
        message = "a registry has one key `models`: a mapping of alias to its fields"
        raise UsageError(located(document.path, None, message))
    for alias, entry in models.items():
        if not isinstance(entry, dict) or not isinstance(entry.get("hub"), str):
            line = document.line("models", alias)
            raise UsageError(
                located(document.path, line, f"model {alias!r} needs the field `hub`: org/name on the hub")
            )
    return models
