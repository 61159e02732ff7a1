"""What benchmarks left: runs with their verdicts, comparisons, and the reports that people read."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from pytest_llmbench.core.errors import MissingRunError, NotReadyError, UsageError
from pytest_llmbench.core.records import BASE
from pytest_llmbench.reports.judgement import is_part
from pytest_llmbench.runs.averages import in_short
from pytest_llmbench.runs.folders import RunFolder, saved_runs
from pytest_llmbench.runs.storage import read_document, read_head
from pytest_llmbench.runs.typed import GateDocument, RunDocument, VerdictOutcome, gate_document, run_document
from pytest_llmbench.studio.job_files import error_of
from pytest_llmbench.studio.options import StudioOptions

_COMMAND_S = 120


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True)


class RunCard(_Document):
    """A saved run. `means` are variant -> metric -> mean; `outcome` that of its gate, else of its comparison.

    It passes or fails only where it is `gated`; a comparison says whether it is better, or worse, and has no outcome
    where it compared nothing, or a part of the cases.
    """

    id: str = Field(description="number and name, as its folder is called", examples=["0007_accepted"])
    timestamp: str
    base_model: str | None
    adapter: str | None
    variants: tuple[str, ...]
    cases: int
    outcome: VerdictOutcome | None
    gated: bool
    means: dict[str, dict[str, float | None]]


class RunList(_Document):
    """All saved runs that can be read, the newest first; `unreadable` says why others cannot be."""

    runs: tuple[RunCard, ...]
    unreadable: tuple[str, ...] = ()


class RunDetail(RunCard):
    """A run with its verdict: the gate that it was held to, and the comparison of each fine-tune with the base."""

    gate: GateDocument | None
    comparison: GateDocument | None


class Comparison(_Document):
    """Two runs, case by case: what moved, how surely, and whether the second is worse."""

    baseline: str
    run: str
    gate: GateDocument


class Results:
    """The saved runs of the project."""

    def __init__(self, options: StudioOptions) -> None:
        self._settings = options.settings
        self._config = ["--config", str(options.config)] if options.config else []
        self._folder = options.settings.output.report_dir
        self._pages = options.folder / "pages"

    def list(self) -> RunList:
        """All runs in short."""
        cards, unreadable = [], []
        for run in reversed(saved_runs(self._folder)):
            try:
                cards.append(_card(run, read_head(run.path)))
            except UsageError as error:
                unreadable.append(str(error))
        return RunList(runs=tuple(cards), unreadable=tuple(unreadable))

    def get(self, title: str) -> RunDetail:
        """One run with its verdict.

        Raises:
            MissingRunError: there is none of this number and name.
            UsageError: its file cannot be read.
        """
        run = self._find(title)
        document = read_document(run.path)
        typed = run_document(document)
        return RunDetail(**dict(_card(run, document)), gate=typed.gate, comparison=typed.comparison)

    def head(self, title: str) -> RunDocument:
        """One run without its results, which are not read.

        Raises:
            MissingRunError: there is none of this number and name.
            UsageError: its file cannot be read.
        """
        return run_document(read_head(self._find(title).path))

    def compare(self, baseline: str, title: str) -> Comparison:
        """The second run held against the first, by `llmbench compare`.

        Raises:
            MissingRunError: one of them is not there.
            LLMBenchError: they cannot be compared; in the words of the command.
        """
        before, after = self._find(baseline), self._find(title)
        gate = self._settings.gate
        chosen = ["--alpha", str(gate.alpha), "--report-dir", str(self._folder)]
        chosen += self._config  # what becomes of lost answers
        told = json.loads(_command("compare", before.title, after.title, "--json", *chosen))
        return Comparison(baseline=before.title, run=after.title, gate=gate_document(told["runs"][0]["gate"]))

    def report(self, title: str, language: str | None = None) -> str:
        """The run's page, one file with its style and scripts inside; made by `llmbench report` and kept.

        Raises:
            MissingRunError: there is no such run.
            LLMBenchError: it cannot be read; in the words of the command.
        """
        run, language = self._find(title), language or self._settings.output.language
        page = self._pages / f"{run.title}.{language}.html"
        if not page.is_file() or page.stat().st_mtime < run.path.stat().st_mtime:
            made = ["--format", "html", "--language", language, "--output", str(page)]
            _command("report", run.title, *made, "--report-dir", str(self._folder))
        return page.read_text(encoding="utf-8")

    def _find(self, title: str) -> RunFolder:
        """The run of that number and name. Only what is listed can be named: it never becomes a path."""
        runs = saved_runs(self._folder)
        found = next((run for run in runs if run.title == title), None)
        if found is None:
            raise MissingRunError(f"no run {title!r:.80}; there are {_some(runs)}")
        return found


def _command(*words: str) -> str:
    """What a command of the terminal says, in a process of its own: statistics and drawing take 200 MB.

    Raises:
        LLMBenchError: the command's own error.
    """
    command = [sys.executable, "-P", "-m", "pytest_llmbench.cli", *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_COMMAND_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise NotReadyError(f"llmbench {words[0]} did not end in {_COMMAND_S} s; is the machine too busy?") from error
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"it ended with code {done.returncode}"]
        kind = UsageError if done.returncode == UsageError.exit_code else NotReadyError
        raise kind(error_of(lines) or lines[-1])
    return done.stdout


def _some(runs: Sequence[RunFolder]) -> str:
    return ", ".join(run.title for run in runs[:-6:-1]) or "none yet"


def _card(run: RunFolder, document: Mapping[str, Any]) -> RunCard:
    typed = run_document(document)
    judged, outcome = typed.judged, None
    unjudged = judged is not None and judged.kind == "compare" and judged.against == BASE and is_part(typed)
    if judged is not None and not unjudged and (judged.kind != "compare" or judged.verdicts):
        outcome = judged.outcome
    return RunCard(
        id=run.title,
        timestamp=typed.metadata.timestamp,
        base_model=typed.metadata.base_model,
        adapter=typed.metadata.lora_adapter,
        variants=typed.variants,
        cases=typed.statistics.cases,
        outcome=outcome,
        gated=judged is not None and judged.kind != "compare",
        means=in_short(run.title, typed).variants,
    )
