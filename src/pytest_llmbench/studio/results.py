"""What benchmarks left: runs with their verdicts, comparisons, and the reports that people read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from pytest_llmbench.core.errors import MissingRunError, UsageError
from pytest_llmbench.runs.averages import in_short
from pytest_llmbench.runs.base_comparison import with_comparison
from pytest_llmbench.runs.baseline import comparable
from pytest_llmbench.runs.folders import RunFolder, saved_runs
from pytest_llmbench.runs.history import trend
from pytest_llmbench.runs.storage import read_document, read_head
from pytest_llmbench.runs.typed import GateDocument, VerdictOutcome, gate_document, run_document
from pytest_llmbench.studio.options import StudioOptions

_TREND_RUNS = 30


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True)


class RunCard(_Document):
    """A saved run. `means` are variant -> metric -> mean; `outcome` that of its gate, else of its comparison."""

    id: str = Field(description="number and name, as its folder is called", examples=["0007_accepted"])
    timestamp: str
    base_model: str | None
    adapter: str | None
    variants: tuple[str, ...]
    cases: int
    outcome: VerdictOutcome | None
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
        self._folder = options.settings.output.report_dir

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
        run, document = self._read(title)
        typed = run_document(document)
        return RunDetail(**dict(_card(run, document)), gate=typed.gate, comparison=typed.comparison)

    def compare(self, baseline: str, title: str) -> Comparison:
        """The second run held against the first, as `llmbench compare` does. Raises as `get` does."""
        from pytest_llmbench.runs.gate import compare_runs

        chosen = self._settings.gate
        sides = [comparable(document, run.title, run.path) for run, document in map(self._read, (baseline, title))]
        gate = compare_runs(
            *sides,
            kind="compare",
            alpha=chosen.alpha,
            margins={metric: chosen.margins.get(metric, chosen.margin) for metric in chosen.metrics},
            metrics=chosen.metrics,
            categories=chosen.categories,
            unscored=chosen.unscored,
        )
        return Comparison(baseline=sides[0].name, run=sides[1].name, gate=gate_document(gate))

    def report(self, title: str, language: str | None = None) -> str:
        """The run's page, one file with its style and scripts inside. Raises as `get` does."""
        from pytest_llmbench.reports.html.page import render_html

        _, document = self._read(title)
        typed = run_document(document)
        history = trend(self._folder, _TREND_RUNS, until=typed.metadata.timestamp)
        return render_html(typed, history, language or self._settings.output.language)

    def _read(self, title: str) -> tuple[RunFolder, Mapping[str, Any]]:
        """The run of that number and name. Only what is listed can be named: it never becomes a path."""
        runs = saved_runs(self._folder)
        found = next((run for run in runs if run.title == title), None)
        if found is None:
            raise MissingRunError(f"no run {title!r:.80}; there are {_some(runs)}")
        return found, with_comparison(read_document(found.path))


def _some(runs: Sequence[RunFolder]) -> str:
    return ", ".join(run.title for run in runs[:-6:-1]) or "none yet"


def _card(run: RunFolder, document: Mapping[str, Any]) -> RunCard:
    typed = run_document(document)
    judged = typed.gate or typed.comparison
    return RunCard(
        id=run.title,
        timestamp=typed.metadata.timestamp,
        base_model=typed.metadata.base_model,
        adapter=typed.metadata.lora_adapter,
        variants=typed.variants,
        cases=typed.statistics.cases,
        outcome=judged.outcome if judged else None,
        means=in_short(run.title, typed).variants,
    )
