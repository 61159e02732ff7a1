"""Whether a base and its fine-tune answer held-out commands with the right tool, compared command by command."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmbench.cases.suites import Case
from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.core.records import BASE, FINETUNED

if TYPE_CHECKING:
    from pytest_llmbench.core.settings import GenerationSettings
    from pytest_llmbench.generation.local.backend import LocalBackend
    from pytest_llmbench.models.loaded import LoadedModel

_MORE_TOKENS = 8  # than the longest expected answer


@dataclasses.dataclass(frozen=True, slots=True)
class RoutingScores:
    """Whether each held-out row was answered with the right tool, by its prompt, and the verdict on the difference."""

    base: Mapping[str, bool]
    finetuned: Mapping[str, bool]
    outcome: str
    effect: float
    p_value: float

    def faults(self, alpha: float) -> list[str]:
        """That the fine-tune is not better beyond chance; nothing when it is."""
        if self.outcome == "pass":
            return []
        word = "worse" if self.outcome == "fail" else "not better"  # the p is of that
        return [
            (
                f"held-out routing is {word} than the base's beyond chance: {sum(self.finetuned.values())} of "
                f"{len(self.base)} right, the base {sum(self.base.values())} (effect {self.effect:+.2f}, "
                f"p {self.p_value:.3f}, alpha {alpha:g}); train longer, or on rows nearer to what is asked"
            )
        ]


def cases_of(rows: Sequence[Mapping[str, Any]], path: Path) -> list[Case]:
    """The rows of a dataset as cases, their answers as references, with what is thought before them.

    Raises:
        UsageError: a row has no `tool`.
    """
    if untold := [number for number, row in enumerate(rows, 1) if not row.get("tool")]:
        raise UsageError(f"{path}: row {untold[0]} has no 'tool', the route that is expected")
    return [
        Case(
            "heldout",
            str(number),
            row["prompt"][-1]["content"],
            tuple(row["prompt"]),
            tool=row["tool"],
            reference=row["completion"][-1]["content"],
        )
        for number, row in enumerate(rows, 1)
    ]


def compare_routing(
    loaded: LoadedModel,
    generation: GenerationSettings,
    cases: Sequence[Case],
    alpha: float,
    call_form: str = "auto",
) -> RoutingScores:
    """Have base and fine-tune answer greedily, and judge whether the fine-tune routes better."""
    import numpy as np

    from pytest_llmbench.stats.verdicts import Hypothesis, judge

    backend = _greedy(loaded, generation, cases)
    right = {variant: _right(backend, cases, variant, call_form) for variant in (BASE, FINETUNED)}
    before, after = (np.array([float(right[name][case.name]) for case in cases]) for name in (BASE, FINETUNED))
    verdict = judge([Hypothesis.once(before, after)], "improvement", alpha)[0]
    by_prompt = {variant: {case.prompt: right[variant][case.name] for case in cases} for variant in (BASE, FINETUNED)}
    return RoutingScores(by_prompt[BASE], by_prompt[FINETUNED], verdict.outcome.value, verdict.effect, verdict.p_value)


def _greedy(loaded: LoadedModel, generation: GenerationSettings, cases: Sequence[Case]) -> LocalBackend:
    from pytest_llmbench.generation.local.backend import LocalBackend

    longest = max(len(loaded.tokenizer(case.reference)["input_ids"]) for case in cases)
    greedy = {"do_sample": False, "temperature": 0.0, "max_new_tokens": longest + _MORE_TOKENS}
    return LocalBackend(loaded, generation.model_copy(update=greedy), {})


def _right(backend: LocalBackend, cases: Sequence[Case], variant: str, call_form: str) -> dict[str, bool]:
    from pytest_llmbench.generation.backend import all_answers
    from pytest_llmbench.metrics.routing import tool_finder

    first_tool = tool_finder(dict.fromkeys(case.tool for case in cases if case.tool), call_form)
    expected = {case.name: case.tool for case in cases}
    size, right = backend.batch_size(), {}
    in_order = sorted(cases, key=backend.weight)
    for start in range(0, math.ceil(len(cases) / size) * size, size):
        for answer in all_answers(backend, in_order[start : start + size], variant):
            right[answer.case] = first_tool(answer.text) == expected[answer.case]
    return right
