"""What to conclude from a run, and what not."""

from __future__ import annotations

from array import array
from collections.abc import Iterator

from pytest_llmbench.core.locale import N_, Words
from pytest_llmbench.core.records import BASE
from pytest_llmbench.reports.cautions import cautions
from pytest_llmbench.reports.judgement import against_base, is_proved
from pytest_llmbench.reports.pairing import relative_change
from pytest_llmbench.reports.score_remarks import calibrated_cosine
from pytest_llmbench.runs.comparison import (
    Comparison,
    Grade,
    compare_variants,
    leading_metric,
    weakest_category,
)
from pytest_llmbench.runs.typed import RunDocument

_GRADES = {
    Grade.EFFECTIVE: N_("Fine-tuning EFFECTIVE"),
    Grade.MODERATE: N_("Fine-tuning MODERATE"),
    Grade.INSUFFICIENT: N_("Fine-tuning INSUFFICIENT"),
}

_CHANGED = (
    N_("{variant}: {metric} {base} -> {tuned}, {gain} (paired results: {count})."),
    N_("{grade} for {variant}: {metric} {base} -> {tuned}, {gain} (paired results: {count})."),
)
_CHANGED_WITH_LOST = (
    N_("{variant}: {metric} {base} -> {tuned}, {gain} (cases: {count}, lost answers as the worst score)."),
    N_("{grade} for {variant}: {metric} {base} -> {tuned}, {gain} (cases: {count}, lost answers as the worst score)."),
)
_BARELY_DIFFERS = 0.95
_FULL = 1.0  # what metrics that lead give at most


def recommendations(document: RunDocument, say: Words) -> list[str]:
    """How large the changes are, what to work on, what to beware of, and how far the numbers carry."""
    lines: list[str] = []
    compared = document.adapters
    for variant in compared:
        lines += [change_line(document, variant, say), *_advice(document, variant, say), ""]
    for variant in document.variants if not compared else ():
        lines += [
            say(
                "Only {variant} answered: there is nothing to compare. Run with a base and an adapter for a verdict.",
                variant=variant,
            ),
            *_weakest(document, variant, say),
            "",
        ]
    if warned := cautions(document, say):
        lines += [*warned, ""]
    if any(grade(document, variant) for variant in compared):
        lines.append(
            say(
                "Grades of a proved improvement by its relative size: effective above 10%, moderate from 5% to "
                "10%, insufficient below 5%."
            )
        )
    if against_base(document) is not None:
        return [
            *lines,
            say("The verdict says what these cases prove of others of their kind; the tables describe these cases."),
        ]
    return [
        *lines,
        say(
            "These numbers describe the cases of this run ({count}) and nothing more. They are not a test of "
            "significance: with other cases of the same kind the difference could be smaller, or the other way "
            "round.",
            count=document.statistics.cases,
        ),
    ]


def grade(document: RunDocument, variant: str) -> Grade | None:
    """The reference's grade of a change that the run proves; None for any other."""
    comparison = compare_variants(document, variant)
    if comparison is None or not is_proved(document, variant, comparison.metric):
        return None
    return comparison.grade


def change_line(document: RunDocument, variant: str, say: Words) -> str:
    """The adapter's means beside the base's, the gain and the count it rests on; with its grade where it has one."""
    comparison, graded = compare_variants(document, variant), grade(document, variant)
    if comparison is None or comparison.gain is None:
        return say("No verdict for {variant}: no result is scored for both it and the base.", variant=variant)
    verdict = comparison.verdict if comparison.lost else None
    numbers = {
        "variant": variant,
        "metric": say.metric(comparison.metric),
        "base": say.number(comparison.base_mean),
        "tuned": say.number(comparison.tuned_mean),
        "gain": gain_text(comparison, say),
        "count": len(comparison.changes) if verdict is None else verdict.n,
    }
    alone, praised = _CHANGED if verdict is None else _CHANGED_WITH_LOST
    if graded is None:
        return say(alone, **numbers)
    return say(praised, grade=f"{graded.symbol} {say(_GRADES[graded])}", **numbers)


def gain_text(comparison: Comparison, say: Words) -> str:
    """The relative improvement, or the points where the base's mean is zero, and which of both it is."""
    if comparison.in_points and comparison.gain is not None:
        return say(
            "{value} points of 100, as a mean of zero in the base has no relative improvement",
            value=say.hundredths(comparison.gain, signed=True),
        )
    return say("{value} relative", value=say.percent(comparison.gain, signed=True))


def _advice(document: RunDocument, variant: str, say: Words) -> Iterator[str]:
    comparison = compare_variants(document, variant)
    if comparison is not None:
        yield from _tally(comparison, say)
    yield from _weakest(document, variant, say)
    yield from _worse_categories(document, comparison, say)
    if _barely_differs(document, variant):
        yield say(
            "The answers of {variant} barely differ from the base's. Check that the training learned: loss, "
            "learning rate, steps.",
            variant=variant,
        )


def _tally(comparison: Comparison, say: Words) -> Iterator[str]:
    better, same, worse = comparison.tally()
    counts = {"better": better, "same": same, "worse": worse}
    if lost := comparison.lost_results():
        yield say(
            "Results: {better} improved, {same} unchanged, {worse} worse, {lost} lost by one side (the worst score "
            "there).",
            **counts,
            lost=lost,
        )
    elif comparison.changes:
        yield say("Results: {better} improved, {same} unchanged, {worse} worse.", **counts)


def _weakest(document: RunDocument, variant: str, say: Words) -> Iterator[str]:
    weakest, metric = weakest_category(document, variant), leading_metric(document, variant)
    if weakest is not None and metric is not None and weakest[1] < _FULL:
        category, value = weakest
        yield say(
            "Weakest category of {variant}: {category} ({metric} {value}). Focus there: more and closer "
            "training examples.",
            variant=variant,
            category=category,
            metric=say.metric(metric),
            value=say.number(value),
        )


def _worse_categories(document: RunDocument, comparison: Comparison | None, say: Words) -> Iterator[str]:
    if comparison is None:
        return
    worse = []
    for category in document.by_category:
        inside = comparison.within(category)
        if inside.base_mean is None or inside.tuned_mean is None:
            continue
        change = inside.tuned_mean - inside.base_mean
        if relative_change(change, higher=True) == "worse":
            worse.append(f"{category} ({say.number(change, signed=True)})")
    if worse:
        yield say(
            "{variant} is worse than the base in: {categories}. Look at these before shipping.",
            variant=comparison.tuned,
            categories=", ".join(worse),
        )


def _barely_differs(document: RunDocument, variant: str) -> bool:
    """Nearly every answer is the base's, word for word or in what it means.

    Answers that begin alike and are shortened here are left out: nobody knows how they go on.
    """
    answers = (row.completions for row in document.results if {BASE, variant} <= row.completions.keys())
    pairs = ((one[BASE], one[variant]) for one in answers if one[BASE].answered and one[variant].answered)
    compared = ((base.text == own.text, base.text_cut or own.text_cut) for base, own in pairs)
    equal = array("B", (same for same, cut in compared if not (same and cut)))
    calibrated = calibrated_cosine(document, variant)
    alike = calibrated is not None and calibrated[-1] > _BARELY_DIFFERS
    return alike or (bool(equal) and sum(equal) / len(equal) > _BARELY_DIFFERS)
