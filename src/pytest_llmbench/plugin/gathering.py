"""The end of a session in the process that people see: what processes did becomes reports, lines and an exit code."""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import pytest

from pytest_llmbench.core.errors import LLMBenchError, NotReadyError, UsageError
from pytest_llmbench.plugin import options

if TYPE_CHECKING:
    from pytest_llmbench.autotune.found_limits import FoundLimits
    from pytest_llmbench.plugin.server_session import ServerSession
    from pytest_llmbench.reports.blocks import Section
    from pytest_llmbench.reports.renderers.registry import RendererRegistry


REPORTER = "terminalreporter"


class Gathering(abc.ABC):
    """Takes in what processes say at their end, has it reported, and shows the lines that came of it.

    A subclass says what this process has to tell (`_closed`) and what is made of all of it (`_report`), which adds to
    `lines`, by the titles of their sections.
    """

    worker_output: ClassVar[str]
    """Where a worker of pytest-xdist tells its controller what it did."""

    def __init__(self, config: pytest.Config, *titles: str) -> None:
        self._config = config
        self._processes: list[Mapping[str, Any]] = []
        self._lost_worker = False
        self.lines: dict[str, list[str]] = {title: [] for title in titles}
        self._said_last = self.lines[titles[-1]]

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Keep what a worker says; a crashed one says nothing."""
        output = getattr(node, "workeroutput", None)
        self._lost_worker = self._lost_worker or output is None
        if told := (output or {}).get(self.worker_output):
            self._processes.append(told)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Report before JUnit XML is written; a fault is said and is the exit code."""
        try:
            if told := self._closed():
                self._processes.append(told)
            for fault in [one["fault"] for one in self._processes if one.get("fault")][:1]:
                session.exitstatus = fault["exit_code"]
            self._report(session, ended_by_itself=exitstatus in {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED})
        except LLMBenchError as error:
            self._said_last.append(f"ERROR: {options.told_error(error)}")
            session.exitstatus = error.exit_code
        except KeyboardInterrupt:  # pytest would show a traceback, and write no JUnit XML
            from pytest_llmbench.core.locale import words
            from pytest_llmbench.reports.judgement import interrupted

            self._said_last += [interrupted(words(self._language())), *self._kept()]
            session.exitstatus = pytest.ExitCode.INTERRUPTED
        if exitstatus == NotReadyError.exit_code and (reporter := self._config.pluginmanager.get_plugin(REPORTER)):
            self.pytest_terminal_summary(reporter)  # with this code, which is also its own, pytest shows no summary

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Each title that has lines, and its lines."""
        for title, lines in self.lines.items():
            if lines:
                terminalreporter.section(title)
                for line in lines:
                    terminalreporter.write_line(line)

    @abc.abstractmethod
    def _closed(self) -> Mapping[str, Any]:
        """What this process did; empty where it did nothing."""

    @abc.abstractmethod
    def _report(self, session: pytest.Session, *, ended_by_itself: bool) -> None:
        """Write the reports of what `_processes` did. Raises LLMBenchError where that cannot be done."""

    @abc.abstractmethod
    def _language(self) -> str:
        """That of the reports."""

    def _kept(self) -> Sequence[str]:
        """Where a session that is interrupted now can be gone on with, if it can."""
        return ()

    def _notes(self, announced: Iterable[Mapping[str, Any]], language: str) -> list[str]:
        """What any process announced, once, in the language of the reports."""
        from pytest_llmbench.core.locale import words
        from pytest_llmbench.reports.announced import worded
        from pytest_llmbench.runs.typed import AnnouncedDocument

        say = words(language)
        told = {one["said"]: worded(AnnouncedDocument.model_validate(one), say) for one in announced}
        label = "note"  # the same word in French
        return [say("{label}: {text}", label=label, text=text) for text in told.values()]

    def _width(self) -> int:
        return int(self._config.get_terminal_writer().fullwidth)

    def _found_by_all(self, ours: ServerSession) -> FoundLimits | None:
        """What the processes found of servers; None where none of them asked.

        A worker that crashed says nothing, and the one in its place may have had nothing to ask: what was found before
        is in the file that they share.
        """
        if not self._processes and not self._lost_worker:
            return None
        from pytest_llmbench.autotune.found_limits import FoundLimits

        if told := next((one["shared"] for one in self._processes if one["shared"]), None):
            return FoundLimits(Path(told))
        if self._processes:
            return ours.found
        with contextlib.suppress(LLMBenchError):  # a worker for which these settings are wrong has found nothing
            return FoundLimits(ours.file_of_workers)
        return None


def renderers_of(config: pytest.Config) -> RendererRegistry:
    """The formats that ship, and those of plugins."""
    from pytest_llmbench.reports.renderers.registry import default_renderers

    registry = default_renderers()
    config.hook.pytest_llmbench_report_renderers(registry=registry)
    return registry


def sections_of(
    config: pytest.Config, kind: Literal["benchmark", "autotune", "context"], language: str
) -> Callable[[Mapping[str, Any]], Sequence[Section]]:
    """What gives the sections that plugins add to a document's reports.

    Raises:
        UsageError: a plugin returns something else than sections.
    """

    def sections(document: Mapping[str, Any]) -> Sequence[Section]:
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
