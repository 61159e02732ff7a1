"""That adapters change something, by the first tokens of an answer: all that engines with a model of their own show."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from pytest_llmbench.core.errors import AdapterError
from pytest_llmbench.core.records import BASE
from pytest_llmbench.models.verification import diverged, no_numbers

if TYPE_CHECKING:
    from pytest_llmbench.generation.prompts import Prompts
    from pytest_llmbench.models.adapters import Adapter

_QUESTION = "Bonjour ! Ouvre Chrome, puis monte le son."

Likeliest = Callable[[Sequence[int], str], Mapping[int, float]]
"""The likeliest first tokens of a variant's answer to a prompt, with their log-probabilities."""


def adapter_gaps(
    adapters: Mapping[str, Adapter], prompts: Prompts, likeliest: Likeliest, dtype: str = ""
) -> dict[str, float]:
    """Of each adapter the largest gap between its and the base's log-probabilities of first tokens.

    `dtype` is the type that `model.compute_dtype` has the engine compute in, empty where it does not decide it.

    Raises:
        ModelError: the base's are no numbers.
        AdapterError: an adapter has no effect, so that comparing it would compare the base with itself, or its
            log-probabilities are no numbers.
    """
    if not adapters:
        return {}
    prompt = prompts.forms[BASE].prompt([{"role": "user", "content": _QUESTION}])
    base = likeliest(prompt, BASE)
    if _has_nan(base):
        raise no_numbers("the base", dtype)
    gaps = {}
    for variant, adapter in adapters.items():
        likely = likeliest(prompt, variant)
        if _has_nan(likely):
            raise diverged(adapter.path)
        gaps[variant] = _gap(base, likely)
        if gaps[variant] == 0:
            raise AdapterError(
                f"{adapter.path} has no effect: with it on, the model answers exactly as its base; "
                "was it saved before it was trained?"
            )
    return gaps


def _has_nan(likely: Mapping[int, float]) -> bool:
    return any(map(math.isnan, likely.values()))


def _gap(one: Mapping[int, float], other: Mapping[int, float]) -> float:
    """The largest gap; a token that one does not name is at most as likely there as the last that it names."""
    least = min(one.values()), min(other.values())
    return max(abs(one.get(token, least[0]) - other.get(token, least[1])) for token in one.keys() | other.keys())
