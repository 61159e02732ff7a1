"""The end of a session that searched limits, in the process that people see: one set of reports, and a summary."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

import pytest

from pytest_llmbench.core.errors import LLMBenchError
from pytest_llmbench.plugin.autotune_session import AUTOTUNE
from pytest_llmbench.plugin.gathering import Gathering

_SUMMARY = "llmbench autotune"


class AutotuneGathering(Gathering):
    """Takes in what processes found, and writes the reports of it, also where only some questions were asked.

    What a worker that crashed had found is in the file that they share.
    """

    worker_output = "llmbench_autotune"

    def __init__(self, config: pytest.Config) -> None:
        super().__init__(config, _SUMMARY)

    def _closed(self) -> Mapping[str, Any]:
        return self._config.stash[AUTOTUNE].close()

    def _language(self) -> str:
        return self._config.stash[AUTOTUNE].settings.output.language

    def _report(self, session: pytest.Session, *, ended_by_itself: bool) -> None:  # noqa: ARG002  # the base's
        ours = self._config.stash[AUTOTUNE]
        if (found := self._found_by_all(ours)) is None:
            return
        language = ours.settings.output.language
        self.lines[_SUMMARY] += self._notes((note for told in self._processes for note in told["notes"]), language)
        if found.all():
            from pytest_llmbench.plugin.gathering import renderers_of, sections_of
            from pytest_llmbench.reports.renderers.terminal import terminal_lines
            from pytest_llmbench.reports.serving.document import limits_document
            from pytest_llmbench.reports.views.autotune import autotune_report
            from pytest_llmbench.reports.writing.autotune import write_limits

            command = f"pytest {shlex.join(self._config.invocation_params.args)}"
            sections = sections_of(self._config, "autotune", language)
            renderers = renderers_of(self._config)
            try:
                written = write_limits(found, ours.settings, command, renderers=renderers, sections=sections)
            except LLMBenchError:  # what an hour of searching found is told all the same
                document = limits_document(found.documents(), ours.settings, command)
                self.lines[_SUMMARY] += terminal_lines(autotune_report(document, language), self._width())
                raise
            told = autotune_report(written.document, language, sections(written.document.json_ready()), written.paths)
            self.lines[_SUMMARY] += terminal_lines(told, self._width())
        found.forget()
