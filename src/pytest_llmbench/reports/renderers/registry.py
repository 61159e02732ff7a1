"""The formats of reports: those that ship, and those that plugins add."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.reports.blocks import Report


class Renderer(Protocol):
    """One format. It decides by blocks alone, so it writes every report there is or will be.

    `name` is how a format is asked for (`markdown`), `suffix` how its file ends (`md`).
    """

    @property
    def name(self) -> str:
        """How the format is asked for."""

    @property
    def suffix(self) -> str:
        """How a file of it ends, without the dot."""

    def render(self, report: Report) -> str:
        """The whole report."""


class RendererRegistry:
    """Renderers by name; a later one of the same name takes the place of the earlier."""

    def __init__(self, *renderers: Renderer) -> None:
        self._renderers = {one.name: one for one in renderers}

    def add(self, renderer: Renderer) -> None:
        """Add a format: each report is then written in it too, as `benchmark.<suffix>` and `autotune.<suffix>`.

        Raises:
            UsageError: its suffix belongs to another format.
        """
        for other in self._renderers.values():
            if other.name != renderer.name and other.suffix == renderer.suffix:
                raise UsageError(f"renderer {renderer.name!r}: files that end in .{renderer.suffix} are {other.name}'s")
        self._renderers[renderer.name] = renderer

    def __getitem__(self, name: str) -> Renderer:
        return self._renderers[name]

    def __iter__(self) -> Iterator[Renderer]:
        return iter(self._renderers.values())


def default_renderers() -> RendererRegistry:
    """The formats that ship."""
    from pytest_llmbench.reports.renderers.html import Html
    from pytest_llmbench.reports.renderers.markdown import Markdown
    from pytest_llmbench.reports.renderers.text import Text

    return RendererRegistry(Text(), Markdown(), Html())
