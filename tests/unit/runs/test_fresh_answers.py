"""No gate passes on answers that a server's cache gave."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from support.comparables import compared, kinds
from support.rendered import gate_lines, markdown
from support.saved_runs import MakeRun

from pytest_llmbench.core.settings import GateSettings
from pytest_llmbench.reports.renderers import github
from pytest_llmbench.reports.views.gate import gate_report
from pytest_llmbench.runs.baseline import Comparable, comparable
from pytest_llmbench.runs.cached_answers import CachedAnswers, cached_answers
from pytest_llmbench.runs.gate import compare_runs, compare_with_base, gate_of
from pytest_llmbench.runs.storage import checked
from pytest_llmbench.runs.typed import gate_document, run_document

GOOD = [0.9, 0.8] * 20
SINCE = "2026-02-18T10:00:00+00:00"


def remembering(run: Comparable, cases: int, variant: str = "finetuned") -> Comparable:
    """The run, so many of whose first cases came from the cache."""
    places = frozenset((row["case"], row["epoch"]) for row in run.rows[:cases])
    return dataclasses.replace(run, cached={variant: CachedAnswers(places, len(run.rows), SINCE)})


def regression(run: Comparable, **asked: Any) -> dict[str, Any]:
    asked = {"kind": "regression", "metrics": ["relevance"], "margins": {"relevance": 0.2}, **asked}
    return compare_runs(compared(GOOD, name="accepted"), run, **asked)


@pytest.mark.parametrize("cached", [40, 39, 21])
def test_a_gate_does_not_pass_on_remembered_answers(cached: int) -> None:
    gate = regression(remembering(compared(GOOD), cached))
    assert (gate["outcome"], gate["failed"]) == ("inconclusive", False)
    assert gate["reason"].startswith("it passes on remembered answers alone")
    assert "generation.cache: false" in gate["reason"]
    assert kinds(gate) == ["cached_alone"]
    assert f"{cached} of 40 answers of finetuned come from the completion cache" in gate["notes"][0]["message"]
    assert "the oldest of 2026-02-18 10:00 UTC" in gate["notes"][0]["message"]


def test_a_pass_that_fresh_answers_carry_stays_one_and_is_noted() -> None:
    gate = regression(remembering(compared(GOOD), 2))
    assert (gate["outcome"], kinds(gate)) == ("pass", ["cached"])
    assert gate["notes"][0]["cases"] == ["c0/0", "c0/1"]


def test_remembered_answers_that_were_cut_off_are_not_lost_where_they_are_left_aside() -> None:
    run = compared(GOOD)
    for row in run.rows[:19]:
        row["lost"] = ["finetuned"]  # as a server's answers are that end at their limit: similarity is unscored
    gate = regression(remembering(run, 19))
    assert (gate["outcome"], kinds(gate)) == ("pass", ["cached"])


def test_remembered_answers_do_not_hide_what_fresh_ones_show() -> None:
    fell = [score - 0.21 for score in GOOD[20:]]
    assert regression(compared([*GOOD[:20], *fell]))["outcome"] == "pass"
    assert regression(remembering(compared([*GOOD[:20], *fell]), 20))["outcome"] == "inconclusive"


def test_a_fall_fails_whatever_its_answers_came_from() -> None:
    gate = regression(remembering(compared([0.1] * 40), 40))
    assert (gate["outcome"], gate["failed"], kinds(gate)) == ("fail", True, ["cached"])


def test_a_comparison_is_only_noted() -> None:
    gate = regression(remembering(compared([1.0] * 40), 40), kind="compare")
    assert (gate["outcome"], kinds(gate)) == ("pass", ["cached"])


def test_a_base_that_was_remembered_does_not_keep_a_fresh_fine_tune_from_passing() -> None:
    run = compared(GOOD)
    better = [
        {**row, "scores": {"relevance": {"base": 0.2, "finetuned": row["scores"]["relevance"]["finetuned"]}}}
        for row in run.rows
    ]
    run = dataclasses.replace(run, rows=better)
    asked: dict[str, Any] = {"kind": "improvement", "metrics": ["relevance"]}
    assert compare_with_base(remembering(run, 40, "base"), **asked)["outcome"] == "pass"
    assert compare_with_base(remembering(run, 40), **asked)["outcome"] == "inconclusive"


@pytest.fixture
def served(make_run: MakeRun) -> dict[str, Any]:
    """The document of a run whose answers a server gave, all of the fine-tune's from the cache."""
    made: dict[str, Any] = make_run(backend={"backend": "server", "url": "http://h/v1"})
    for row in made["results"]:
        row["completions"]["finetuned"] |= {"cached": True, "timestamp": SINCE}
    return made


def test_the_answers_of_a_local_model_are_known_by_its_hash(served: dict[str, Any]) -> None:
    assert set(cached_answers(run_document(served))) == {"finetuned"}
    served["metadata"]["backend"]["backend"] = "transformers"
    assert cached_answers(run_document(served)) == {}


@pytest.mark.parametrize(("kind", "failed"), [("regression", False), ("improvement", True)])
def test_every_report_tells_it_in_both_languages(served: dict[str, Any], kind: Any, failed: bool) -> None:  # noqa: FBT001
    asked = GateSettings(kind=kind, margin=0.5 if kind == "regression" else 0.0, metrics=("relevance",))
    before = comparable(served, "accepted") if kind == "regression" else None
    settings = asked.model_copy(update={"baseline": "accepted"}) if before else asked
    gate = gate_of(served, "this run", settings, before)
    assert (gate["outcome"], gate["failed"]) == ("inconclusive", failed)
    checked(json.dumps({**served, "gate": gate}), "run")
    assert "INCONCLUSIVE" in gate_lines(gate, 200)[0]
    assert any("come from the completion cache" in line for line in gate_lines(gate, 200))
    assert "T10:00" not in "".join(gate_lines(gate, 200, "fr"))  # the oldest answer's moment is the reader's own
    told = github.annotations(gate_report(gate_document(gate), "en"))
    assert any(line.startswith("::warning") and "completion cache" in line for line in told)
    assert "come from the completion cache" in markdown({**served, "gate": gate}, "en")
    french = markdown({**served, "gate": gate}, "fr")
    assert "viennent du cache" in french
    assert "la réussite ne tient qu'à des réponses gardées en mémoire" in french
