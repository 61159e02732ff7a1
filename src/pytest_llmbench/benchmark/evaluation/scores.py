"""From the scores of an evaluation's answers to means, paired comparisons and verdicts."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

from pytest_llmbench.core.records import BASE
from pytest_llmbench.metrics.against_reference import corpus_scores
from pytest_llmbench.stats.share_interval import score_interval
from pytest_llmbench.stats.verdicts import Hypothesis, Outcome, Verdict, judge

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pytest_llmbench.generation.local.perplexity import TextLoss

    Floats = NDArray[np.float64]

RETRIEVAL = "retrieval"
"""The base with passages to read; with an adapter it is `retrieval+` the adapter's variant."""

OUTCOMES = {Outcome.PASS: "better", Outcome.FAIL: "worse", Outcome.INCONCLUSIVE: "no difference shown"}


Table = Mapping[str, Mapping[str, Sequence[float | None]]]
"""metric -> variant -> one score for each question, None where unscored."""


class _Mean(TypedDict):
    """A mean over the questions that are scored, with its 95 % interval where they are not all alike."""

    mean: float
    low: float | None
    high: float | None
    count: int


class ScoreComparison(TypedDict):
    """One variant against another in one metric, question by question. A positive effect is better."""

    variant: str
    against: str
    metric: str
    effect: float
    low: float | None
    high: float | None
    p_adjusted: float
    n: int
    outcome: str
    needed_cases: int | None


class Perplexity(TypedDict):
    """A variant's perplexity of general texts; `ratio` to the base's is above 1 where it forgot."""

    perplexity: float
    ratio: float | None
    low: float | None
    high: float | None
    outcome: str | None


def corpora(references: Sequence[str], answers: Mapping[str, Sequence[str | None]]) -> dict[str, dict[str, Any]]:
    """Each variant's corpus scores, over the questions that every one has answered: on others they are no comparison.

    `answers` have a text for each reference, None where there was none. A variant that answered nothing has no scores,
    and leaves the others theirs.
    """
    answering = {variant: texts for variant, texts in answers.items() if any(text is not None for text in texts)}
    shared = [
        (reference, texts)
        for reference, *texts in zip(references, *answering.values(), strict=True)
        if None not in texts
    ]
    found: dict[str, dict[str, Any]] = {variant: {} for variant in answers}
    for place, variant in enumerate(answering if shared else ()):
        texts = [str(row[place]) for _, row in shared]
        found[variant] = {**corpus_scores(texts, [reference for reference, _ in shared]), "questions": len(shared)}
    return found


def means(table: Table) -> dict[str, dict[str, _Mean]]:
    """Variant -> metric -> mean; metrics that were never scored are left out."""
    found: dict[str, dict[str, _Mean]] = {}
    for metric, by_variant in table.items():
        for variant, scores in by_variant.items():
            known = np.array([score for score in scores if score is not None], dtype=np.float64)
            if len(known):
                low, high = score_interval(known) or (None, None)
                found.setdefault(variant, {})[metric] = _Mean(
                    mean=float(known.mean()), low=low, high=high, count=len(known)
                )
    return found


def compared_scores(variants: Sequence[str]) -> list[tuple[str, str]]:
    """What is held against what: every variant against the base, and each fine-tune against retrieval."""
    pairs = [(variant, BASE) for variant in variants if variant != BASE]
    if RETRIEVAL in variants:
        tuned = [variant for variant in variants if variant != BASE and not variant.startswith(RETRIEVAL)]
        pairs += [(variant, RETRIEVAL) for variant in tuned]
    return pairs


def comparisons(
    table: Table,
    pairs: Iterable[tuple[str, str]],
    lower_is_better: frozenset[str],
    alpha: float,
    lost: Mapping[str, Collection[int]] = {},
) -> list[ScoreComparison]:
    """A verdict for each pair and metric; one family, so that any false one has at most chance alpha (Holm).

    `lost` are the questions to which a variant has no answer, by their place: where the other side is scored they count
    as the worst score of all, 0, or 1 where less is better, so that failing on hard questions makes nobody better.
    """
    asked = [
        (variant, against, metric, hypothesis)
        for variant, against in pairs
        for metric in table
        if (hypothesis := _hypothesis(table[metric], variant, against, lost, less=metric in lower_is_better))
    ]
    verdicts = judge([hypothesis for *_, hypothesis in asked], "compare", alpha) if asked else []
    return [
        _comparison(variant, against, metric, verdict)
        for (variant, against, metric, _), verdict in zip(asked, verdicts, strict=True)
    ]


def perplexities(losses: Mapping[str, Sequence[TextLoss]], alpha: float) -> dict[str, Perplexity]:
    """Each variant's perplexity over all texts, and the fine-tunes' ratios to the base's.

    The ratio is the exponential of the mean over the texts of the change of a token's loss, so that every text counts
    alike and the interval is a paired one. The tokens are the base's, whatever a fine-tune's own tokenizer makes of the
    texts: cutting them into more pieces makes none of them likelier.
    """
    losses = {variant: _per_token_of(losses[BASE], of) for variant, of in losses.items()}
    tuned = [variant for variant in losses if variant != BASE]
    means = {variant: np.array([one.mean for one in of]) for variant, of in losses.items()}
    asked = [Hypothesis.once(-means[BASE], -means[variant]) for variant in tuned]
    verdicts = dict(zip(tuned, judge(asked, "compare", alpha) if asked else [], strict=True))
    return {variant: _perplexity(of, verdicts.get(variant)) for variant, of in losses.items()}


def _per_token_of(base: Sequence[TextLoss], losses: Sequence[TextLoss]) -> list[TextLoss]:
    return [dataclasses.replace(one, tokens=own.tokens) for own, one in zip(base, losses, strict=True)]


def _perplexity(losses: Sequence[TextLoss], verdict: Verdict | None) -> Perplexity:
    perplexity = float(np.exp(sum(one.nats for one in losses) / sum(one.tokens for one in losses)))
    if verdict is None:
        return Perplexity(perplexity=perplexity, ratio=None, low=None, high=None, outcome=None)
    low, high = verdict.low, verdict.high
    return Perplexity(
        perplexity=perplexity,
        ratio=float(np.exp(-verdict.effect)),
        low=None if high is None else float(np.exp(-high)),
        high=None if low is None else float(np.exp(-low)),
        outcome=OUTCOMES[verdict.outcome],
    )


def _hypothesis(
    by_variant: Mapping[str, Sequence[float | None]],
    variant: str,
    against: str,
    lost: Mapping[str, Collection[int]],
    *,
    less: bool,
) -> Hypothesis | None:
    sign, worst = (-1, 1.0) if less else (1, 0.0)
    sides = [_counted(by_variant.get(name, ()), lost.get(name, ()), worst) for name in (variant, against)]
    both_lost = {*lost.get(variant, ())} & {*lost.get(against, ())}
    pairs = [pair for place, pair in enumerate(zip(*sides, strict=True)) if place not in both_lost]
    known = np.array([pair for pair in pairs if None not in pair], dtype=np.float64).reshape(-1, 2)
    return Hypothesis.once(sign * known[:, 1], sign * known[:, 0]) if len(known) else None


def _counted(scores: Sequence[float | None], lost: Collection[int], worst: float) -> list[float | None]:
    return [worst if place in lost else score for place, score in enumerate(scores)]


def _comparison(variant: str, against: str, metric: str, verdict: Verdict) -> ScoreComparison:
    return ScoreComparison(
        variant=variant,
        against=against,
        metric=metric,
        effect=verdict.effect,
        low=verdict.low,
        high=verdict.high,
        p_adjusted=verdict.p_adjusted,
        n=verdict.n,
        outcome=OUTCOMES[verdict.outcome],
        needed_cases=verdict.needed_cases,
    )
