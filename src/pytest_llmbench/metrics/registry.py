"""The metrics of a session: the built-in ones and those that a user's hook or `conftest.py` adds."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, SupportsFloat

from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.core.records import BASE

if TYPE_CHECKING:
    from pytest_llmbench.cases.suites import Case
    from pytest_llmbench.core.records import Completion

Score = SupportsFloat | bool | None
AnswerMetric = Callable[["Case", "Completion"], Score]
PairMetric = Callable[["Case", "Completion", "Completion"], Score]
Reasons = Callable[["Case", "Completion"], Sequence[Mapping[str, Any]]]
"""What is wrong with an answer, each with a `reason` and whatever tells more of it."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A named scoring function. A `pair` metric takes `(case, base, completion)`, any other `(case, completion)`.

    `reasons`, where a metric has them, say why an answer has not the best score.
    """

    name: str
    function: Callable[..., Score]
    pair: bool = False
    higher_is_better: bool = True
    unit: str | None = None
    reasons: Reasons | None = None


class MetricRegistry:
    """Scores completions with every metric added to it, in the order they were added."""

    def __init__(self) -> None:
        self._metrics: dict[str, Metric] = {}

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """The metrics by name."""
        return MappingProxyType(self._metrics)

    def add(
        self,
        name: str,
        function: AnswerMetric | PairMetric,
        *,
        pair: bool = False,
        higher_is_better: bool = True,
        unit: str | None = None,
        reasons: Reasons | None = None,
    ) -> None:
        """Add a metric: `function(case, completion)`, or `function(case, base, completion)` for a pair.

        It returns a number, a boolean (1 or 0), or None for *unscored*, and is called only where there is an answer
        (`Completion.answered`). A pair metric is called for each variant but the base. `reasons(case, completion)` may
        say what is wrong with an answer: a list of `{"reason": ..., ...}`, shown beside it.

        Raises:
            UsageError: the name is empty or taken, or `function` cannot be called with these arguments.
        """
        if not isinstance(name, str) or not name.strip():
            raise UsageError(f"a metric needs a name, not {name!r}")
        if name in self._metrics:
            raise UsageError(f"there is already a metric '{name}'; give yours another name, or switch that one off")
        _check_callable(name, function, ("case", "base", "completion") if pair else ("case", "completion"))
        self._metrics[name] = Metric(name, function, pair, higher_is_better, unit, reasons)

    def score(self, case: Case, completions: Mapping[str, Completion]) -> dict[str, dict[str, float | None]]:
        """Score each variant's completion: metric -> variant -> score, None where unscored.

        Raises:
            UsageError: a metric returned something that is not a score.
            Exception: whatever a metric raised, with a note of the metric, case and variant.
        """
        return {metric.name: _score(metric, case, completions) for metric in self._metrics.values()}

    def reasons(
        self, case: Case, completions: Mapping[str, Completion]
    ) -> dict[str, dict[str, list[Mapping[str, Any]]]]:
        """What is wrong with each variant's completion, metric -> variant; only where something is."""
        told = {
            metric.name: {
                variant: list(found)
                for variant, completion in completions.items()
                if completion.answered and (found := metric.reasons(case, completion))
            }
            for metric in self._metrics.values()
            if metric.reasons is not None
        }
        return {name: found for name, found in told.items() if found}


def _score(metric: Metric, case: Case, completions: Mapping[str, Completion]) -> dict[str, float | None]:
    scores: dict[str, float | None] = {}
    for variant, completion in completions.items():
        judged: tuple[Completion | None, ...] = (completion,)
        if metric.pair:
            if variant == BASE:
                continue
            judged = (completions.get(BASE), completion)
        answers = [answer for answer in judged if answer is not None and answer.answered]
        scores[variant] = _call(metric, case, variant, answers) if len(answers) == len(judged) else None
    return scores


def _call(metric: Metric, case: Case, variant: str, answers: list[Completion]) -> float | None:
    where = f"metric '{metric.name}', case {case.name}, variant '{variant}'"
    try:
        value = metric.function(case, *answers)
    except Exception as error:  # not handled: the author of the metric needs the traceback, and where it happened
        error.add_note(f"raised by {where}")
        raise
    return None if value is None else _number(value, where)


def _number(value: Any, where: str) -> float:
    try:
        # the protocol is looked up in 0.1 ms, which a million scores feel
        number = float(value) if isinstance(value, float | int | SupportsFloat) else None
    except (TypeError, ValueError, RuntimeError) as error:  # arrays and tensors of several elements
        raise _not_a_score(value, where) from error
    if number is None or not math.isfinite(number):
        raise _not_a_score(value, where)
    return number


def _not_a_score(value: object, where: str) -> UsageError:
    return UsageError(
        f"{where}: returned {value!r:.80} ({type(value).__name__}); "
        "return a finite number, a bool, or None for unscored"
    )


def _check_callable(name: str, function: object, arguments: tuple[str, ...]) -> None:
    if not callable(function):
        raise UsageError(f"metric '{name}': {function!r:.80} is not a function")
    try:
        signature = inspect.signature(function)
    except ValueError:  # a builtin that tells nothing of its arguments
        return
    try:
        signature.bind(*arguments)
    except TypeError as error:
        raise UsageError(f"metric '{name}': it is called with ({', '.join(arguments)}), but {error}") from error
