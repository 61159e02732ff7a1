from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pytest_llmbench.cases.suites import Case, Vocabulary
from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.core.records import BASE, FINETUNED, Completion, Finish
from pytest_llmbench.core.settings import MetricsSettings
from pytest_llmbench.metrics import MetricRegistry, default_metrics

CASE = Case("voice", "chrome", "ouvre chrome", ({"role": "user", "content": "ouvre chrome"},))


def said(text: str, variant: str = BASE, finish: Finish = "stop") -> Completion:
    return Completion("voice/chrome", 0, variant, text, finish, error="HTTP 500" if finish == "error" else None)


def length(_case: Case, completion: Completion) -> float:
    return len(completion.text)


def longer(_case: Case, base: Completion, completion: Completion) -> bool:
    return len(completion.text) > len(base.text)


def scored(function: Callable[..., Any]) -> dict[str, dict[str, float | None]]:
    registry = MetricRegistry()
    registry.add("mine", function)
    return registry.score(CASE, {BASE: said("oui")})


def test_own_metrics_score_every_variant_and_pairs_the_others_against_the_base() -> None:
    registry = MetricRegistry()
    registry.add("length", length, unit="characters")
    registry.add("longer", longer, pair=True)
    scores = registry.score(CASE, {BASE: said("oui"), FINETUNED: said("j'ouvre", FINETUNED)})
    assert scores == {"length": {BASE: 3.0, FINETUNED: 7.0}, "longer": {FINETUNED: 1.0}}


def test_a_failed_completion_is_unscored_and_so_is_a_pair_with_it() -> None:
    registry = MetricRegistry()
    registry.add("length", length)
    registry.add("longer", longer, pair=True)
    scores = registry.score(CASE, {BASE: said("ou", finish="error"), FINETUNED: said("oui", FINETUNED)})
    assert scores == {"length": {BASE: None, FINETUNED: 3.0}, "longer": {FINETUNED: None}}


def test_a_pair_without_a_base_is_unscored() -> None:
    registry = MetricRegistry()
    registry.add("longer", longer, pair=True)
    assert registry.score(CASE, {FINETUNED: said("oui", FINETUNED)}) == {"longer": {FINETUNED: None}}


@pytest.mark.parametrize(("text", "score"), [("ouv", 3.0), ("", None)])
def test_a_timed_out_answer_is_scored_on_the_text_it_had(text: str, score: float | None) -> None:
    registry = MetricRegistry()
    registry.add("length", length)
    assert registry.score(CASE, {BASE: said(text, finish="timeout")}) == {"length": {BASE: score}}


def test_an_answer_that_ended_in_its_thinking_is_unscored_and_has_no_faults() -> None:
    """Nothing is repeated in no answer: the best score."""
    registry = MetricRegistry()
    registry.add("length", length, reasons=lambda _case, _completion: [{"reason": "no tool named"}])
    thought = dataclasses.replace(said("", finish="length"), reasoning="hm")
    assert registry.score(CASE, {BASE: thought}) == {"length": {BASE: None}}
    assert registry.reasons(CASE, {BASE: thought}) == {}


@pytest.mark.parametrize(
    ("value", "score"), [(True, 1.0), (0, 0.0), (None, None), (np.float32(0.5), 0.5), (np.bool_(1), 1.0)]
)
def test_numbers_booleans_and_none_are_scores(value: object, score: float | None) -> None:
    assert scored(lambda _case, _completion: value) == {"mine": {BASE: score}}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "0.5", [1], np.ones(2), 1j])
def test_anything_else_is_refused_with_metric_and_case(value: object) -> None:
    with pytest.raises(
        UsageError, match=r"metric 'mine', case voice/chrome, variant 'base': returned .* return a finite"
    ):
        scored(lambda _case, _completion: value)


def test_an_exception_inside_a_metric_keeps_its_traceback_and_tells_where() -> None:
    with pytest.raises(ZeroDivisionError) as raised:
        scored(lambda _case, completion: 1 / completion.text.count("x"))
    assert raised.value.__notes__ == ["raised by metric 'mine', case voice/chrome, variant 'base'"]


@pytest.mark.parametrize(
    ("name", "function", "message"),
    [
        ("length", length, "already a metric 'length'"),
        ("", length, "needs a name"),
        ("constant", 3, "3 is not a function"),
        ("narrow", lambda _completion: 1.0, "called with .case, completion., but too many positional"),
        ("pairless", longer, "missing a required argument"),
    ],
)
def test_a_metric_that_cannot_work_is_refused_when_added(name: str, function: Any, message: str) -> None:
    registry = MetricRegistry()
    registry.add("length", length)
    with pytest.raises(UsageError, match=message):
        registry.add(name, function)


def test_every_built_in_metric_can_be_switched_off() -> None:
    vocabulary = Vocabulary({"volume_up": ("son",)})
    names = list(default_metrics(MetricsSettings(), vocabulary).metrics)
    assert names == ["keywords", "relevance", "tool_accuracy", "cosine_similarity", "latency_s", "tokens_per_s"]
    for name in names:
        left = default_metrics(MetricsSettings.model_validate({name: False}), vocabulary).metrics
        assert list(left) == [other for other in names if other != name]


def test_the_spelling_of_the_settings_reaches_the_metrics() -> None:
    case = Case("voice", "chrome", "ouvre chrome", (), keywords=("Chrome",))
    for strict, score in ((False, 1.0), (True, 0.0)):
        registry = default_metrics(MetricsSettings(case_sensitive=strict), Vocabulary({}))
        assert registry.score(case, {BASE: said("chrome")})["keywords"] == {BASE: score}


def test_metrics_against_a_reference_are_added_by_name() -> None:
    registry = default_metrics(MetricsSettings(reference=("exact_match", "repetition")), Vocabulary({}))
    assert [name for name in ("bleu", "exact_match", "repetition") if name in registry.metrics] == [
        "exact_match",
        "repetition",
    ]
    assert not registry.metrics["repetition"].higher_is_better
