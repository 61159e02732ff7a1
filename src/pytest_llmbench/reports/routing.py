"""Which tool each answer names beside the one that was expected: the confusion matrix, and its rates a tool.

Counts and rates are scikit-learn's, which is imported here, when a report is drawn, and nowhere else.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

from pytest_llmbench.core.errors import NotReadyError
from pytest_llmbench.core.extras import required
from pytest_llmbench.metrics.routing import ToolFinder, named_unknown, tool_finder
from pytest_llmbench.runs.typed import CompletionDocument, FaultDocument, Result, RunDocument

METRIC, CALLS = "tool_accuracy", "call_accuracy"
NO_TOOL, UNKNOWN = "", "?"
"""Labels that no tool can have: the answer names none, or one that is not in the vocabulary."""

_INSTEAD = {"wrong tool", "unreadable call"}
"""Reasons that, where they say which tool was expected, tell of another one."""

Pair = tuple[str, str]
"""The tool that was expected, and the one that was named."""


@dataclasses.dataclass(frozen=True, slots=True)
class ToolRates:
    """One expected tool: precision is None where no answer named it, F1 where nothing was right or wrong about it."""

    tool: str
    support: int
    precision: float | None
    recall: float | None
    f1: float | None


@dataclasses.dataclass(frozen=True, slots=True)
class Routing:
    """One variant's routing. `counts[row][column]` is over `labels`, expected by named; `unscored` have no answer."""

    variant: str
    labels: Sequence[str]
    counts: Sequence[Sequence[int]]
    rates: Sequence[ToolRates]
    macro_f1: float | None
    unscored: int

    @property
    def total(self) -> int:
        """Answers that were judged."""
        return sum(map(sum, self.counts))

    @property
    def right(self) -> int:
        """Answers that named the expected tool."""
        return sum(self.counts[place][place] for place in range(len(self.labels)))

    def confusions(self) -> list[tuple[Pair, int]]:
        """Which tool was named for which other one, and how often: most often first."""
        found = Counter(
            {
                (expected, named): count
                for expected, row in zip(self.labels, self.counts, strict=True)
                for named, count in zip(self.labels, row, strict=True)
                if count and expected != named
            }
        )
        return found.most_common()


def is_routed(document: RunDocument) -> bool:
    """Whether the run has answers whose tool was judged."""
    variants = document.variants
    return any(_judged(row, variant) for row in document.results for variant in variants)


def routings(document: RunDocument) -> list[Routing]:
    """Each variant's routing, all over the same labels: expected tools, then others that were named.

    Raises:
        NotReadyError: scikit-learn is not installed; the message says what installs it.
    """
    return document.once("routings", lambda: _routings(document))


def _routings(document: RunDocument) -> list[Routing]:
    finder = tool_finder(_tools(document))
    pairs = {variant: Counter[Pair]() for variant in document.variants}
    unscored: Counter[str] = Counter()
    for row in document.results:
        if _expected(row) is not None:
            for variant, found in pairs.items():
                if _judged(row, variant):
                    found[_pair(row, variant, finder)] += 1
                else:
                    unscored[variant] += 1
    labels = _labels([pair for found in pairs.values() for pair in found])
    return [_routing(variant, found, labels, unscored[variant]) for variant, found in pairs.items() if found]


def unavailable(document: RunDocument) -> str | None:
    """Why the routing of a run that has some cannot be counted: what to install. None where it can."""
    try:
        required("sklearn.metrics")
    except NotReadyError as error:
        return str(error) if is_routed(document) else None
    return None


def named_tool(answer: CompletionDocument, finder: ToolFinder) -> str:
    """The tool that an answer of a run document names: the one place that reads it."""
    found = finder(answer.text)
    if found is not None:
        return found
    return UNKNOWN if named_unknown(answer.text) else NO_TOOL


def _pair(row: Result, variant: str, finder: ToolFinder) -> Pair:
    """The metric has the last word: it saw the whole answer, its calls, and the vocabulary of its time."""
    expected, metric = _expected(row) or NO_TOOL, _judge(row)
    if row.score(metric, variant) == 1:
        return expected, expected
    if wrong := row.faults(metric, variant):
        return expected, _told(wrong, expected)
    named = named_tool(row.completions[variant], finder) if variant in row.completions else NO_TOOL
    return expected, UNKNOWN if named == expected else named


def _expected(row: Result) -> str | None:
    """The one tool of a case, `NO_TOOL` where none is right; None where the case does not say, or wants several."""
    calls = row.calls
    if row.tool is not None or not isinstance(calls, tuple) or len(calls) > 1:
        return row.tool
    return calls[0].name if calls else NO_TOOL


def _judge(row: Result) -> str:
    """The metric that tells where the case's answers route: of a case with calls alone, the one that judges those."""
    return METRIC if row.tool is not None else CALLS


def _told(wrong: Sequence[FaultDocument], expected: str) -> str:
    """The label of what the metric found wrong. Beside a call of the right tool, others do not matter."""
    kinds = {fault.reason for fault in wrong}
    if "unknown tool" in kinds:
        return UNKNOWN
    instead = [fault.tool for fault in wrong if fault.reason in _INSTEAD and fault.tells("expected")]
    if instead:
        return str(instead[0])
    if kinds & {"no tool named", "missing call"}:
        return NO_TOOL
    return expected or str(wrong[0].tool)


def _judged(row: Result, variant: str) -> bool:
    return _expected(row) is not None and row.score(_judge(row), variant) is not None


def _tools(document: RunDocument) -> list[str]:
    """The vocabulary that the run recorded; older runs tell only the tools that they expected."""
    recorded = document.metadata.vocabulary.names if document.metadata.vocabulary else ()
    return list(dict.fromkeys([*recorded, *(row.tool for row in document.results if row.tool)]))


def _labels(pairs: Sequence[Pair]) -> list[str]:
    """Expected tools as the suites have them, then tools that were only named, then no tool and unknown ones."""
    expected = dict.fromkeys(tool for tool, _ in pairs if tool not in {NO_TOOL, UNKNOWN})
    named = dict.fromkeys(tool for _, tool in pairs if tool not in {NO_TOOL, UNKNOWN})
    present = {label for pair in pairs for label in pair}
    return [*dict.fromkeys([*expected, *named]), *(label for label in (NO_TOOL, UNKNOWN) if label in present)]


def _routing(variant: str, pairs: Counter[Pair], labels: Sequence[str], unscored: int) -> Routing:
    metrics = required("sklearn.metrics")
    expected, named = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    weights = {"labels": labels, "sample_weight": list(pairs.values())}
    counts = [[pairs.total()]]  # of a single label scikit-learn would warn, though it is told which
    if len(labels) > 1:
        counts = metrics.confusion_matrix(expected, named, **weights).tolist()
    scores = metrics.precision_recall_fscore_support(expected, named, **weights, zero_division=float("nan"))
    rates = [
        ToolRates(tool, int(support), _known(precision), _known(recall), _known(f1))
        for tool, precision, recall, f1, support in zip(labels, *scores, strict=True)
        if support
    ]
    known = [rate.f1 for rate in rates if rate.f1 is not None]
    return Routing(variant, labels, counts, rates, sum(known) / len(known) if known else None, unscored)


def _known(value: float) -> float | None:
    return None if value != value else float(value)  # noqa: PLR0124  NaN is what scikit-learn calls undefined
