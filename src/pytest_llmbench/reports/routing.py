"""Which tool each answer names beside the one that was expected: the confusion matrix, and its rates a tool.

Precision, recall and F1 are as scikit-learn's `precision_recall_fscore_support` has them, undefined ones left out.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

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
    """One expected tool; precision is None where no answer named it."""

    tool: str
    support: int
    precision: float | None
    recall: float
    f1: float


@dataclasses.dataclass(frozen=True, slots=True)
class Routing:
    """One variant's routing. `counts[row][column]` is over `labels`, expected by named; `unscored` have no answer."""

    variant: str
    labels: Sequence[str]
    counts: Sequence[Sequence[int]]
    rates: Sequence[ToolRates]
    macro_f1: float
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
    """Each variant's routing, all over the same labels: expected tools, then others that were named."""
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


def _routing(variant: str, counted: Counter[Pair], labels: Sequence[str], unscored: int) -> Routing:
    counts = [[counted[expected, named] for named in labels] for expected in labels]
    rates = [_rates(label, counts, place) for place, label in enumerate(labels) if any(counts[place])]
    macro_f1 = sum(rate.f1 for rate in rates) / len(rates)
    return Routing(variant, labels, counts, rates, macro_f1, unscored)


def _rates(tool: str, counts: Sequence[Sequence[int]], place: int) -> ToolRates:
    """The rates of the label at that place, which is expected at least once."""
    right, expected, named = counts[place][place], sum(counts[place]), sum(row[place] for row in counts)
    return ToolRates(
        tool,
        expected,
        precision=right / named if named else None,
        recall=right / expected,
        f1=2 * right / (expected + named),
    )
