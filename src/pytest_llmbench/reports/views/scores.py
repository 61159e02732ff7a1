"""The scores of a run: each metric over all cases, and by category."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pytest_llmbench.core.locale import N_, Words
from pytest_llmbench.core.records import BASE
from pytest_llmbench.reports.blocks import (
    Block,
    Cell,
    Change,
    Column,
    Delta,
    Depth,
    Heading,
    Name,
    Number,
    Percent,
    Section,
    Sentences,
    Table,
)
from pytest_llmbench.reports.score_remarks import cosine_meanings
from pytest_llmbench.runs.averages import compared
from pytest_llmbench.runs.comparison import Comparison, compare_variants, compared_metrics, relative
from pytest_llmbench.runs.typed import RunDocument, Statistics, VerdictDocument

_NOTE = N_(
    "Rel. is mean relevance, Keywords the mean share found, Tool the tool accuracy, Cosine the similarity to the "
    "base's answers."
)
_NOTE_WITH_CALLS = N_(
    "Rel. is mean relevance, Keywords the mean share found, Tool the tool accuracy, Calls the share of answers "
    "that make the expected calls, Cosine the similarity to the base's answers."
)

_AS_JUDGED = N_(
    "Where the verdict has the metric and category, changes are the verdict's: an answer that one side lost counts "
    "there as the worst score. Elsewhere lost answers are left out."
)

SHORT_TITLES = {
    "relevance": N_("Rel."),
    "keywords": N_("Keywords"),
    "tool_accuracy": N_("Tool"),
    "call_accuracy": N_("Calls"),
    "cosine_similarity": N_("Cosine"),
}
"""Metrics that a table of many columns has, with their titles there."""


def short_title(metric: str, say: Words) -> str:
    """The metric's title above a narrow column."""
    return say(SHORT_TITLES[metric])


def overall(run: RunDocument, say: Words) -> Section:
    """Every metric of every variant over the whole run, with the change from base to first adapter."""
    names = run.variants
    base, tuned = compared(names)
    compares = base is not None and tuned is not None
    rows: list[list[Cell]] = []
    for metric in compared_metrics(run):
        counts = run.statistics.metrics[metric].values()
        scored = dict.fromkeys(f"{one.scored}/{one.scored + one.unscored}" for one in counts)
        means = {name: run.statistics.mean(metric, name) for name in names}
        change = _change(compare_variants(run, tuned, metric)) if base is not None and tuned is not None else []
        rows.append([say.metric(metric), *map(Number, means.values()), *change, ", ".join(scored)])
    columns = [
        Column(say("Metric"), left=True),
        *(Column("", name) for name in names),
        *([Column(say("Difference")), Column(say("Relative"))] if compares else []),
        Column(say("Scored")),
    ]
    counted = tuned is not None and any(_with_lost(run, tuned, metric) for metric in compared_metrics(run))
    paired = say(_AS_JUDGED) if counted else say("Differences are paired: only results that are scored for both count.")
    remarks = [
        say("Unscored results are left out of every mean; '-' means that nothing was scored."),
        *([paired] if compares else []),
        *cosine_meanings(run, say),
    ]
    unscored = Sentences(list(_unscored(run, say)), depth=Depth.BRIEF)
    return Section("scores", say("Overall statistics"), [Table(columns, rows), unscored, Sentences(remarks)])


def _change(pairs: Comparison | None) -> list[Cell]:
    base, tuned = (pairs.base_mean, pairs.tuned_mean) if pairs else (None, None)
    difference = None if base is None or tuned is None else tuned - base
    return [Delta(difference), Percent(relative(base, tuned))]


def _unscored(run: RunDocument, say: Words) -> Iterator[str]:
    """One sentence for all that has no score, so that a mean over few is not taken for one over all."""
    missing = [
        say(
            "{metric} of {variant} {unscored}/{total}",
            metric=say.metric(metric),
            variant=variant,
            unscored=one.unscored,
            total=one.scored + one.unscored,
        )
        for metric in compared_metrics(run)
        for variant, one in run.statistics.metrics[metric].items()
        if one.unscored
    ]
    if missing:
        yield say("Unscored, and left out of the means: {counts}.", counts=", ".join(missing))


def by_category(run: RunDocument, say: Words) -> Section:
    """The means of the main metrics a category: base and adapter side by side, one table an adapter."""
    variants = run.variants
    tuned = [name for name in variants if name != BASE] if BASE in variants else []
    sides: list[tuple[str, ...]] = [(BASE, name) for name in tuned] or [(name,) for name in variants]
    blocks: list[Block] = []
    for shown in sides:
        narrow = _category_table(run, shown, say, depth=Depth.BRIEF, until=Depth.SUMMARY)
        wide = _category_table(run, shown, say, depth=Depth.FULL, until=Depth.FULL)
        blocks += [Heading(" -> ".join(shown), depth=Depth.BRIEF), narrow, wide]
    applied = [metric for metric in SHORT_TITLES if metric in run.statistics.metrics]
    with_calls = "call_accuracy" in applied
    note = say(_NOTE_WITH_CALLS if with_calls else _NOTE)
    if any(_with_lost(run, variant, metric) for variant in tuned for metric in applied):
        blocks.append(Sentences([say(_AS_JUDGED)], listed=False, depth=Depth.BRIEF))
    blocks.append(Sentences([note], listed=False))
    return Section("categories", say("By category"), blocks)


def _category_table(run: RunDocument, shown: Sequence[str], say: Words, *, depth: Depth, until: Depth) -> Table:
    """Where there is room, with the relative change of relevance, as it was judged or over what is scored for both."""
    with_change = until is Depth.FULL and len(shown) > 1
    pairs = compare_variants(run, shown[-1], "relevance") if with_change else None
    metrics = [metric for metric in SHORT_TITLES if metric in run.statistics.metrics]
    columns = [
        Column(say("Category"), left=True),
        Column(say("N")),
        *(Column(short_title(metric, say)) for metric in metrics),
        *([Column(" ".join([say("Rel."), say("change")]))] if with_change else []),
    ]

    judged = {metric: _with_lost(run, shown[-1], metric) for metric in metrics}

    def row(category: str | None, found: Statistics, pairs: Comparison | None) -> list[Cell]:
        name: Cell = say("All") if category is None else Name(category)
        means = [_mean(found, metric, shown, judged[metric].get(category)) for metric in metrics]
        change = [Percent(relative(pairs.base_mean, pairs.tuned_mean))] if pairs else []
        return [name, Number(found.total_tests), *means, *change]

    rows = [row(name, found, pairs and pairs.within(name)) for name, found in run.by_category.items()]
    return Table(columns, rows, [row(None, run.statistics, pairs)], depth=depth, until=until)


def _with_lost(run: RunDocument, variant: str, metric: str) -> Mapping[str | None, VerdictDocument]:
    """By category, the verdicts that count answers lost; none where nothing was."""
    pairs = compare_variants(run, variant, metric)
    return pairs.verdicts if pairs is not None and pairs.lost else {}


def _mean(found: Statistics, metric: str, shown: Sequence[str], judged: VerdictDocument | None) -> Cell:
    """Both sides, as they were judged where answers were lost; a metric of pairs has one value."""
    known = [name for name in shown if name in found.metrics.get(metric, {})]
    if len(known) > 1 and judged is not None:
        return Change(judged.before, judged.after)
    if len(known) > 1:
        return Change(found.mean(metric, known[0]), found.mean(metric, known[1]))
    return Number(found.mean(metric, known[0]) if known else None)
