"""Hooks that other plugins and `conftest.py` files may implement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

if TYPE_CHECKING:
    from pytest_llmbench.core.records import Run
    from pytest_llmbench.core.settings import Settings
    from pytest_llmbench.generation.backend import Backend
    from pytest_llmbench.metrics import MetricRegistry
    from pytest_llmbench.reports.blocks import Section
    from pytest_llmbench.reports.renderers.registry import RendererRegistry


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
def pytest_llmbench_report_renderers(registry: RendererRegistry) -> None:
    """Add a format of your own: `registry.add(renderer)`, with a name, a suffix and `render(report) -> str`.

    `reports/benchmark.<suffix>`, `reports/autotune.<suffix>` and `reports/context.<suffix>` are then written too.
    """


@pytest.hookspec
def pytest_llmbench_report_sections(
    document: Mapping[str, Any], kind: Literal["benchmark", "autotune", "context"], language: str
) -> Sequence[Section] | None:
    """Add sections of your own to every format: a list of `pytest_llmbench.api.blocks.Section`.

    `document` is that of `benchmark.json`, `autotune.json` or `context.json`, as `kind` says; word what you add in
    `language`, `en` or `fr`.
    """


@pytest.hookspec
def pytest_llmbench_trainer(trainer: Any) -> None:
    """Change TRL's trainer of `pytest -m finetune` before it starts: its collator, its loss, its arguments."""
