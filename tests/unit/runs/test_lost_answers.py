"""Answers lost to errors and time-outs count as the worst score on the side that lost them."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from pytest_llmbench.runs.baseline import Comparable, baseline_of, comparable
from pytest_llmbench.runs.gate import compare_runs, compare_with_base


def run(scores: list[float | None], base: list[float | None] | None = None, **about: Any) -> Comparable:
    """A run of one answer a case; what has no score was lost."""
    rows: list[Any] = []
    for case, (score, other) in enumerate(zip(scores, base or scores, strict=True)):
        lost = [name for name, found in (("base", other), ("finetuned", score)) if found is None]
        rows.append(
            {
                "case": f"c/{case}",
                "category": "c",
                "epoch": 0,
                "prompt_sha": "a",
                "lost": lost,
                "scores": {"keywords": {"base": other, "finetuned": score}},
            }
        )
    return Comparable("run", {"variants": ["base", "finetuned"], "metrics": {"keywords": about}}, rows)


def gate(before: Comparable, after: Comparable, unscored: Literal["worst", "drop"] = "worst") -> dict[str, Any]:
    return compare_runs(before, after, kind="regression", metrics=["keywords"], unscored=unscored)


GOOD: list[float | None] = [1.0] * 100


def test_a_fall_made_of_time_outs_is_judged_as_one_of_wrong_answers() -> None:
    lost, wrong = (gate(run(GOOD), run([*GOOD[:85], *[missing] * 15])) for missing in (None, 0.0))
    assert lost["outcome"] == wrong["outcome"] == "fail"
    assert lost["verdicts"] == wrong["verdicts"]
    assert [note["kind"] for note in lost["notes"]] == ["lost"]
    assert len(lost["notes"][0]["cases"]) == 15


def test_each_side_answers_for_its_own_losses_and_what_both_lost_tells_nothing() -> None:
    before = run([None, None, *GOOD[2:]])
    found = gate(before, run([1.0, None, None, *GOOD[3:]]))
    (verdict,) = found["verdicts"]
    assert (verdict["n"], verdict["effect"]) == (99, 0)
    assert (found["notes"][0]["data"]["before"], found["notes"][0]["data"]["after"]) == (1, 1)


def test_they_can_be_left_out() -> None:
    found = gate(run(GOOD), run([*GOOD[:85], *[None] * 15]), "drop")
    assert (found["verdicts"][0]["n"], [note["kind"] for note in found["notes"]]) == (85, ["unscored"])


def test_a_fine_tune_that_times_out_falls_behind_its_base() -> None:
    found = compare_with_base(run([*GOOD[:85], *[None] * 15], GOOD), kind="regression", metrics=["keywords"])
    assert found["outcome"] == "fail"


@pytest.mark.parametrize(
    ("about", "seen", "worst"),
    [
        ({}, 0.4, 0.0),
        ({}, 80.0, 0.0),
        ({}, -3.0, -3.0),
        ({"higher_is_better": False}, 0.4, 1.0),
        ({"higher_is_better": False, "unit": "s"}, 0.4, 0.4),
        ({"higher_is_better": False}, 7.0, 7.0),
    ],
)
def test_the_worst_score_is_the_bound_of_the_scale_or_the_worst_seen(
    about: dict[str, Any], seen: float, worst: float
) -> None:
    before = run([seen] * 3, **about)
    (verdict,) = gate(before, run([seen, seen, None], **about))["verdicts"]
    assert verdict["after"] == pytest.approx((2 * seen + worst) / 3)


def test_a_baseline_tells_which_answers_were_lost(make_run: Any) -> None:
    document = make_run(cases=3)
    for finish, row in zip(("stop", "timeout", "error"), document["results"], strict=True):
        row["completions"]["finetuned"]["finish"] = finish
        row["scores"] = {"keywords": {"base": 1.0, "finetuned": None}}
    assert [row.get("lost", []) for row in baseline_of(document, "a")["results"]] == [[], ["finetuned"], ["finetuned"]]


def test_an_answer_that_ended_in_its_thinking_is_lost_whatever_a_metric_made_of_it(make_run: Any) -> None:
    """Nothing is repeated in no answer, which would be the best score."""
    before, after = make_run(cases=12), make_run(cases=12)
    for document in (before, after):
        document["metadata"]["metrics"] = {"repetition": {"higher_is_better": False, "unit": None}}
        for row in document["results"]:
            row["scores"] = {"repetition": {"base": 0.25, "finetuned": 0.25}}
    for row in after["results"][:6]:
        row["completions"]["finetuned"] |= {"text": "", "reasoning": "hm", "finish": "length"}
        row["scores"]["repetition"]["finetuned"] = 0.0
    sides = [comparable(document, name) for document, name in ((before, "a"), (after, "b"))]
    found = compare_runs(*sides, kind="regression", metrics=["repetition"], unscored="worst")
    verdict = next(one for one in found["verdicts"] if one["variant"] == "finetuned")
    assert (found["outcome"], verdict["after"]) == ("fail", pytest.approx(0.625))
    assert [len(note["cases"]) for note in found["notes"] if note["kind"] == "lost"] == [6]
