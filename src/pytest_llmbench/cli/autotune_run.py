"""What `llmbench autotune` does once its settings are known: ask, show how it stands, write, tell."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import typer
from rich.console import Console
from rich.live import Live
from rich.text import Text

from pytest_llmbench.autotune.capacity_gate import Requirement, judge_requirement
from pytest_llmbench.autotune.document import LimitsDocument
from pytest_llmbench.autotune.found_limits import FoundLimits
from pytest_llmbench.autotune.limit_search import LimitSearch, Question
from pytest_llmbench.autotune.server import targets_of
from pytest_llmbench.autotune.targets import with_server
from pytest_llmbench.cli.terminal import report_width
from pytest_llmbench.core.errors import LLMBenchError
from pytest_llmbench.reports.renderers.terminal import terminal_lines
from pytest_llmbench.reports.serving.document import limits_document
from pytest_llmbench.reports.views.autotune import autotune_report
from pytest_llmbench.reports.writing.autotune import LimitReports, write_limits

if TYPE_CHECKING:
    from pytest_llmbench.cases.suites import Case
    from pytest_llmbench.core.settings import Settings
    from pytest_llmbench.metrics import MetricRegistry

_FAILED = 1


class Progress:
    """Shows on standard error how it stands: on a terminal a line that renews itself, and a line that stays a trial."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        # without a thread of its own, which would take time from the simulated users
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._line = ""

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, _: object, __: TracebackType | None) -> None:
        self._live.stop()
        if kind is not None and self._line:
            self._console.print(
                f"stopped in mid-search: {self._line}; its trials are kept, --resume goes on", markup=False
            )

    def __call__(self, line: str, stays: bool) -> None:  # noqa: FBT001  # what a line is, told by name where it is made
        """Show a line; one that stays tells of a trial that is over."""
        self._line = line
        if stays:
            self._console.print(line, markup=False)
        if self._console.is_terminal:
            self._live.update(Text("" if stays else line, no_wrap=True, overflow="ellipsis"), refresh=True)


def run_search(settings: Settings, questions: Sequence[Question], *, resume: bool, as_json: bool) -> None:
    """Ask all targets all questions; exit code 1 when what is required is not surely held.

    What was found is written and told also when it is stopped in the middle, by Ctrl-C or by a server that is gone.

    Raises:
        UsageError, NotReadyError: as the search raises them.
    """
    found, search = FoundLimits(), _Search(settings, questions, resume=resume)
    try:
        with Progress() as progress:
            asyncio.run(search(found, progress))
    finally:
        failed = bool(found.all()) and _report(found, search.settings, as_json=as_json)
    if failed:
        raise typer.Exit(_FAILED)


@dataclasses.dataclass(slots=True)
class _Search:
    """All questions about all targets. `settings` have the server in them that was found, once it was."""

    settings: Settings
    questions: Sequence[Question]
    resume: bool

    async def __call__(self, found: FoundLimits, progress: Progress) -> None:
        self.settings = await with_server(self.settings)
        search = LimitSearch(self.settings, found, resume=self.resume, scoring=self._scoring, tell=progress)
        async with search:
            for target in targets_of(self.settings):
                for question in self.questions:
                    await search.ask(target, question)

    def _scoring(self) -> tuple[Sequence[Case], MetricRegistry]:
        from pytest_llmbench.cases.selection import chosen_cases
        from pytest_llmbench.cases.suites import load_vocabulary
        from pytest_llmbench.core.starter import present
        from pytest_llmbench.metrics import default_metrics

        vocabulary = load_vocabulary(present(Path(self.settings.benchmark.vocabulary)))
        cases = chosen_cases(self.settings, vocabulary)
        return cases, default_metrics(self.settings.metrics, vocabulary, cases)


def _report(found: FoundLimits, settings: Settings, *, as_json: bool) -> bool:
    """Write and tell what was found; whether a requirement is not met. What cannot be written is told all the same."""
    command = shlex.join(["llmbench", *sys.argv[1:]])
    try:
        written = write_limits(found, settings, command)
    except LLMBenchError:
        _tell(LimitReports(limits_document(found.documents(), settings, command), {}), settings, as_json=as_json)
        raise
    return _tell(written, settings, as_json=as_json)


def _tell(written: LimitReports, settings: Settings, *, as_json: bool) -> bool:
    verdicts = _verdicts(written.document, settings)
    if as_json:
        typer.echo(json.dumps(_document(written, verdicts), ensure_ascii=False, indent=2, allow_nan=False))
    else:
        report = autotune_report(written.document, settings.output.language, paths=written.paths)
        for line in terminal_lines(report, report_width()):
            typer.echo(line)
    for name, verdict in verdicts.items():
        typer.echo(f"{'FAIL' if verdict.failed else 'PASS'}: {name}: {verdict.message}", err=True)
    return any(verdict.failed for verdict in verdicts.values())


def _verdicts(document: LimitsDocument, settings: Settings) -> dict[str, Requirement]:
    required = settings.load.require_users
    if required is None:
        return {}
    return {
        target.name: judge_requirement(target.findings["users"], required, settings.gate.inconclusive)
        for target in document.targets
        if "users" in target.findings
    }


def _document(written: LimitReports, verdicts: Mapping[str, Requirement]) -> dict[str, Any]:
    return {
        **written.document.json_ready(),
        "requirements": {name: dataclasses.asdict(verdict) for name, verdict in verdicts.items()},
        "paths": {kind: str(path) for kind, path in written.paths.items()},
    }
