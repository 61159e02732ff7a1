"""Hooks that other plugins and `conftest.py` files may implement."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pytest_llmbench.core.records import Run
    from pytest_llmbench.core.settings import Settings
    from pytest_llmbench.generation.backend import Backend
    from pytest_llmbench.metrics import MetricRegistry


@pytest.hookspec
def pytest_llmbench_metrics(registry: MetricRegistry) -> None:
    """Add metrics of your own: `registry.add("brevity", lambda case, completion: 1 / (1 + len(completion.text)))`."""


@pytest.hookspec(firstresult=True)
def pytest_llmbench_backend(settings: Settings) -> Backend | None:
    """Answer instead of the built-in model or server. The first plugin that returns a backend is used."""


@pytest.hookspec
def pytest_llmbench_report(run: Run, report_dir: Path) -> None:
    """Called once a run is whole, after the built-in reports were written to `report_dir`."""


@pytest.hookspec
def pytest_llmbench_trainer(trainer: Any) -> None:
    """Change TRL's trainer of `pytest -m finetune` before it starts: its collator, its loss, its arguments."""
