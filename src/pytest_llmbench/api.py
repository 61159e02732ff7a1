"""The public interface: what tests, plugins and notebooks may import.

```python
from pytest_llmbench.api import Case, load_cases, load_vocabulary
```

What stands in `__all__`, here and in `pytest_llmbench.config`, keeps its name, its arguments and its meaning until a
major release; a change is announced in the changelog, one release before. Every other module of the package is internal
and may change at any time, as may attributes that begin with an underscore. Fixtures, hooks, markers, options, settings
and file formats are public too, and documented where they are explained.

A name is imported when it is first used, so importing this module costs nothing.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_llmbench.autotune.document import Finding
    from pytest_llmbench.benchmark.main_job import Answers, ExpectationError, open_backend
    from pytest_llmbench.cases.suites import Case, Vocabulary, load_cases, load_vocabulary
    from pytest_llmbench.core.errors import (
        AdapterError,
        LLMBenchError,
        MissingRunError,
        ModelError,
        NotReadyError,
        ServerError,
        UsageError,
        WrongModelError,
    )
    from pytest_llmbench.core.records import CaseResult, Completion, Run
    from pytest_llmbench.core.settings import Settings, load_settings
    from pytest_llmbench.datasets.contamination import Match
    from pytest_llmbench.datasets.files import contaminated
    from pytest_llmbench.generation.backend import Backend, OutOfMemoryError
    from pytest_llmbench.metrics import default_metrics
    from pytest_llmbench.metrics.registry import Metric, MetricRegistry
    from pytest_llmbench.plugin.context_session import ServerContext
    from pytest_llmbench.plugin.finetune_session import ShortTraining
    from pytest_llmbench.plugin.server_limits import ServerLimits
    from pytest_llmbench.reports import blocks
    from pytest_llmbench.runs.history import SavedRun, find_run

__all__ = [
    "AdapterError",
    "Answers",
    "Backend",
    "Case",
    "CaseResult",
    "Completion",
    "ExpectationError",
    "Finding",
    "LLMBenchError",
    "Match",
    "Metric",
    "MetricRegistry",
    "MissingRunError",
    "ModelError",
    "NotReadyError",
    "OutOfMemoryError",
    "Run",
    "SavedRun",
    "ServerContext",
    "ServerError",
    "ServerLimits",
    "Settings",
    "ShortTraining",
    "UsageError",
    "Vocabulary",
    "WrongModelError",
    "blocks",
    "contaminated",
    "default_metrics",
    "find_run",
    "load_cases",
    "load_settings",
    "load_vocabulary",
    "open_backend",
]

_HOMES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "autotune.document": ("Finding",),
        "benchmark.main_job": ("Answers", "ExpectationError", "open_backend"),
        "cases.suites": ("Case", "Vocabulary", "load_cases", "load_vocabulary"),
        "core.errors": (
            "AdapterError",
            "LLMBenchError",
            "MissingRunError",
            "ModelError",
            "NotReadyError",
            "ServerError",
            "UsageError",
            "WrongModelError",
        ),
        "core.records": ("CaseResult", "Completion", "Run"),
        "core.settings": ("Settings", "load_settings"),
        "datasets.contamination": ("Match",),
        "datasets.files": ("contaminated",),
        "generation.backend": ("Backend", "OutOfMemoryError"),
        "metrics": ("default_metrics",),
        "metrics.registry": ("Metric", "MetricRegistry"),
        "plugin.context_session": ("ServerContext",),
        "plugin.finetune_session": ("ShortTraining",),
        "plugin.server_limits": ("ServerLimits",),
        "reports": ("blocks",),
        "runs.history": ("SavedRun", "find_run"),
    }
)
"""Where each name lives, module by module."""

if not TYPE_CHECKING:  # a type checker shall refuse names that are not there

    def __getattr__(name: str) -> object:
        home = next((module for module, names in _HOMES.items() if name in names), None)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = getattr(importlib.import_module(f"pytest_llmbench.{home}"), name)
        globals()[name] = found
        return found


def __dir__() -> list[str]:
    return sorted(__all__)
