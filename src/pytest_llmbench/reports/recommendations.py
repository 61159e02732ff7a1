"""What to conclude from a run, and what not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pytest_llmbench.reports.cautions import cautions
from pytest_llmbench.reports.comparison import (
    Comparison,
    adapters,
    average,
    compare,
    leading_metric,
    weakest_category,
)
from pytest_llmbench.reports.wording import Words

FEW_CASES = 100
_BARELY_DIFFERS_ABOVE = 0.95
_MANY_AT_LIMIT = 0.2


def recommendations(document: Mapping[str, Any], say: Words) -> list[str]:
    """Verdicts by the reference's thresholds, what to work on, what to beware of, and how far the numbers carry."""
    lines: list[str] = []
    compared = adapters(document)
    for variant in compared:
        lines += [_marked_verdict(document, variant, say), *_advice(document, variant, say), ""]
    for variant in document["metadata"]["variants"] if not compared else ():
        lines += [say("one_variant", variant=variant), *_weakest(document, variant, say), ""]
    if warned := cautions(document, say):
        lines += [*warned, ""]
    lines += [say("thresholds")] if compared else []
    cases = document["statistics"]["cases"]
    lines.append(say("description_only", count=cases))
    return [*lines, say("few_cases", least=FEW_CASES)] if cases < FEW_CASES else lines


def verdict_line(document: Mapping[str, Any], variant: str, say: Words) -> str:
    """The adapter's grade with the means, the gain and the count it rests on."""
    comparison = compare(document, variant)
    if comparison is None or comparison.verdict is None:
        return say("no_pairs", variant=variant)
    return say(
        "verdict",
        grade=say(comparison.verdict),
        variant=variant,
        metric=say.metric(comparison.metric),
        base=say.number(comparison.base_mean),
        tuned=say.number(comparison.tuned_mean),
        gain=gain_text(comparison, say),
        count=len(comparison.changes),
    )


def _marked_verdict(document: Mapping[str, Any], variant: str, say: Words) -> str:
    comparison = compare(document, variant)
    mark = f"{comparison.verdict.symbol} " if comparison and comparison.verdict else ""
    return mark + verdict_line(document, variant, say)


def gain_text(comparison: Comparison, say: Words) -> str:
    """The relative improvement, or the points where the base's mean is zero, and which of both it is."""
    if comparison.in_points and comparison.gain is not None:
        return say("gain_points", value=say.hundredths(comparison.gain, signed=True))
    return say("gain_relative", value=say.percent(comparison.gain, signed=True))


def _advice(document: Mapping[str, Any], variant: str, say: Words) -> Iterator[str]:
    comparison = compare(document, variant)
    if comparison is not None and comparison.changes:
        better, same, worse = comparison.tally()
        yield say("tally", better=better, same=same, worse=worse)
    yield from _weakest(document, variant, say)
    yield from _worse_categories(document, comparison, say)
    cosine = average(document["statistics"], "cosine_similarity", variant)
    if cosine is not None and cosine > _BARELY_DIFFERS_ABOVE:
        yield say("barely_differs", variant=variant)
    yield from _answer_faults(document["statistics"]["answers"][variant], variant, say)


def _weakest(document: Mapping[str, Any], variant: str, say: Words) -> Iterator[str]:
    weakest, metric = weakest_category(document, variant), leading_metric(document, variant)
    if weakest is not None and metric is not None:
        category, value = weakest
        yield say("weakest", variant=variant, category=category, metric=say.metric(metric), value=say.number(value))


def _worse_categories(document: Mapping[str, Any], comparison: Comparison | None, say: Words) -> Iterator[str]:
    if comparison is None:
        return
    worse = []
    for category in document["by_category"]:
        inside = comparison.within(category)
        if inside.base_mean is not None and inside.tuned_mean is not None and inside.tuned_mean < inside.base_mean:
            change = say.number(inside.tuned_mean - inside.base_mean, signed=True)
            worse.append(f"{category} ({change})")
    if worse:
        yield say("worse_categories", variant=comparison.tuned, categories=", ".join(worse))


def _answer_faults(answers: Mapping[str, int], variant: str, say: Words) -> Iterator[str]:
    if answers["total"] and answers["length"] / answers["total"] >= _MANY_AT_LIMIT:
        yield say("many_at_limit", variant=variant, share=say.percent(answers["length"] / answers["total"]))
    if answers["timeout"]:
        yield say("timed_out", variant=variant, count=answers["timeout"])
