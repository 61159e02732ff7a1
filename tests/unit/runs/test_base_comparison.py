from __future__ import annotations

import copy
from pathlib import Path

import pytest

from pytest_llmbench.core.settings import GateSettings
from pytest_llmbench.runs.base_comparison import base_comparison, with_comparison
from pytest_llmbench.runs.gate import gate_of
from pytest_llmbench.runs.storage import read_document

EXAMPLE = Path(__file__).parents[3] / "reports" / "example" / "benchmark.json"


def test_a_run_of_before_is_compared_when_it_is_read() -> None:
    old = {**read_document(EXAMPLE), "gate": None}
    old.pop("comparison", None)
    found = with_comparison(old)["comparison"]
    assert (found["kind"], found["against"], found["outcome"], found["failed"]) == ("compare", "base", "pass", False)


@pytest.mark.parametrize(("kind", "again"), [("improvement", False), ("regression", True)])
def test_a_gate_that_tells_better_is_not_asked_again(kind: str, again: bool) -> None:  # noqa: FBT001
    run = read_document(EXAMPLE)
    found = base_comparison({**run, "gate": {**run["gate"], "against": "base", "kind": kind}})
    assert (found is not None) is again


@pytest.mark.parametrize("kind", ["off", "improvement"])
def test_a_baseline_that_is_missing_leaves_the_base_to_be_compared_with(kind: str) -> None:
    run = read_document(EXAMPLE)
    settings = GateSettings.model_validate({"kind": kind, "baseline": "accepted", "missing_baseline": "warn"})
    gate = gate_of(run, "this run", settings, None)
    for said in ("baseline", "base"):  # as earlier builds said of every gate without a baseline
        found = base_comparison({**run, "gate": {**gate, "against": said}})
        assert found is not None
        assert found["verdicts"]


def test_one_variant_has_nothing_to_compare() -> None:
    run = read_document(EXAMPLE)
    alone = {**run, "metadata": {**run["metadata"], "variants": ["finetuned"]}, "gate": None}
    assert base_comparison(alone) is None


@pytest.mark.parametrize(("unscored", "counted", "noted"), [("worst", 1, True), ("drop", 0, False)])
def test_what_a_lost_answer_counts_is_as_the_gate_was_set(unscored: str, counted: int, noted: bool) -> None:  # noqa: FBT001
    run = copy.deepcopy(dict(read_document(EXAMPLE)))
    run["gate"], lost = None, run["results"][0]
    lost["scores"]["relevance"]["finetuned"], lost["completions"]["finetuned"]["finish"] = None, "timeout"
    run["metadata"]["settings"]["gate"]["unscored"] = unscored
    found = base_comparison(run)
    assert found is not None
    relevance = next(one for one in found["verdicts"] if (one["metric"], one["category"]) == ("relevance", None))
    assert relevance["n"] == len(run["results"]) - 1 + counted
    assert ("lost" in {note["kind"] for note in found["notes"]}) is noted
