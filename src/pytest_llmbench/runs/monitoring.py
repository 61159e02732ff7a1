"""Many saved runs held against one fixed baseline, so that looking again and again makes no alarm of chance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.runs.baseline import Comparable
from pytest_llmbench.runs.gate import namesakes
from pytest_llmbench.runs.lost_answers import counted_as_worst
from pytest_llmbench.runs.paired_scores import CaseGrid, PairedScores
from pytest_llmbench.runs.typed import DriftPoint, DriftSeries, Monitored, WatchedRun
from pytest_llmbench.stats.confidence_sequence import drifts


def monitor(
    baseline: Comparable,
    runs: Sequence[Comparable],
    *,
    metrics: Sequence[str],
    margin: float = 0.0,
    alpha: float = 0.05,
) -> Monitored:
    """How far each variant's mean of each metric has drifted since the baseline, after each of the runs.

    `runs` are in the order they were made. A run with other cases, prompts or epochs of a case missing is not
    comparable, and left out with the reason. An alarm is raised where the upper bound of the drift for the better is
    below minus the margin. The chance of any false alarm, however many runs are looked at, is at most alpha: each
    metric of each variant has its equal part.

    Raises:
        UsageError: no run can be held against the baseline, or no metric's scores lie between 0 and 1.
    """
    reasons = [_why_not(baseline, run) for run in runs]
    kept = [run for run, reason in zip(runs, reasons, strict=True) if reason is None]
    if not kept:
        raise UsageError(f"none of the {len(runs)} runs can be held against {baseline.name}: {next(iter(reasons), '')}")
    pairs = namesakes(baseline.metadata["variants"], kept[0].metadata["variants"])
    tables = _tables(baseline, kept, pairs, metrics)
    bounded = {key: table for key, table in tables.items() if table is not None}
    if not bounded:
        raise UsageError(
            f"{', '.join(metrics)}: not scored in every case and between 0 and 1, which monitoring needs; choose others"
        )
    series = [
        _series(pair[1], metric, table, kept, margin, alpha / len(bounded)) for (pair, metric), table in bounded.items()
    ]
    watched = [
        WatchedRun(run=run.name, timestamp=run.metadata.get("timestamp"), not_comparable=reason)
        for run, reason in zip(runs, reasons, strict=True)
    ]
    return Monitored(baseline=baseline.name, alpha=alpha, margin=margin, runs=tuple(watched), series=tuple(series))


def _why_not(baseline: Comparable, run: Comparable) -> str | None:
    before, after = ({row["case"]: row["prompt_sha"] for row in side.rows} for side in (baseline, run))
    if missing := before.keys() - after.keys():
        return f"{len(missing)} cases of the baseline are missing"
    if changed := [case for case in before if before[case] != after[case]]:
        return f"{len(changed)} cases ask or expect something else"
    if not namesakes(baseline.metadata["variants"], run.metadata["variants"]):
        return "no variant has a counterpart"
    return None


_Key = tuple[tuple[str, str], str]
"""The variants before and after, and the metric."""
_Table = tuple[Any, list[Any], float]
"""The baseline's scores, those of each run, and the sign for the better."""


def _tables(
    baseline: Comparable, runs: Sequence[Comparable], pairs: Sequence[tuple[str, str]], metrics: Sequence[str]
) -> dict[_Key, _Table | None]:
    """A table for each pair and metric; None where scores are not all in [0, 1], or a run lacks the variant."""
    keys = [(pair, metric) for pair in pairs for metric in metrics]
    scored = [_scores(baseline, run, pairs, metrics) for run in runs]
    return {key: _table(baseline, runs, key, [one[place] for one in scored]) for place, key in enumerate(keys)}


def _scores(
    baseline: Comparable, run: Comparable, pairs: Sequence[tuple[str, str]], metrics: Sequence[str]
) -> list[PairedScores]:
    sides, _ = counted_as_worst((baseline, run), pairs, metrics)
    return list(CaseGrid(*sides).scores(pairs, metrics))


def _table(
    baseline: Comparable, runs: Sequence[Comparable], key: _Key, scored: Sequence[PairedScores]
) -> _Table | None:
    """Of the cases that the baseline scored: every run is held against the same ones."""
    pair, metric = key
    if any(pair[1] not in run.metadata["variants"] for run in runs):
        return None
    about = (runs[-1].metadata.get("metrics") or {}).get(metric, {})
    asked = [row["case"] for row in baseline.rows if row["scores"].get(metric, {}).get(pair[0]) is not None]
    before, after = [], []
    for scores in scored:
        applies = np.flatnonzero(np.isin(scores.cases, asked))
        order = applies[np.argsort(scores.cases[applies])]
        before.append(_whole(scores.before[order]))
        after.append(_whole(scores.after[order]))
    if any(found is None for found in (*before, *after)):
        return None
    return before[0], after, 1.0 if about.get("higher_is_better", True) else -1.0


def _whole(scores: Any) -> Any:
    """Without the epochs that this side does not have; None where a score is missing or beyond 0 and 1."""
    asked = scores[:, ~np.isnan(scores).all(axis=0)]
    return asked if asked.size and ((asked >= 0) & (asked <= 1)).all() else None


def _series(
    variant: str,
    metric: str,
    table: _Table,
    runs: Sequence[Comparable],
    margin: float,
    error: float,
) -> DriftSeries:
    before, after, sign = table
    found = list(drifts(before, after, error))
    better = [drift.high if sign > 0 else -drift.low for drift in found]
    return DriftSeries(
        variant=variant,
        metric=metric,
        cases=len(before),
        before=float(before.mean()),
        alarm=next((run.name for run, bound in zip(runs, better, strict=True) if bound < -margin), None),
        points=tuple(
            DriftPoint(run=run.name, effect=drift.effect, low=drift.low, high=drift.high)
            for drift, run in zip(found, runs, strict=True)
        ),
    )
