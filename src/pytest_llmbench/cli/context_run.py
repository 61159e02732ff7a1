"""What `llmbench context` does once its settings are known: test, show how it stands, write, tell."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import shlex
import sys
from typing import TYPE_CHECKING, Any

import typer

from pytest_llmbench.autotune.found_limits import FoundLimits
from pytest_llmbench.autotune.server import targets_of
from pytest_llmbench.autotune.targets import with_server
from pytest_llmbench.cli.autotune_run import Progress
from pytest_llmbench.cli.terminal import report_width
from pytest_llmbench.context.requirement import RequirementResult, judge_context
from pytest_llmbench.context.session import ContextTest, context_baseline, context_document, context_targets
from pytest_llmbench.reports.renderers.terminal import terminal_lines
from pytest_llmbench.reports.views.context import context_report
from pytest_llmbench.reports.writing.context import write_context
from pytest_llmbench.runs.context_runs import save_context

if TYPE_CHECKING:
    from pytest_llmbench.core.settings import Settings
    from pytest_llmbench.runs.context_document import ContextTarget

_FAILED = 1


def run(settings: Settings, name: str, *, resume: bool, as_json: bool) -> None:
    """Test all targets and save the run under `name`; exit code 1 when what is required, or the gate, is missed.

    What was found is written and told also when it is stopped between targets, by Ctrl-C or by a server that is gone.

    Raises:
        UsageError, NotReadyError: as the test raises them.
    """
    context_baseline(settings)  # one that is missing is told before anything is asked
    found, test = FoundLimits(), _Test(settings, resume=resume)
    try:
        with Progress() as progress:
            asyncio.run(test(found, progress))
    finally:
        targets = context_targets(found)
        failed = bool(targets) and _report(targets, test.settings, name, as_json=as_json)
    if failed:
        raise typer.Exit(_FAILED)


@dataclasses.dataclass(slots=True)
class _Test:
    """All targets, one after the other. `settings` have the server in them that was found, once it was."""

    settings: Settings
    resume: bool

    async def __call__(self, found: FoundLimits, progress: Progress) -> None:
        self.settings = await with_server(self.settings)
        session = ContextTest(self.settings, found, resume=self.resume, tell=progress)
        for target in targets_of(self.settings):
            await session.ask(target)


def _report(targets: list[ContextTarget], settings: Settings, name: str, *, as_json: bool) -> bool:
    """Save, write and tell what was found; whether what is required, or the gate, is missed."""
    document = context_document(targets, settings, shlex.join(["llmbench", *sys.argv[1:]]), name)
    save_context(document, settings.output.report_dir, name)
    paths = write_context(document, settings.output)
    verdicts = _verdicts(targets, settings)
    if as_json:
        told: dict[str, Any] = {
            **document.model_dump(mode="json"),
            "requirements": {name: dataclasses.asdict(verdict) for name, verdict in verdicts},
            "paths": {kind: str(path) for kind, path in paths.items()},
        }
        typer.echo(json.dumps(told, ensure_ascii=False, indent=2, allow_nan=False))
    else:
        for line in terminal_lines(context_report(document, settings.output.language, paths=paths), report_width()):
            typer.echo(line)
    for target, verdict in verdicts:
        typer.echo(f"{'FAIL' if verdict.failed else 'PASS'}: {target}: {verdict.message}", err=True)
    regressed = document.comparison is not None and document.comparison.failed
    return regressed or any(verdict.failed for _, verdict in verdicts)


def _verdicts(targets: list[ContextTarget], settings: Settings) -> list[tuple[str, RequirementResult]]:
    """Of each target, by its name; one that is tested twice is judged twice."""
    required = settings.context.require
    if required is None:
        return []
    return [(target.name, judge_context(target, required, settings.gate.inconclusive)) for target in targets]
