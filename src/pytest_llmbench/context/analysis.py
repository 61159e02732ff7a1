"""What follows from the probes of a context run: the law of the first token, times by length, accuracy by depth."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from pytest_llmbench.runs.context_document import (
    AccuracyDocument,
    AnalysisDocument,
    ContextTarget,
    LawDocument,
    LengthTimesDocument,
    NumberWithInterval,
    ProbeDocument,
)
from pytest_llmbench.stats.cost_law import Estimated, cost_law
from pytest_llmbench.stats.share_interval import share_interval

if TYPE_CHECKING:
    from pytest_llmbench.runs.context_document import ProbeKind

Cell = tuple[int, float | None, "ProbeKind | None"]
"""A length, and a depth or kind of question where these are told apart."""

_CACHED = 0.25  # of a prompt: the chat template at its beginning is always remembered, and next to nothing


def analysed(target: ContextTarget) -> ContextTarget:
    """The target with its analysis, and the answer that its limits make."""
    probes, quantile = target.probes, target.promise.quantile
    analysis = AnalysisDocument(
        law=first_token_law(probes),
        times=tuple(_times(probes, quantile)),
        by_length=tuple(_accuracies(probes, lambda probe: (probe.length, None, None))),
        by_depth=tuple(_accuracies(probes, lambda probe: (probe.length, probe.depth, None))),
        by_kind=tuple(_accuracies(probes, lambda probe: (probe.length, None, probe.kind))),
    )
    return target.model_copy(update={"analysis": analysis, "answer": target.limits.answer()})


def first_token_law(probes: Sequence[ProbeDocument]) -> LawDocument | None:
    """The time to the first token by prompt length, of prompts that were read whole; None where they are too few."""
    import numpy as np

    timed = [(probe.prompt_tokens, probe.first_token_s) for probe in probes if was_read(probe)]
    sizes, seconds = (np.array([one[side] for one in timed], dtype=float) for side in (0, 1))
    law = cost_law(sizes, seconds)
    if law is None:
        return None
    return LawDocument(
        constant_s=_estimate(law.constant),
        per_token_s=_estimate(law.per_unit),
        per_token_squared_s=_estimate(law.per_unit_squared),
        exponent=_estimate(law.exponent) if law.exponent else None,
        knee=_estimate(law.knee) if law.knee else None,
        step_tokens=law.step,
        spread=law.spread,
        probes=len(timed),
        shortest=int(sizes.min()),
        longest=int(sizes.max()),
    )


def was_read(probe: ProbeDocument) -> bool:
    """Whether its first token waited for the whole prompt, alone: none was cut off, and little cached.

    Prompts that seek what is accepted are left out: some of them are asked twice, or two at once.
    """
    if probe.sought == "accepted":
        return False
    cached = (probe.cached_tokens or 0) > _CACHED * probe.prompt_tokens
    return probe.refusal is None and not probe.cut and not cached and bool(probe.first_token_s)


def _times(probes: Sequence[ProbeDocument], quantile: float) -> Iterator[LengthTimesDocument]:
    """Of the lengths at which every question was asked; those of a search are too many, with too few prompts each."""
    swept = [probe for probe in probes if probe.sought == "sweep" and was_read(probe)]
    for (length, _, _), of in _grouped(swept, lambda probe: (probe.length, None, None)):
        firsts = sorted(probe.first_token_s for probe in of if probe.first_token_s)
        rates = [probe.decode_tokens_per_s for probe in of if probe.decode_tokens_per_s]
        typical = statistics.median(firsts)
        yield LengthTimesDocument(
            length=length,
            probes=len(of),
            first_token_s=typical,
            first_token_low_s=firsts[0],
            first_token_high_s=_quantile(firsts, quantile),
            prefill_tokens_per_s=statistics.median(probe.prompt_tokens for probe in of) / typical,
            decode_tokens_per_s=statistics.median(rates) if rates else None,
        )


def _quantile(ordered: Sequence[float], share: float) -> float:
    """The least time that so great a share does not exceed."""
    return next(time for place, time in enumerate(ordered, 1) if place >= share * len(ordered) - 1e-9)


def _accuracies(probes: Iterable[ProbeDocument], cell: Callable[[ProbeDocument], Cell]) -> Iterator[AccuracyDocument]:
    asked = [probe for probe in probes if probe.facts and probe.refusal is None]
    for (length, depth, kind), of in _grouped(asked, cell):
        share = share_interval([probe.found for probe in of], [probe.facts for probe in of])
        yield AccuracyDocument(
            length=length,
            depth=depth,
            kind=kind,
            facts=sum(probe.facts for probe in of),
            found=sum(probe.found for probe in of),
            share=NumberWithInterval(value=share.value, low=share.low, high=share.high),
        )


def _grouped(
    probes: Iterable[ProbeDocument], cell: Callable[[ProbeDocument], Cell]
) -> list[tuple[Cell, list[ProbeDocument]]]:
    """The probes of each cell, in the order of lengths, depths and kinds."""
    found: dict[Cell, list[ProbeDocument]] = {}
    for probe in probes:
        found.setdefault(cell(probe), []).append(probe)
    return sorted(found.items(), key=lambda one: (one[0][0], one[0][1] or 0.0, one[0][2] or ""))


def _estimate(one: Estimated) -> NumberWithInterval:
    return NumberWithInterval(value=one.value, low=one.low, high=one.high)
