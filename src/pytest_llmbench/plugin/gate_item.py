"""The gate as pytest shows it: a test that failed or passed, in the terminal, in JUnit XML and on GitHub."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pytest_llmbench.reports.blocks import Report
    from pytest_llmbench.runs.context_document import ContextComparison
    from pytest_llmbench.runs.typed import GateDocument


_REPORTER = "terminalreporter"


def report_gate(session: pytest.Session, gate: GateDocument, lines: list[str], language: str) -> None:
    """Tell every plugin that the test `llmbench::gate[<kind>]` passed or failed; a failure is the session's too.

    A gate is known after the last test only, so that no item can stand for it. `lines` are what JUnit XML and other
    reporters show; the terminal has a section of its own for them and shows the reason alone.
    """
    from pytest_llmbench.core.locale import words
    from pytest_llmbench.reports.gate_sentences import reason
    from pytest_llmbench.runs.gate_notes import note_text

    say = words(language)
    why, notes = reason(gate, say), [note_text(note, say) for note in gate.notes]
    told = (("outcome", gate.outcome), ("reason", why), *(("note", note) for note in notes))
    _report(session, _GateTest(f"gate[{gate.kind}]", gate.failed, why, "\n".join(lines), told))


def report_context_gate(
    session: pytest.Session, comparison: ContextComparison, lines: list[str], language: str
) -> None:
    """The same for the gate of a context run, `llmbench::gate[context-<kind>]`: a session may have both."""
    from pytest_llmbench.reports.serving.words import serving_words
    from pytest_llmbench.reports.views.context_comparison import failing

    why = failing(comparison, serving_words(language))
    told = (("outcome", comparison.outcome), ("reason", why))
    _report(session, _GateTest(f"gate[context-{comparison.kind}]", comparison.failed, why, "\n".join(lines), told))


def github_lines(report: Report) -> list[str]:
    """Workflow commands that GitHub turns into annotations; none elsewhere."""
    from pytest_llmbench.reports.renderers.github import annotations

    return annotations(report) if os.environ.get("GITHUB_ACTIONS") == "true" else []


def write_github_summary(report: Report) -> None:
    """Append the Markdown report to the job's summary, where a GitHub job asks for one.

    Raises:
        NotReadyError: the file cannot be written.
    """
    if path := os.environ.get("GITHUB_STEP_SUMMARY"):
        from pytest_llmbench.reports.renderers.github import write_summary

        write_summary(report, Path(path))


@dataclasses.dataclass(frozen=True, slots=True)
class _GateTest:
    """`why` is one sentence, `text` all that was compared.

    `told` is what JUnit XML says of a gate that does not fail: whether it passed or is inconclusive, and on what.
    """

    name: str
    failed: bool
    why: str
    text: str
    told: Sequence[tuple[str, object]]

    def phase(self, when: Any, text: str) -> pytest.TestReport:
        failed, now = self.failed and when == "call", time.time()
        return pytest.TestReport(
            nodeid=f"llmbench::{self.name}",
            location=("llmbench", None, self.name),
            keywords={},
            outcome="failed" if failed else "passed",
            longrepr=text if failed else None,
            when=when,
            start=now,
            stop=now,
            user_properties=self.told if when == "teardown" else (),
        )


def _report(session: pytest.Session, gate: _GateTest) -> None:
    manager = session.config.pluginmanager
    terminal = manager.get_plugin(_REPORTER)
    others = manager.subset_hook_caller("pytest_runtest_logreport", [terminal] if terminal else [])
    for when in ("setup", "call", "teardown"):
        others(report=gate.phase(when, gate.text))
    if gate.failed:
        if terminal:
            terminal.stats.setdefault("failed", []).append(gate.phase("call", gate.why))
        if session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def record_verdict(config: pytest.Config, sentences: Sequence[str]) -> None:
    """Properties `llmbench.verdict` of the test suite, where JUnit XML is written; nothing elsewhere."""
    for plugin in config.pluginmanager.get_plugins():
        add = getattr(plugin, "add_global_property", None)  # what pytest's record_testsuite_property calls
        if add is not None:
            for sentence in sentences:
                add("llmbench.verdict", sentence)
