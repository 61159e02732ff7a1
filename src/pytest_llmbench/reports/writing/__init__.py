"""Writing all reports of a document at once, or none of them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_llmbench.core.files import delete, replacing
from pytest_llmbench.reports.blocks import Report, Section
from pytest_llmbench.reports.renderers.registry import Renderer, RendererRegistry

Write = Callable[[Path], object]
"""Writes one file."""
_PICTURES = ("-differences.png", "-routing.png", "-trend.png")
"""Endings of what some runs have and others do not. A file of another name may be somebody's baseline or own page."""
Sections = Callable[[Mapping[str, Any]], Sequence[Section]]
"""What plugins add to the reports of a document, which they are given as JSON holds it."""


def write_together(folder: Path, name: str, wanted: Mapping[str, tuple[str, Write]]) -> dict[str, Path]:
    """Write `<name><ending>` for each kind of report, all of them or none; kind to path.

    `wanted` is kind to ending (`.txt`, `-trend.png`) and what writes the file. Pictures of an earlier run that this one
    does not have are removed: beside its own they would be taken for its.

    Raises:
        NotReadyError: the disk is full or the folder cannot be written; the message names the file.
    """
    paths = {}
    with contextlib.ExitStack() as replaced_together:
        for kind, (ending, write) in wanted.items():
            paths[kind] = folder / f"{name}{ending}"
            write(replaced_together.enter_context(replacing(paths[kind])))
    for ending in _PICTURES:
        if folder / f"{name}{ending}" not in paths.values():
            delete(folder / f"{name}{ending}")
    return paths


def rendered(report: Report, renderers: RendererRegistry, switched: Mapping[str, bool]) -> dict[str, tuple[str, Write]]:
    """The formats that are not switched off, by what makes each of the same report; those of plugins always are on."""

    def written(renderer: Renderer) -> Write:
        return writing(lambda: renderer.render(report))

    return {one.name: (f".{one.suffix}", written(one)) for one in renderers if switched.get(one.name, True)}


def writing(text: Callable[[], str]) -> Write:
    """Writes what `text` makes, as UTF-8."""
    return lambda path: path.write_text(text(), encoding="utf-8")
