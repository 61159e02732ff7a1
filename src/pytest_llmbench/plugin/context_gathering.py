"""The end of a session that tested servers for their context, in the process that people see: reports and a summary."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llmbench.plugin import options
from pytest_llmbench.plugin.context_session import CONTEXT
from pytest_llmbench.plugin.gathering import Gathering

if TYPE_CHECKING:
    from pytest_llmbench.runs.context_document import ContextTarget

_SUMMARY = "llmbench context"
_UNNAMED = "context"
_JUNIT_WIDTH = 120


class ContextGathering(Gathering):
    """Takes in what processes found, and writes the reports of it."""

    worker_output = "llmbench_context"

    def __init__(self, config: pytest.Config) -> None:
        super().__init__(config, _SUMMARY)

    def _closed(self) -> Mapping[str, Any]:
        return self._config.stash[CONTEXT].close()

    def _language(self) -> str:
        return self._config.stash[CONTEXT].settings.output.language

    def _report(self, session: pytest.Session, *, ended_by_itself: bool) -> None:  # noqa: ARG002  # the base's
        ours = self._config.stash[CONTEXT]
        if (found := self._found_by_all(ours)) is None:
            return
        from pytest_llmbench.context.session import context_targets

        notes = (note for told in self._processes for note in told["notes"])
        self.lines[_SUMMARY] += self._notes(notes, ours.settings.output.language)
        if targets := context_targets(found):
            self._write(session, targets)
        found.forget()

    def _write(self, session: pytest.Session, targets: list[ContextTarget]) -> None:
        """Save and report what was found; a comparison with an earlier run may fail the session."""
        from pytest_llmbench.context.session import context_document
        from pytest_llmbench.plugin.gate_item import github_lines, report_context_gate, write_github_summary
        from pytest_llmbench.plugin.gathering import renderers_of, sections_of
        from pytest_llmbench.reports.renderers.terminal import terminal_lines
        from pytest_llmbench.reports.views.context import context_report
        from pytest_llmbench.reports.writing.context import write_context
        from pytest_llmbench.runs.context_runs import save_context

        settings = self._config.stash[CONTEXT].settings
        language = settings.output.language
        command = f"pytest {shlex.join(self._config.invocation_params.args)}"
        named = options.chosen(self._config, options.SAVE)
        document = context_document(targets, settings, command, named[0] if named else None)
        save_context(document, settings.output.report_dir, named[0] if named else _UNNAMED)
        sections = sections_of(self._config, "context", language)
        paths = write_context(document, settings.output, renderers=renderers_of(self._config), sections=sections)
        told = context_report(document, language, added=sections(document.model_dump(mode="json")), paths=paths)
        self.lines[_SUMMARY] += [*terminal_lines(told, self._width()), *github_lines(told)]
        if (comparison := document.comparison) and comparison.kind != "compare":
            report_context_gate(session, comparison, terminal_lines(told.only("comparison"), _JUNIT_WIDTH), language)
        write_github_summary(told)
