"""Epochs that are copies: a case that is asked again at a temperature above 0 should not be answered word for word."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from pytest_llmbench.core.locale import Words
from pytest_llmbench.runs.typed import Metadata, RunDocument

_LEAST_CASES = 5
_LEAST_CHARACTERS = 40
"""Shorter answers, such as the name of a tool, are alike because a model is sure of them."""
_ANSWERED = ("stop", "length")


def repeated_answers(document: RunDocument, say: Words) -> Iterator[str]:
    """A sentence for each variant all of whose cases have the same text in each of their epochs.

    Said where that is no chance: of five cases or more with answers of some length, sampled at a temperature above 0.
    """
    if document.statistics.cases == document.statistics.total_tests:
        return  # no case was asked again
    for variant in document.variants:
        temperature = _temperature(document.metadata, variant)
        if temperature <= 0:
            continue
        repeated = [texts for texts in _texts(document, variant).values() if len(texts) > 1]
        telling = [texts for texts in repeated if min(map(len, texts)) >= _LEAST_CHARACTERS]
        if len(telling) >= _LEAST_CASES and all(len(set(texts)) == 1 for texts in repeated):
            shown = say.tick(temperature)
            yield say(
                "{variant} gave the same text in every epoch of all {cases} cases that were asked again, at "
                "temperature {temperature}: the server ignores temperature or seed, or answers from a cache of "
                "its own. The epochs are copies: they add no information, and intervals and verdicts rest on "
                "one answer a case.",
                variant=variant,
                cases=len(repeated),
                temperature=shown,
            )


def _temperature(metadata: Metadata, variant: str) -> float:
    """The temperature that a variant was asked at: a server by its requests, whose bodies have the last word."""
    sent = metadata.backend.requests.get(variant)
    if sent is None:
        sampled = metadata.setting("generation", "do_sample")
        return float(metadata.setting("generation", "temperature") or 0.0) if sampled else 0.0
    temperature = sent.get("temperature")
    return float(temperature) if isinstance(temperature, int | float) else 0.0


def _texts(document: RunDocument, variant: str) -> Mapping[str, Sequence[str]]:
    """Each case's answers, one an epoch, without those that failed.

    Cases whose answers begin alike and are shortened here are left out: nobody knows how they go on.
    """
    found: dict[str, list[str]] = {}
    shortened: set[str] = set()
    most = document.metadata.setting("output", "answer_chars") or math.inf
    for row in document.results:
        answer = row.completions.get(variant)
        if answer is not None and answer.finish in _ANSWERED:
            found.setdefault(row.case, []).append((answer.reasoning or "") + answer.text)
            if answer.text_cut or len(answer.reasoning or "") >= most:
                shortened.add(row.case)
    return {case: texts for case, texts in found.items() if case not in shortened or len(set(texts)) > 1}
