"""What is written when a session's questions were answered, all of them or some: the reports, and the limits' file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmbench.autotune import model_limits
from pytest_llmbench.reports.serving.document import build_document
from pytest_llmbench.reports.serving.writing import write_document

if TYPE_CHECKING:
    from pytest_llmbench.autotune.found_limits import FoundLimits
    from pytest_llmbench.core.settings import Settings
    from pytest_llmbench.reports.blocks import Section
    from pytest_llmbench.reports.renderers.registry import RendererRegistry


@dataclass(frozen=True, slots=True)
class LimitReports:
    """The document, and the files made from it: kind to path."""

    document: Mapping[str, Any]
    paths: Mapping[str, Path]


def write_limits(
    found: FoundLimits,
    settings: Settings,
    command: str,
    *,
    renderers: RendererRegistry | None = None,
    sections: Callable[[Mapping[str, Any]], Sequence[Section]] | None = None,
) -> LimitReports:
    """Write `autotune.*` into the report folder, and `load.out` where a limit was searched.

    `renderers` and `sections` are those of plugins too.

    Raises:
        NotReadyError: the disk refuses.
    """
    document = build_document(found.documents(), settings, command)
    folder = settings.output.report_dir
    paths = write_document(document, settings, folder, renderers=renderers, sections=sections)
    if any(target["findings"] for target in document["targets"]):
        model_limits.write(settings.load.out, document)
        paths["limits"] = settings.load.out
    return LimitReports(document, paths)
