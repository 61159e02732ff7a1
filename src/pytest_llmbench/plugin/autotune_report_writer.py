"""The end of a session that searched limits, in the process that people see: one set of reports, and a summary."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pytest_llmbench.core.errors import LLMBenchError, NotReadyError
from pytest_llmbench.plugin.autotune_session import AUTOTUNE

WORKER_OUTPUT = "llmbench_autotune"
"""Where a worker of pytest-xdist tells its controller what it did."""

_REPORTER = "terminalreporter"


class AutotuneGathering:
    """Takes in what processes found, and writes the reports of it, also where only some questions were asked."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._processes: list[Mapping[str, Any]] = []
        self._summary: list[str] = []

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Keep what a worker says; what a crashed one found is in the file that they share."""
        if told := getattr(node, "workeroutput", {}).get(WORKER_OUTPUT):
            self._processes.append(told)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Write the reports; a fault is said and is the exit code."""
        if told := self._config.stash[AUTOTUNE].close():
            self._processes.append(told)
        if not self._processes:
            return
        try:
            self._report()
        except LLMBenchError as error:
            self._summary.append(f"ERROR: {error}")
            session.exitstatus = error.exit_code
        if exitstatus == NotReadyError.exit_code and (reporter := self._config.pluginmanager.get_plugin(_REPORTER)):
            self.pytest_terminal_summary(reporter)  # with this code, which is also its own, pytest shows no summary

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """What the server holds, why, what to try, and the paths."""
        if self._summary:
            terminalreporter.section("llmbench autotune")
            for line in self._summary:
                terminalreporter.write_line(line)

    def _report(self) -> None:
        from pytest_llmbench.autotune.found_limits import FoundLimits

        self._summary += dict.fromkeys(f"note: {note}" for told in self._processes for note in told["notes"])
        ours = self._config.stash[AUTOTUNE]
        shared = next((Path(told["shared"]) for told in self._processes if told["shared"]), None)
        found = FoundLimits(shared) if shared else ours.found
        if found.all():
            from pytest_llmbench.plugin.report_hooks import renderers_of, sections_of
            from pytest_llmbench.reports.limit_reports import write_limits
            from pytest_llmbench.reports.renderers.terminal import terminal_lines
            from pytest_llmbench.reports.views.autotune import autotune_report

            language = ours.settings.output.language
            sections = sections_of(self._config, "autotune", language)
            written = write_limits(
                found,
                ours.settings,
                f"pytest {shlex.join(self._config.invocation_params.args)}",
                renderers=renderers_of(self._config),
                sections=sections,
            )
            width = int(self._config.get_terminal_writer().fullwidth)
            told = autotune_report(written.document, language, sections(written.document), written.paths)
            self._summary += terminal_lines(told, width)
        found.forget()
