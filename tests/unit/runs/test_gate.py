"""The gate: which answers are held against which, what it comes to, and what it never passes over in silence."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.comparables import compared, kinds
from support.rendered import gate_lines
from support.saved_runs import MakeRun

from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.core.locale import words
from pytest_llmbench.core.settings import GateSettings
from pytest_llmbench.reports.views.gate import gate_report
from pytest_llmbench.runs.baseline import comparable
from pytest_llmbench.runs.gate import compare_runs, compare_with_base, gate_of, settled_gate
from pytest_llmbench.runs.gate_notes import note_title
from pytest_llmbench.runs.storage import checked, run_schema
from pytest_llmbench.runs.typed import gate_document

GOOD, BAD = [0.9] * 30, [0.9] * 10 + [0.2] * 20
SOMETIMES = [[1.0, 0.0, 1.0], [0.0, 0.0, 1.0], [1.0, 1.0, 1.0]] * 10


def valid(gate: dict[str, Any]) -> dict[str, Any]:
    """The gate, checked against the schema of run files and written as strict JSON."""
    schema = run_schema()
    whole = {"$ref": "#/$defs/gate", "$defs": schema["$defs"]}
    jsonschema.Draft202012Validator(whole).validate(json.loads(json.dumps(gate, allow_nan=False)))
    return gate


def regression(before: Any, after: Any, **asked: Any) -> dict[str, Any]:
    return valid(compare_runs(before, after, kind="regression", **{"metrics": ["relevance"], **asked}))


def overall(gate: dict[str, Any], metric: str = "relevance") -> dict[str, Any]:
    found: dict[str, Any]
    [found] = [one for one in gate["verdicts"] if one["metric"] == metric and one["category"] is None]
    return found


def test_a_fall_fails_and_names_what_moved_most_worst_first() -> None:
    after = [*GOOD[:10], 0.5, 0.1, *[0.2] * 18]
    gate = regression(compared(GOOD, name="0001_accepted"), compared(after))
    verdict = overall(gate)
    assert (gate["outcome"], gate["failed"], gate["against"]) == ("fail", True, "baseline")
    assert gate["baseline"]["name"] == "0001_accepted"
    assert (verdict["outcome"], verdict["n"], verdict["epochs"]) == ("fail", 30, 1)
    assert verdict["effect"] == pytest.approx(verdict["after"] - verdict["before"])
    assert verdict["low"] < verdict["effect"] < verdict["high"] < 0
    assert verdict["moved"][:2] == [
        {"case": "c0/11", "before": 0.9, "after": 0.1},
        {"case": "c0/12", "before": 0.9, "after": 0.2},
    ]
    assert len(verdict["moved"]) == 5
    assert "relevance of finetuned went from 0.900 to" in gate["reason"]


def test_the_same_answers_pass_however_few() -> None:
    for scores, left in (
        ([0.3], ""),
        (GOOD, "; with 30 cases, a loss in up to 9.5% of such is not ruled out"),
        (SOMETIMES, "; with 30 cases, a loss in up to 9.5% of such is not ruled out"),
    ):
        gate = regression(compared(scores), compared(scores))
        assert (gate["outcome"], gate["failed"], gate["notes"]) == ("pass", False, [])
        assert gate["reason"] == f"no score changed in any case{left}"


@pytest.mark.parametrize(("cases", "outcome"), [(5, "inconclusive"), (58, "inconclusive"), (59, "pass")])
def test_that_nothing_changed_rules_no_margin_out_with_few_cases(cases: int, outcome: str) -> None:
    run = compared([0.9] * cases)
    gate = regression(run, run, margins={"relevance": 0.05})
    assert (gate["outcome"], gate["failed"]) == (outcome, False)
    assert (overall(gate)["not_ruled_out"] < 0.05) == (outcome == "pass")
    assert "is not ruled out" in gate["reason"]
    assert overall(gate)["needed_cases"] == (None if outcome == "pass" else 59)


def test_a_metric_of_which_less_is_better_fails_when_it_rises_and_keeps_its_sign() -> None:
    metrics = {"latency": {"higher_is_better": False, "unit": "s"}}
    before, after = (compared({"latency": side}, metrics=metrics) for side in (BAD, GOOD))
    verdict = overall(regression(before, after, metrics=["latency"]), "latency")
    assert (verdict["outcome"], verdict["higher_is_better"]) == ("fail", False)
    assert 0 < verdict["low"] < verdict["effect"] < verdict["high"]
    assert verdict["moved"][0] == {"case": "c0/10", "before": 0.2, "after": 0.9}
    assert overall(regression(after, before, metrics=["latency"]), "latency")["outcome"] == "pass"


def test_a_fall_in_one_category_fails_though_the_whole_does_not() -> None:
    random = np.random.default_rng(1)
    before = random.uniform(0.4, 0.6, 90)
    after = before + np.where(np.arange(90) % 3 == 1, -0.3, 0.2)
    gate = regression(compared(before.tolist(), categories=3), compared(after.tolist(), categories=3))
    by_category = {verdict["category"]: verdict["outcome"] for verdict in gate["verdicts"]}
    assert by_category == {None: "inconclusive", "c0": "pass", "c1": "fail", "c2": "pass"}
    assert gate["outcome"] == "fail"
    assert gate["verdicts"][0]["category"] is None
    whole = regression(
        compared(before.tolist(), categories=3), compared(after.tolist(), categories=3), categories=False
    )
    assert [verdict["category"] for verdict in whole["verdicts"]] == [None]


def test_one_category_is_the_whole() -> None:
    assert len(regression(compared(GOOD), compared(BAD))["verdicts"]) == 1


def test_a_margin_is_of_its_metric_alone() -> None:
    scores = [{"relevance": side, "keywords": side} for side in (GOOD, BAD)]
    gate = regression(*map(compared, scores), metrics=["relevance", "keywords"], margins={"keywords": 0.7})
    assert [overall(gate, metric)["outcome"] for metric in ("relevance", "keywords")] == ["fail", "pass"]
    assert [overall(gate, metric)["margin"] for metric in ("relevance", "keywords")] == [0, 0.7]


def test_cases_that_one_side_lacks_are_named_and_not_compared() -> None:
    gate = regression(compared(GOOD), compared(GOOD[:28]))
    assert (overall(gate)["n"], gate["outcome"], kinds(gate)) == (28, "pass", ["missing_in_run"])
    assert gate["notes"][0]["cases"] == ["c0/28", "c0/29"]
    assert kinds(regression(compared(GOOD[:28]), compared(GOOD))) == ["missing_in_baseline"]


def test_epochs_are_paired_and_cases_count_once() -> None:
    gate = regression(compared(SOMETIMES), compared(SOMETIMES))
    verdict = overall(gate)
    assert (verdict["n"], verdict["epochs"], verdict["before"]) == (30, 3, pytest.approx(2 / 3))
    repeated = regression(compared([[score] * 3 for score in GOOD]), compared([[score] * 3 for score in BAD]))
    assert overall(repeated)["p_value"] == overall(regression(compared(GOOD), compared(BAD)))["p_value"]


def test_means_are_paired_where_epochs_are_not_the_same_on_both_sides() -> None:
    before, after = compared(SOMETIMES), compared([2 / 3, 1 / 3, 1.0] * 10)
    verdict = overall(regression(before, after))
    assert (verdict["outcome"], verdict["effect"], verdict["epochs"]) == ("pass", 0, 1)


@given(st.lists(st.lists(st.sampled_from([None, 0.0, 0.5, 1.0]), min_size=2, max_size=2), min_size=1, max_size=6))
def test_what_one_side_alone_scored_is_told_and_what_both_scored_is_compared(scores: Any) -> None:
    before = [[1.0, 1.0]] * len(scores)
    gate = regression(compared(before), compared(scores))
    scored = [[score for score in epochs if score is not None] for epochs in scores]
    compared_cases = [epochs for epochs in scored if epochs]
    assert kinds(gate) == ["unscored"] * any(len(epochs) < 2 for epochs in scored)
    assert [verdict["n"] for verdict in gate["verdicts"]] == [len(compared_cases)] * bool(compared_cases)
    if compared_cases:
        assert overall(gate)["after"] == pytest.approx(np.mean([np.mean(epochs) for epochs in compared_cases]))
    else:
        assert gate["failed"]


def test_one_unscored_epoch_is_told_of() -> None:
    gate = regression(compared([[1.0, 1.0]] * 5), compared([[1.0, None], *[[1.0, 1.0]] * 4]))
    (note,) = gate["notes"]
    assert (note["kind"], note["cases"]) == ("unscored", ["c0/0"])
    assert note["message"] == "relevance of finetuned is not scored alike (2 answers before, 1 after): c0/0"


def test_a_metric_that_no_run_has_is_told_of_and_alone_fails_the_gate() -> None:
    gate = regression(compared(GOOD), compared(GOOD), metrics=["relevance", "relevence"])
    assert (gate["outcome"], kinds(gate)) == ("pass", ["unscored"])
    assert "relevence was not measured" in gate["notes"][0]["message"]
    gate = regression(compared(GOOD), compared(GOOD), metrics=["relevence"])
    assert (gate["outcome"], gate["failed"], gate["verdicts"]) == ("inconclusive", True, [])
    assert gate["reason"].startswith("nothing could be compared")


def test_two_runs_that_share_nothing_are_told_what_they_do_not_share() -> None:
    before, after = compared(GOOD), compared(GOOD)
    others = dataclasses.replace(before, rows=[{**row, "case": f"other/{row['case']}"} for row in before.rows])
    found = compare_runs(others, after, kind="compare")
    assert found["reason"] == "nothing could be compared: the run and the baseline have no case in common"
    two = dataclasses.replace(before, metadata={**before.metadata, "variants": ["base", "a", "b"]})
    found = compare_runs(two, after, kind="compare")
    assert found["reason"].endswith("no variant of the run has a counterpart in the baseline")
    told = gate_report(gate_document(found), "en")
    assert told.title.startswith("NO VERDICT: comparison with baseline")
    assert {note_title(note, words("en")) for note in gate_document(found).notes} == {"Variants without a counterpart"}


def test_calls_gate_by_default_where_they_are_judged_and_nobody_misses_them_elsewhere() -> None:
    usual = {"relevance": GOOD, "keywords": GOOD, "tool_accuracy": GOOD}
    before, after = compared(usual | {"call_accuracy": [1.0] * 30}), compared(usual | {"call_accuracy": [0.0] * 30})
    gate = regression(before, after, metrics=None)
    assert overall(gate, "call_accuracy")["outcome"] == gate["outcome"] == "fail"
    assert regression(compared(usual), compared(usual), metrics=GateSettings().metrics)["notes"] == []
    asked_for = regression(compared(usual), compared(usual), metrics=["relevance", "call_accuracy"])
    assert "call_accuracy was not measured" in asked_for["notes"][0]["message"]


def test_a_metric_that_applies_to_no_case_is_nothing_to_tell_of() -> None:
    run = compared({"relevance": GOOD, "tool_accuracy": [None] * 30})
    assert regression(run, run, metrics=["relevance", "tool_accuracy"])["notes"] == []


@pytest.mark.parametrize(("before", "after"), [([], GOOD), (GOOD, []), ([], [])])
def test_a_side_without_answers_fails_a_gate_and_no_comparison(before: list[float], after: list[float]) -> None:
    gate = regression(compared(before), compared(after))
    assert (gate["failed"], gate["verdicts"]) == (True, [])
    assert valid(compare_runs(compared(before), compared(after), kind="compare"))["failed"] is False


def test_single_fine_tunes_are_held_against_each_other_whatever_they_are_called() -> None:
    gate = regression(compared(GOOD, variants=["base", "v1"]), compared(BAD, variants=["base", "v2"]))
    assert (overall(gate)["variant"], overall(gate)["outcome"], gate["notes"]) == ("v2", "fail", [])


def test_several_fine_tunes_are_held_against_their_namesakes_and_others_are_named() -> None:
    gate = regression(compared(GOOD, variants=["base", "a", "b"]), compared(GOOD, variants=["base", "b", "c"]))
    assert [verdict["variant"] for verdict in gate["verdicts"]] == ["b"]
    assert kinds(gate) == ["missing_in_baseline", "missing_in_run"]
    none = regression(compared(GOOD, variants=["base", "a", "d"]), compared(GOOD, variants=["base", "b", "c"]))
    assert (none["failed"], none["verdicts"]) == (True, [])


def test_without_a_fine_tune_bases_are_compared_and_that_is_told_where_one_side_has_one() -> None:
    bare = compared(GOOD, variants=["base"])
    gate = regression(bare, bare)
    assert (overall(gate)["variant"], gate["notes"]) == ("base", [])
    assert kinds(regression(compared(GOOD), bare)) == ["changed_model"]


def against_base(base: list[float], tuned: list[float], kind: Any) -> dict[str, Any]:
    run = compared(base)
    rows = [
        {**row, "scores": {"relevance": {"base": row["scores"]["relevance"]["base"], "finetuned": score}}}
        for row, score in zip(run.rows, tuned, strict=True)
    ]
    return valid(compare_with_base(dataclasses.replace(run, rows=rows), kind=kind))


@pytest.mark.parametrize(
    ("base", "tuned", "kind", "outcome"),
    [
        (BAD, GOOD, "improvement", "pass"),
        (BAD, BAD, "improvement", "inconclusive"),
        (GOOD, BAD, "improvement", "fail"),
        (GOOD, BAD, "regression", "fail"),
        (BAD, BAD, "regression", "pass"),
        (BAD, GOOD, "compare", "pass"),
        (GOOD, BAD, "compare", "fail"),
    ],
)
def test_a_fine_tune_is_held_against_its_own_base(base: Any, tuned: Any, kind: str, outcome: str) -> None:
    gate = against_base(base, tuned, kind)
    assert (gate["against"], gate["baseline"], gate["outcome"]) == ("base", None, outcome)
    assert gate["failed"] == (outcome == "fail" and kind != "compare")


def test_every_fine_tune_must_improve() -> None:
    run = compared(BAD, variants=["base", "a", "b"])
    rows: Any = [{**row, "scores": {"relevance": {"base": 0.2, "a": 0.9, "b": 0.2}}} for row in run.rows]
    gate = valid(compare_with_base(dataclasses.replace(run, rows=rows), kind="improvement"))
    assert [verdict["outcome"] for verdict in gate["verdicts"]] == ["pass", "inconclusive"]
    assert gate["outcome"] == "inconclusive"


def test_a_run_without_its_base_has_nothing_to_be_held_against() -> None:
    gate = valid(compare_with_base(compared(GOOD, variants=["finetuned"]), kind="regression"))
    assert (gate["failed"], gate["verdicts"]) == (True, [])


@pytest.mark.parametrize(
    ("kind", "inconclusive", "failed"),
    [
        ("regression", "auto", False),
        ("regression", "fail", True),
        ("improvement", "auto", True),
        ("improvement", "pass", False),
        ("off", "fail", False),
    ],
)
def test_settings_say_what_an_open_verdict_means(make_run: MakeRun, kind: Any, inconclusive: Any, failed: bool) -> None:  # noqa: FBT001  # what is expected
    document = make_run()
    swapped = json.loads(json.dumps(document))
    for row in swapped["results"][:2]:
        scores = row["scores"]["relevance"]
        scores["finetuned"] = 0.5 if scores["finetuned"] is None else 1 - scores["finetuned"]
    settings = GateSettings(kind=kind, baseline="accepted", metrics=("relevance",), inconclusive=inconclusive)
    gate = valid(gate_of(swapped, "this run", settings, comparable(document, "accepted")))
    assert (gate["outcome"], gate["failed"]) == ("inconclusive", failed)


def test_a_missing_baseline_that_may_be_missing_fails_nothing_and_is_told_of(make_run: MakeRun) -> None:
    gate = valid(gate_of(make_run(), "this run", GateSettings(kind="regression", baseline="accepted"), None))
    assert (gate["failed"], gate["outcome"], kinds(gate)) == (False, "inconclusive", ["no_baseline"])
    assert "'accepted'" in gate["reason"]


def test_the_gate_of_a_real_run_is_part_of_a_valid_document(make_run: MakeRun) -> None:
    document = make_run()
    document["gate"] = gate_of(document, "this run", GateSettings(kind="improvement"), None)
    assert checked(json.dumps(document), "run.json")["gate"]["verdicts"]
    document["gate"]["verdicts"][0]["n"] = 0
    with pytest.raises(UsageError, match=r"gate\.verdicts\[0\]\.n: 0 is less than"):
        checked(json.dumps(document), "run.json")


def test_scores_are_of_any_size_a_metric_may_have() -> None:
    plain = regression(compared(GOOD), compared(BAD))
    for unit in (1e-9, 1e99):
        sides = (compared([score * unit for score in side]) for side in (GOOD, BAD))
        verdict = overall(regression(*sides))
        assert (verdict["outcome"], verdict["p_value"]) == ("fail", pytest.approx(overall(plain)["p_value"]))
        assert verdict["effect"] == pytest.approx(overall(plain)["effect"] * unit)


@pytest.mark.parametrize("in_one_second", [1, 1000])
def test_a_metric_with_a_unit_has_no_bound_however_small_its_scores(in_one_second: int) -> None:
    metrics = {"latency_s": {"higher_is_better": False, "unit": "s or ms"}}
    sides = np.random.default_rng(1).normal([0.3, 0.31], 0.005, (30, 2)).T * in_one_second
    before, after = (compared({"latency_s": list(side)}, metrics=metrics) for side in sides)
    gate = regression(before, after, metrics=["latency_s"], margins={"latency_s": 0.02 * in_one_second})
    assert overall(gate, "latency_s")["outcome"] == "pass"


@pytest.mark.parametrize("known", [60, None])
def test_times_of_answers_that_shared_batches_are_not_compared(known: int | None) -> None:
    batches = {"finetuned": known} if known else None
    before = compared({"relevance": GOOD, "latency_s": BAD}, largest_batch=batches)
    after = compared({"relevance": GOOD, "latency_s": GOOD}, largest_batch={"finetuned": 35})
    gate = regression(before, after, metrics=["relevance", "latency_s"])
    assert {verdict["metric"] for verdict in gate["verdicts"]} == {"relevance"}
    (note,) = gate["notes"]
    assert f"latency_s was not compared: answers shared batches of up to {known or 35}" in note["message"]
    nothing = regression(before, after, metrics=["latency_s"])
    assert (nothing["verdicts"], nothing["failed"]) == ([], True)
    assert "answers shared batches, so that none has a time of its own" in nothing["reason"]
    alone_batches = {"base": 60, "finetuned": 1}  # the base's answers are in no comparison with an earlier fine-tune
    asked = (compared({"latency_s": side}, largest_batch=alone_batches) for side in (BAD, GOOD))
    alone = regression(*asked, metrics=["latency_s"])
    assert alone["verdicts"]


def test_times_of_shared_batches_are_not_held_against_the_base() -> None:
    run = compared({"relevance": GOOD, "latency_s": GOOD}, largest_batch={"base": 60})
    gate = valid(compare_with_base(run, kind="compare", metrics=["relevance", "latency_s"]))
    assert {verdict["metric"] for verdict in gate["verdicts"]} == {"relevance"}
    assert "latency_s was not compared" in gate["notes"][0]["message"]


@pytest.mark.parametrize("kind", ["regression", "improvement", "compare"])
def test_no_gate_passes_on_the_first_cases_alone(kind: Any) -> None:
    settings = GateSettings(kind="off" if kind == "compare" else kind, metrics=("relevance",), margin=0.2)
    whole = compared(GOOD)
    limited = dataclasses.replace(whole, limited=True)
    baseline = compared(BAD, name="accepted")
    assert settled_gate(whole, settings, baseline)["outcome"] == "pass"
    gate = valid(settled_gate(limited, settings, baseline))
    assert (gate["outcome"], gate["failed"]) == ("inconclusive", kind == "improvement")
    assert gate["reason"].startswith("only the first cases were asked (benchmark.limit)")
    word = "NO VERDICT" if kind == "compare" else "INCONCLUSIVE"
    assert gate_lines(gate, 200)[0].startswith(f"{word}: ")
    (alert, *_) = gate_report(gate_document(gate), "en").alerts
    assert (alert.level, alert.title.startswith(f"{word}: ")) == ("error" if gate["failed"] else "warning", True)
    strict = settings.model_copy(update={"inconclusive": "fail"})
    assert settled_gate(limited, strict, baseline)["failed"] is (kind != "compare")


def test_what_fell_on_the_first_cases_fails() -> None:
    limited = dataclasses.replace(compared(BAD), limited=True)
    settings = GateSettings(kind="regression", metrics=("relevance",))
    gate = settled_gate(limited, settings, compared(GOOD, name="accepted"))
    assert (gate["outcome"], gate["failed"], gate["because"]["kind"]) == ("fail", True, "worse")


def test_scores_that_differ_by_rounding_have_not_changed() -> None:
    gate = regression(compared([[0.1 + 0.2, 0.3]] * 9), compared([[0.3, 0.1 + 0.2]] * 9))
    assert (gate["outcome"], overall(gate)["effect"], overall(gate)["moved"]) == ("pass", 0, [])


@pytest.mark.parametrize("score", [float("inf"), float("nan"), -1e308])
def test_a_score_that_no_metric_gives_is_refused_by_case(score: float) -> None:
    with pytest.raises(UsageError, match=r"run: c0/1, epoch 0: relevance of finetuned is .*cannot be compared"):
        regression(compared([0.5, 0.5, 0.5]), compared([0.5, score, 0.5]))


@pytest.mark.parametrize("score", ["1e999", "1" + "0" * 400, "-1e101", "NaN"])
def test_a_score_that_was_edited_into_the_impossible_is_refused_when_read(make_run: MakeRun, score: str) -> None:
    document = make_run(cases=2)
    document["results"][1]["scores"]["relevance"]["base"] = "HERE"
    with pytest.raises(UsageError, match="cut off or edited"):
        checked(json.dumps(document).replace('"HERE"', score), "run.json")


def test_thousands_of_cases_and_epochs_in_many_categories_are_each_judged() -> None:
    random = np.random.default_rng(3)
    before, after = random.random((2, 2000, 3)).round(3)
    scores = [{"relevance": side.tolist(), "keywords": (side > 0.5).astype(float).tolist()} for side in (before, after)]
    gate = regression(*(compared(side, categories=20) for side in scores), metrics=["relevance", "keywords"])
    assert len(gate["verdicts"]) == 2 * 21
    assert sum(verdict["n"] for verdict in gate["verdicts"] if verdict["metric"] == "keywords") == 2 * 2000
    assert overall(gate)["effect"] == pytest.approx((after - before).mean())


def test_a_great_fall_in_one_of_many_categories_is_found() -> None:
    random = np.random.default_rng(4)
    before = random.uniform(0.4, 0.6, 1200)
    after = before + random.normal(0, 0.05, 1200) + np.where(np.arange(1200) % 40 == 7, -0.2, 0.2 / 39)
    gate = regression(*(compared(side.tolist(), categories=40) for side in (before, after)))
    assert [verdict["category"] for verdict in gate["verdicts"] if verdict["outcome"] == "fail"] == ["c7"]


@pytest.mark.parametrize("kind", ["regression", "improvement", "compare"])
def test_nothing_passes_where_one_of_several_fine_tunes_was_judged_on_nothing(kind: Any) -> None:
    before = compared([0.5] * 30, variants=["base", "a", "b"])
    rows: Any = [{**row, "scores": {"relevance": {"base": 0.5, "a": 0.9, "b": None}}} for row in before.rows]
    run = dataclasses.replace(before, rows=rows)
    asked: dict[str, Any] = {"kind": kind, "metrics": ["relevance"], "unscored": "drop"}
    for gate in (compare_runs(before, run, **asked), compare_with_base(run, **asked)):
        assert [verdict["variant"] for verdict in valid(gate)["verdicts"]] == ["a"]
        assert (gate["outcome"], overall(gate)["outcome"], gate["failed"]) == ("inconclusive", "pass", False)
        assert gate["reason"] == "b could not be judged: no metric of the gate is scored on both sides"
        assert gate["because"] == {"kind": "unjudged", "verdict": None, "others": 0}
        assert gate["notes"][-1]["message"] == "b has no answer that is scored on both sides, and was not judged"
        assert note_title(gate_document(gate).notes[-1], words("en")) == "Unscored cases"


def test_a_fall_fails_and_is_the_reason_though_another_fine_tune_was_not_judged() -> None:
    before = compared(GOOD, variants=["base", "a", "b"])
    rows: Any = [
        {**row, "scores": {"relevance": {"base": 0.9, "a": score, "b": None}}}
        for row, score in zip(before.rows, BAD, strict=True)
    ]
    gate = regression(before, dataclasses.replace(before, rows=rows), unscored="drop")
    assert (gate["outcome"], gate["because"]["kind"], kinds(gate)) == ("fail", "worse", ["unscored", "unscored"])


def test_the_worst_failure_is_the_reason_of_an_improvement_gate() -> None:
    random = np.random.default_rng(1)
    before = {name: (0.6 + 0.1 * random.random(30)).tolist() for name in ("relevance", "keywords")}
    fallen = {"relevance": 0.08, "keywords": 0.5}
    after = {name: [score - fallen[name] * random.random() for score in before[name]] for name in before}
    asked: dict[str, Any] = {"kind": "improvement", "metrics": [*before]}
    gate = valid(compare_runs(compared(before), compared(after), **asked))
    assert gate["outcome"] == "fail"
    assert gate["verdicts"][gate["because"]["verdict"]]["metric"] == "keywords"
    assert "p < 0.001" in gate["reason"]
    of_a_loss = "in a row that failed, of such a loss where nothing got worse"
    assert of_a_loss in "".join(gate_lines(gate, 200))
    earlier = {**gate, "verdicts": [{**one, "p_adjusted": 1.0} for one in gate["verdicts"]]}
    assert of_a_loss not in "".join(gate_lines(earlier, 200))
