"""Many saved runs held against one fixed baseline, so that looking again and again makes no alarm of chance."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.runs.baseline import Comparable
from pytest_llmbench.runs.comparison import SPEED_METRICS
from pytest_llmbench.runs.drift_document import DriftPoint, DriftSeries, Monitored, UnwatchedMetric, WatchedRun
from pytest_llmbench.runs.gate import namesakes
from pytest_llmbench.runs.lost_answers import counted_as_worst
from pytest_llmbench.runs.paired_scores import CaseGrid, PairedScores
from pytest_llmbench.runs.row_columns import seconds_of
from pytest_llmbench.stats.confidence_sequence import DriftSums

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Numbers = NDArray[np.int64]


def monitor(
    baseline: Comparable,
    runs: Iterable[Comparable],
    *,
    metrics: Sequence[str],
    margins: Mapping[str, float] = {},
    alpha: float = 0.05,
) -> Monitored:
    """How far each variant's mean of each metric has drifted since the baseline, after each of the runs.

    `runs` are in the order they were made; none is held once it was looked at. A run with other cases, prompts or
    epochs of a case missing is not comparable, and left out with the reason; so is, of one metric, a run
    that did not score all that the baseline did. Answers that an earlier run or the baseline has already are no new
    evidence, nor are remembered ones that were made before the baseline: epochs with any of them are not counted, and
    a run without another epoch is left out; where there is no other run, there are no series. Cases that the baseline
    did not score whole are in no table. An alarm is raised where the upper bound of the drift for the better is below
    minus the metric's margin, 0 where `margins` is silent. The chance of any false alarm, however many runs are looked
    at, is at most alpha: each metric of each variant has its equal part. A metric that cannot be watched is told with
    the reason.

    Raises:
        UsageError: no run can be held against the baseline, or no metric's scores lie between 0 and 1.
    """
    watched: list[WatchedRun] = []
    watches: dict[_Key, _Watch] = {}
    nothing_new = False
    for run in runs:
        reason = _why_not(baseline, run)
        if reason is None:
            watches = watches or _watches(baseline, run, metrics)
            reason = _look(baseline, run, watches)
            nothing_new = nothing_new or reason is not None
        watched.append(WatchedRun(run=run.name, timestamp=run.metadata.get("timestamp"), not_comparable=reason))
    if all(run.not_comparable for run in watched):
        if nothing_new:
            return Monitored(baseline=baseline.name, alpha=alpha, runs=tuple(watched), series=())
        first = f"none of the {len(watched)} runs can: {watched[0].not_comparable}" if watched else "none can be read"
        raise UsageError(f"no run can be held against {baseline.name}: {first}")
    why_not = {key: watch.unwatched() for key, watch in watches.items()}
    bounded = [key for key, reason in why_not.items() if reason is None]
    unwatched = [
        UnwatchedMetric(variant=pair[1], metric=metric, reason=why)
        for (pair, metric), why in why_not.items()
        if why is not None
    ]
    if not bounded:
        told = "; ".join(f"{one.metric} of {one.variant}: {one.reason}" for one in unwatched)
        raise UsageError(f"{told}: monitoring needs scores between 0 and 1 in every case; choose other metrics")
    error = alpha / len(bounded)
    series = [watches[key].series(key, margins.get(key[1], 0.0), error) for key in bounded]
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


@dataclasses.dataclass(frozen=True, slots=True)
class _Repeated:
    """Which epochs of a run have answers that are no new evidence; `reason` is why it is left out, if all have."""

    epochs: frozenset[int] = frozenset()
    reason: str | None = None


class _Watch:
    """One metric of one variant, run after run: sums of the scores, and why runs are left out.

    `asked` are the cases that the baseline scored whole: every run is held against the same ones. `known` are the
    numbers of the baseline's answers, if they are known, and `since` is the second in which it was made.
    """

    def __init__(self, asked: Iterable[str], known: Numbers, since: float) -> None:
        self._asked = frozenset(asked)
        self._known = [known]
        self._since = since
        self._left_out: dict[str, str] = {}
        self._last = ""
        self._names: list[str] = []
        self._before = np.empty((0, 0))
        self._sums: DriftSums | None = None
        self._bounded = True
        self._sign = 1.0

    @property
    def is_live(self) -> bool:
        """Whether another run can change anything."""
        return bool(self._asked) and self._bounded

    def repeated(self, run: Comparable, variant: str) -> _Repeated:
        """What of the next run is no new evidence."""
        again = np.zeros(len(run.rows), dtype=bool)
        if answers := run.answers.of.get(variant):
            made, cached = np.asarray(answers.made), np.frombuffer(answers.cached, dtype=bool)
            # asked anew at a moment that nobody recorded, the same text may well come again
            known = np.isin(_numbers(run, variant), np.concatenate(self._known)) & (cached | ~np.isnan(made))
            again[: len(known)] = known | (cached & (made <= self._since))
        if not again.any():
            return _Repeated()
        asked = [(row["epoch"], mark) for row, mark in zip(run.rows, again, strict=True) if row["case"] in self._asked]
        epochs = frozenset(epoch for epoch, mark in asked if mark)
        if any(epoch not in epochs for epoch, _ in asked):
            return _Repeated(epochs)
        count = sum(bool(mark) for _, mark in asked)
        told = f"{count} of {len(asked)} answers are those of an earlier run, or older than the baseline"
        return _Repeated(epochs, told)

    def look(
        self, run: Comparable, key: _Key, scores: PairedScores, new: NDArray[np.bool_], why_not: str | None
    ) -> None:
        """Take in the next run's scores of the new epochs, or why it is left out."""
        (_, variant), metric = key
        self._last = run.name
        if not self.is_live:
            return
        applies = np.flatnonzero(np.isin(scores.cases, list(self._asked)))
        order = applies[np.argsort(scores.cases[applies])]
        found = _own_epochs(np.where(new, scores.after[order], np.nan))
        if variant not in run.metadata["variants"]:
            self._left_out[run.name] = f"it has no {variant}"
        elif why_not is not None:
            self._left_out[run.name] = why_not
        elif unscored := int(np.isnan(found).any(axis=1).sum()):
            self._left_out[run.name] = f"{unscored} of {len(found)} cases are not scored whole"
        else:
            self._add(run, metric, _own_epochs(scores.before[order]), found)
            self._known.append(_numbers(run, variant))

    def _add(self, run: Comparable, metric: str, before: Floats, found: Floats) -> None:
        self._bounded = all(((side >= 0) & (side <= 1)).all() for side in (before, found))
        if not self._bounded:
            return
        if self._sums is None:
            self._before, self._sums = before, DriftSums(before)
        about = (run.metadata.get("metrics") or {}).get(metric, {})
        self._sign = 1.0 if about.get("higher_is_better", True) else -1.0  # a run that lacks the metric does not tell
        self._sums.add(found)
        self._names.append(run.name)

    def unwatched(self) -> str | None:
        """Why there are no bounds, None where there are."""
        if not self._asked:
            return "the baseline scores no case whole"
        if not self._bounded:
            return "its scores are not all between 0 and 1"
        if self._sums is None:
            return f"no run scores what the baseline does; of {self._last} {self._left_out[self._last]}"
        return None

    def series(self, key: _Key, margin: float, error: float) -> DriftSeries:
        """The drift after each of the runs, its sign that of the scores; an alarm is of a drift for the worse."""
        (_, variant), metric = key
        found = list(self._sums.drifts(error)) if self._sums else []
        better = [drift.high if self._sign > 0 else -drift.low for drift in found]
        return DriftSeries(
            variant=variant,
            metric=metric,
            margin=margin,
            cases=len(self._before),
            before=float(self._before.mean()),
            alarm=next((name for name, bound in zip(self._names, better, strict=True) if bound < -margin), None),
            points=tuple(
                DriftPoint(run=name, effect=drift.effect, low=drift.low, high=drift.high)
                for drift, name in zip(found, self._names, strict=True)
            ),
            left_out=dict(self._left_out),
        )


def _watches(baseline: Comparable, run: Comparable, metrics: Sequence[str]) -> dict[_Key, _Watch]:
    pairs = namesakes(baseline.metadata["variants"], run.metadata["variants"])
    since = seconds_of(baseline.metadata["timestamp"])
    known = {pair: _numbers(baseline, pair[0]) for pair in pairs}
    return {
        (pair, metric): _Watch(_scored_whole(baseline, pair[0], metric), known[pair], since)
        for pair in pairs
        for metric in metrics
    }


def _look(baseline: Comparable, run: Comparable, watches: Mapping[_Key, _Watch]) -> str | None:
    """Hold the run against the baseline, unless it has nothing new for any of the watches: then the reason."""
    repeated = {key: watch.repeated(run, key[0][1]) for key, watch in watches.items() if watch.is_live}
    if repeated and all(found.reason for found in repeated.values()):
        return next(iter(repeated.values())).reason
    pairs, metrics = (list(dict.fromkeys(parts)) for parts in zip(*watches, strict=True))
    sides, _ = counted_as_worst((baseline, run), pairs, metrics)
    grid = CaseGrid(*sides)
    for (key, watch), scores in zip(watches.items(), grid.scores(pairs, metrics), strict=True):
        seen = repeated.get(key, _Repeated())
        why_not = seen.reason or _batched(key, baseline, run)
        watch.look(run, key, scores, ~np.isin(grid.epochs, list(seen.epochs)), why_not)
    return None


def _batched(key: _Key, baseline: Comparable, run: Comparable) -> str | None:
    """Why a metric of speed tells nothing of answers that waited for others."""
    (before, after), metric = key
    batch = max(baseline.largest_batch([before]), run.largest_batch([after]))
    shared = metric in SPEED_METRICS and batch > 1
    return f"answers shared batches of up to {batch}, so that none has a time of its own" if shared else None


def _numbers(run: Comparable, variant: str) -> Numbers:
    """By which the variant's answers are known again."""
    answers = run.answers.of.get(variant)
    return np.asarray(answers.numbers if answers else (), dtype=np.int64)


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
