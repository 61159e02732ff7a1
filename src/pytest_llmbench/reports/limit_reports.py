"""What is written when a session's questions were answered, all of them or some: the reports, and the limits' file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmbench.autotune import model_limits
from pytest_llmbench.reports.serving.document import build_document
from pytest_llmbench.reports.serving.writing import write_document

if TYPE_CHECKING:
    from pytest_llmbench.autotune.found_limits import FoundLimits
    from pytest_llmbench.core.settings import Settings


@dataclass(frozen=True, slots=True)
class LimitReports:
    """The document, and the files made from it: kind to path."""

    document: Mapping[str, Any]
    paths: Mapping[str, Path]


def write_limits(found: FoundLimits, settings: Settings, command: str) -> LimitReports:
    """Write `autotune.*` into the report folder, and `load.out` where a limit was searched.

    Raises:
        NotReadyError: the disk refuses.
    """
    document = build_document(found.documents(), settings, command)
    paths = write_document(document, settings, settings.output.report_dir)
    if any(target["findings"] for target in document["targets"]):
        model_limits.write(settings.load.out, document)
        paths["limits"] = settings.load.out
    return LimitReports(document, paths)
