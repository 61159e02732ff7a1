"""What every engine tells of its pair: adapters, chat templates and library versions, in the words of reports."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmbench.core.records import BASE

if TYPE_CHECKING:
    from pytest_llmbench.models.adapters import Adapter
    from pytest_llmbench.models.prompt_form import PromptForm

NO_HIDDEN_STATES = "no_hidden_states"
OWN_LIMITS = ("own_noise", NO_HIDDEN_STATES, "base_not_compared")
"""What answers of an engine with a model of its own do not promise or lack, by the keys that reports have words for."""


def adapters_told(adapters: Mapping[str, Adapter]) -> dict[str, dict[str, str]]:
    """Where each adapter lies, and its hashes."""
    return {
        name: {
            "path": _shown(adapter.path),
            "weights_sha256": adapter.weights_hash,
            "config_sha256": adapter.config_hash,
        }
        for name, adapter in adapters.items()
    }


def templates_told(forms: Mapping[str, PromptForm]) -> dict[str, str | None]:
    """Where each variant's chat template comes from: `base`, the folder of an adapter, or None."""
    return {
        variant: form.origin if form.origin in {None, BASE} else _shown(str(form.origin))
        for variant, form in forms.items()
    }


def library_versions(distributions: Iterable[str]) -> str:
    """The versions of installed distributions, as part of an identity."""
    return " ".join(f"{name}={version(name)}" for name in distributions)


def adapter_identity(adapter: Adapter | None) -> str:
    """An adapter as part of an identity; empty for the base."""
    return f"{adapter.weights_hash} {adapter.config_hash}" if adapter else ""


def _shown(path: str) -> str:
    """The path as a reader elsewhere can use it: from the current folder, where it lies within it."""
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path
