"""What other plugins add to reports: formats and sections."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import pytest

from pytest_llmbench.core.errors import UsageError

if TYPE_CHECKING:
    from pytest_llmbench.reports.blocks import Section
    from pytest_llmbench.reports.renderers.registry import RendererRegistry


def renderers_of(config: pytest.Config) -> RendererRegistry:
    """The formats that ship, and those of plugins."""
    from pytest_llmbench.reports.renderers.registry import default_renderers

    registry = default_renderers()
    config.hook.pytest_llmbench_report_renderers(registry=registry)
    return registry


def sections_of(
    config: pytest.Config, kind: Literal["benchmark", "autotune", "context"], language: str
) -> Callable[[Any], Sequence[Section]]:
    """What gives the sections that plugins add to a document's reports.

    Raises:
        UsageError: a plugin returns something else than sections.
    """

    def sections(document: Any) -> Sequence[Section]:
        from pytest_llmbench.reports.blocks import Section

        hook = config.hook.pytest_llmbench_report_sections
        found = [one for told in hook(document=document, kind=kind, language=language) for one in told or ()]
        for one in found:
            if not isinstance(one, Section):
                raise UsageError(
                    f"pytest_llmbench_report_sections gave a {type(one).__name__}: return a list of"
                    " pytest_llmbench.api.blocks.Section"
                )
        return found

    return sections
