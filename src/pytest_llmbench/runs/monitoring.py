"""Many saved runs held against one fixed baseline, so that looking again and again makes no alarm of chance."""

from __future__ import annotations

import collections
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.runs.baseline import Comparable
from pytest_llmbench.runs.gate import namesakes
from pytest_llmbench.runs.lost_answers import counted_as_worst
from pytest_llmbench.runs.paired_scores import CaseGrid, PairedScores
from pytest_llmbench.runs.typed import DriftPoint, DriftSeries, Monitored, UnwatchedMetric, WatchedRun
from pytest_llmbench.stats.confidence_sequence import drifts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


def monitor(
    baseline: Comparable,
    runs: Sequence[Comparable],
    *,
    metrics: Sequence[str],
    margins: Mapping[str, float] = {},
    alpha: float = 0.05,
) -> Monitored:
    """How far each variant's mean of each metric has drifted since the baseline, after each of the runs.

    `runs` are in the order they were made. A run with other cases, prompts or epochs of a case missing is not
    comparable, and left out with the reason; so is, of one metric, a run that did not score all that the baseline did.
    Cases that the baseline did not score whole are in no table. An alarm is raised where the upper bound of the drift
    for the better is below minus the metric's margin, 0 where `margins` is silent. The chance of any false alarm,
    however many runs are looked at, is at most alpha: each metric of each variant has its equal part. A metric that
    cannot be watched is told with the reason.

    Raises:
        UsageError: no run can be held against the baseline, or no metric's scores lie between 0 and 1.
    """
    reasons = [_why_not(baseline, run) for run in runs]
    kept = [run for run, reason in zip(runs, reasons, strict=True) if reason is None]
    if not kept:
        raise UsageError(f"none of the {len(runs)} runs can be held against {baseline.name}: {next(iter(reasons), '')}")
    pairs = namesakes(baseline.metadata["variants"], kept[0].metadata["variants"])
    tables = _tables(baseline, kept, pairs, metrics)
    bounded = {key: table for key, table in tables.items() if isinstance(table, _Table)}
    unwatched = [
        UnwatchedMetric(variant=pair[1], metric=metric, reason=why)
        for (pair, metric), why in tables.items()
        if isinstance(why, str)
    ]
    if not bounded:
        told = "; ".join(f"{one.metric} of {one.variant}: {one.reason}" for one in unwatched)
        raise UsageError(f"{told}: monitoring needs scores between 0 and 1 in every case; choose other metrics")
    error = alpha / len(bounded)
    series = [
        _series(pair[1], metric, table, margins.get(metric, 0.0), error) for (pair, metric), table in bounded.items()
    ]
    watched = [
        WatchedRun(run=run.name, timestamp=run.metadata.get("timestamp"), not_comparable=reason)
        for run, reason in zip(runs, reasons, strict=True)
    ]
    return Monitored(
        baseline=baseline.name,
        alpha=alpha,
        runs=tuple(watched),
        series=tuple(series),
        unwatched=tuple(unwatched),
    )


def _why_not(baseline: Comparable, run: Comparable) -> str | None:
    before, after = ({row["case"]: row["prompt_sha"] for row in side.rows} for side in (baseline, run))
    if missing := before.keys() - after.keys():
        return f"{len(missing)} cases of the baseline are missing"
    if changed := [case for case in before if before[case] != after[case]]:
        return f"{len(changed)} cases ask or expect something else"
    asked = collections.Counter(row["case"] for row in run.rows if row["case"] in before)
    if fewer := [case for case, times in asked.items() if times < max(asked.values())]:
        return f"{len(fewer)} cases were asked fewer times than others"
    if not namesakes(baseline.metadata["variants"], run.metadata["variants"]):
        return "no variant has a counterpart"
    return None


_Key = tuple[tuple[str, str], str]
"""The variants before and after, and the metric."""


@dataclass(frozen=True, slots=True)
class _Table:
    """The baseline's scores, (cases, epochs), those of each run that has them all, and why others are left out.

    `sign` makes a change for the better positive.
    """

    before: Floats
    after: Sequence[tuple[str, Floats]]
    left_out: Mapping[str, str]
    sign: float


def _tables(
    baseline: Comparable, runs: Sequence[Comparable], pairs: Sequence[tuple[str, str]], metrics: Sequence[str]
) -> dict[_Key, _Table | str]:
    """A table for each pair and metric, or why there is none."""
    keys = [(pair, metric) for pair in pairs for metric in metrics]
    scored = [_scores(baseline, run, pairs, metrics) for run in runs]
    return {key: _table(baseline, runs, key, [one[place] for one in scored]) for place, key in enumerate(keys)}


def _scores(
    baseline: Comparable, run: Comparable, pairs: Sequence[tuple[str, str]], metrics: Sequence[str]
) -> list[PairedScores]:
    sides, _ = counted_as_worst((baseline, run), pairs, metrics)
    return list(CaseGrid(*sides).scores(pairs, metrics))


def _table(baseline: Comparable, runs: Sequence[Comparable], key: _Key, scored: Sequence[PairedScores]) -> _Table | str:
    """Of the cases that the baseline scored: every run is held against the same ones."""
    (earlier, later), metric = key
    asked = _scored_whole(baseline, earlier, metric)
    if not asked:
        return "the baseline scores no case whole"
    before, left_out, sign = np.empty((0, 0)), {}, 1.0
    after: list[tuple[str, Floats]] = []
    for run, scores in zip(runs, scored, strict=True):
        applies = np.flatnonzero(np.isin(scores.cases, asked))
        order = applies[np.argsort(scores.cases[applies])]
        found = _own_epochs(scores.after[order])
        if later not in run.metadata["variants"]:
            left_out[run.name] = f"it has no {later}"
        elif unscored := int(np.isnan(found).any(axis=1).sum()):
            left_out[run.name] = f"{unscored} of {len(found)} cases are not scored whole"
        else:
            before = _own_epochs(scores.before[order])
            if not all(((side >= 0) & (side <= 1)).all() for side in (before, found)):
                return "its scores are not all between 0 and 1"
            about = (run.metadata.get("metrics") or {}).get(metric, {})
            sign = 1.0 if about.get("higher_is_better", True) else -1.0  # a run that lacks the metric does not tell
            after.append((run.name, found))
    if not after:
        return f"no run scores what the baseline does; of {runs[-1].name} {left_out[runs[-1].name]}"
    return _Table(before, after, left_out, sign)


def _scored_whole(baseline: Comparable, variant: str, metric: str) -> list[str]:
    """The cases that the baseline scored in every epoch in which it scored any: the same ones, whatever a run lacks."""
    epochs: dict[str, set[int]] = {}
    for row in baseline.rows:
        if row["scores"].get(metric, {}).get(variant) is not None:
            epochs.setdefault(row["case"], set()).add(row["epoch"])
    every = set[int]().union(*epochs.values())
    return [case for case, own in epochs.items() if own == every]


def _own_epochs(scores: Floats) -> Floats:
    """Without the epochs that this side does not have; all of them where it has no score at all."""
    own = ~np.isnan(scores).all(axis=0)
    return scores[:, own] if own.any() else scores


def _series(variant: str, metric: str, table: _Table, margin: float, error: float) -> DriftSeries:
    names = [name for name, _ in table.after]
    found = list(drifts(table.before, [scores for _, scores in table.after], error))
    better = [drift.high if table.sign > 0 else -drift.low for drift in found]
    return DriftSeries(
        variant=variant,
        metric=metric,
        margin=margin,
        cases=len(table.before),
        before=float(table.before.mean()),
        alarm=next((name for name, bound in zip(names, better, strict=True) if bound < -margin), None),
        points=tuple(
            DriftPoint(run=name, effect=drift.effect, low=drift.low, high=drift.high)
            for drift, name in zip(found, names, strict=True)
        ),
        left_out=dict(table.left_out),
    )
