"""Gates that could judge nothing are refused."""

from __future__ import annotations

from typing import Any

import pytest
from support.comparables import compared

from pytest_llmbench.benchmark.gate_check import refuse_base_alone, refuse_unjudgeable, refuse_unmatched
from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.core.settings import Settings

MEASURED = ("keywords", "relevance", "tool_accuracy", "brevity")


@pytest.mark.parametrize(
    ("changed", "measured", "told"),
    [
        ({"gate": {"metrics": ["keywrds"]}}, MEASURED, "gate.metrics: 'keywrds' is no metric; did you mean 'keywords'"),
        ({"gate": {"metrics": ["keywrds"]}}, None, "did you mean 'keywords'"),
        ({"gate": {"margins": {"relevnce": 0.1}}}, None, "gate.margins: 'relevnce' is no metric"),
        ({"gate": {"kind": "regression", "metrics": ["latency_s"]}}, MEASURED, "latency_s cannot be judged"),
        ({"gate": {"kind": "regression"}}, ("brevity",), "switched off"),
        ({"gate": {"kind": "regression"}, "model": {"adapter": "none"}}, None, "there is no fine-tune"),
        ({"gate": {"kind": "improvement"}, "server": {"url": "http://127.0.0.1:1"}}, MEASURED, "there is no fine-tune"),
    ],
)
def test_a_gate_that_could_judge_nothing_is_refused(changed: Any, measured: Any, told: str) -> None:
    with pytest.raises(UsageError, match=told.replace("(", "[(]")):
        refuse_unjudgeable(Settings.model_validate(changed), measured)


@pytest.mark.parametrize(
    ("changed", "measured"),
    [
        ({}, None),
        ({"model": {"adapter": "none"}}, MEASURED),
        ({"gate": {"kind": "regression", "metrics": ["brevity"]}}, MEASURED),
        ({"gate": {"kind": "regression"}}, ("keywords",)),
        ({"gate": {"margins": {"context": 0.05, "facts": 0.1}}}, MEASURED),  # of the project's context runs
        ({"gate": {"kind": "regression", "baseline": "1"}, "model": {"adapter": "none"}}, MEASURED),
    ],
)
def test_one_that_can_judge_something_is_not(changed: Any, measured: Any) -> None:
    refuse_unjudgeable(Settings.model_validate(changed), measured)


def test_a_metric_of_a_plugin_is_only_announced_where_plugins_are_not_known(caplog: pytest.LogCaptureFixture) -> None:
    refuse_unjudgeable(Settings.model_validate({"gate": {"metrics": ["brevity"]}}), None)
    assert "'brevity' is no built-in metric" in caplog.text


def test_a_baseline_needs_a_case_a_metric_and_a_counterpart_in_common() -> None:
    baseline, settings = compared([1.0, 1.0], name="0001_accepted"), Settings()
    refuse_unmatched(settings, baseline, {"c0/0", "other/1"})
    with pytest.raises(UsageError, match="none of the 1 selected cases"):
        refuse_unmatched(settings, baseline, {"other/1"})
    with pytest.raises(UsageError, match="has no latency_s"):
        refuse_unmatched(Settings.model_validate({"gate": {"metrics": ["latency_s"]}}), baseline, {"c0/0"})
    several = compared([1.0], variants=["base", "a", "b"])
    with pytest.raises(UsageError, match="nobody has a counterpart"):
        refuse_base_alone(settings, several, ["base", "c"])
    with pytest.raises(UsageError, match="there is no fine-tune"):
        refuse_base_alone(Settings.model_validate({"gate": {"kind": "regression"}}), None, ["base"])
