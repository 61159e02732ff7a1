"""The settings of a run that a reader must know: those that are not what everybody has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def changed_settings(recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted key to value of each recorded setting that differs from today's default.

    A setting that there is no more has no default, and is among them.
    """
    from pytest_llmbench.core.settings import Settings

    usual = Settings().model_dump(mode="json")
    return {
        f"{section}.{key}": value
        for section, values in recorded.items()
        for key, value in (values.items() if isinstance(values, Mapping) else ())
        if key not in usual.get(section, {}) or usual[section][key] != value
    }
