"""Many runs against one fixed baseline."""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Callable, Iterator
from types import MappingProxyType
from typing import Any

import pytest
from support.comparables import compared

from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.runs.baseline import Comparable
from pytest_llmbench.runs.monitoring import monitor
from pytest_llmbench.runs.row_columns import GivenAnswers

GOOD = [[1.0] * 5] * 60
BAD = [*[[1.0]] * 20, *[[0.0]] * 40]


def watched(
    *runs: Any, baseline: Any = None, metrics: Any = ("relevance",), margins: Any = MappingProxyType({})
) -> dict[str, Any]:
    return monitor(baseline or compared(GOOD, name="accepted"), runs, metrics=metrics, margins=margins).json_ready()


def test_a_drift_for_the_worse_is_dated_and_a_steady_model_raises_no_alarm() -> None:
    steady = [compared([[1.0]] * 60, name=f"{place}") for place in range(3)]
    worse = [compared(BAD, name=f"{place}") for place in range(3, 12)]
    (series,) = watched(*steady)["series"]
    assert (series["alarm"], series["cases"], len(series["points"])) == (None, 60, 3)
    (series,) = watched(*steady, *worse)["series"]
    assert series["alarm"] in {run.name for run in worse}
    assert all(point["low"] <= point["effect"] <= point["high"] for point in series["points"])


def test_runs_that_were_looked_at_are_not_held() -> None:
    class Rows(list[Any]):
        """A list that can be referred to weakly."""

    alive: list[int] = []

    def runs() -> Iterator[Any]:
        seen: list[Any] = []
        for place in range(4):
            run = compared([[1.0]] * 60, name=f"{place}")
            rows = Rows(run.rows)
            seen.append(weakref.ref(rows))
            yield dataclasses.replace(run, rows=rows)
            del rows
            alive.append(sum(ref() is not None for ref in seen))

    monitor(compared(GOOD, name="accepted"), runs(), metrics=["relevance"])
    assert max(alive) == 1


def test_less_is_better_turns_the_alarm_round() -> None:
    less = {"relevance": {"higher_is_better": False}}
    rising = [compared([[1.0]] * 60, name=f"{place}", metrics=less) for place in range(12)]
    (series,) = watched(*rising, baseline=compared([[0.0] * 5] * 60, metrics=less))["series"]
    assert series["alarm"] is not None
    without = compared({"other": [[1.0]] * 60}, name="without")  # and does not say which way is better
    (series,) = watched(*rising, without, baseline=compared([[0.0] * 5] * 60, metrics=less))["series"]
    assert series["alarm"] is not None


def test_a_run_of_other_cases_is_left_out_with_the_reason() -> None:
    found = watched(compared([[1.0]] * 60, name="whole"), compared([[1.0]] * 50, name="part"))
    assert [run["not_comparable"] for run in found["runs"]] == [None, "10 cases of the baseline are missing"]
    assert [point["run"] for point in found["series"][0]["points"]] == ["whole"]
    with pytest.raises(UsageError, match="none of the 1 runs"):
        watched(compared([[1.0]] * 50))


def test_scores_of_another_scale_are_refused() -> None:
    seconds = {"relevance": GOOD, "latency_s": [[3.0] * 5] * 60}
    run = {"relevance": [[1.0]] * 60, "latency_s": [[3.0]] * 60}
    with pytest.raises(UsageError, match="latency_s"):
        watched(compared(run), baseline=compared(seconds), metrics=["latency_s"])
    found = watched(compared(run), baseline=compared(seconds), metrics=["relevance", "latency_s"])
    assert [series["metric"] for series in found["series"]] == ["relevance"]


def test_runs_that_lost_other_answers_are_held_against_the_same_cases() -> None:
    lost_one: Any = [None, *[1.0] * 59]
    baseline, one, other = (
        compared(scores, name=name)
        for name, scores in (("accepted", lost_one), ("scored it", [1.0] * 60), ("lost it too", lost_one))
    )
    for run in (baseline, other):
        run.rows[0]["lost"] = ["base", "finetuned"]
    (series,) = watched(one, other, baseline=baseline)["series"]
    assert (series["cases"], len(series["points"]), series["alarm"]) == (59, 2, None)


def test_a_run_that_did_not_score_a_metric_whole_is_left_out_of_that_metric_alone() -> None:
    both = {"relevance": [[1.0]] * 60, "mine": [[1.0]] * 60}
    gap: Any = {"relevance": [[1.0]] * 60, "mine": [None, *[[1.0]] * 59]}
    baseline = compared({"relevance": GOOD, "mine": GOOD}, name="accepted")
    runs = [compared(both, name="whole"), compared(gap, name="gap"), compared([[1.0]] * 60, name="without")]
    found = watched(*runs, baseline=baseline, metrics=["relevance", "mine"])
    relevance, mine = found["series"]
    assert [point["run"] for point in relevance["points"]] == ["whole", "gap", "without"]
    assert [point["run"] for point in mine["points"]] == ["whole"]
    reasons = {"gap": "1 of 60 cases are not scored whole", "without": "60 of 60 cases are not scored whole"}
    assert (relevance["left_out"], mine["left_out"]) == ({}, reasons)
    assert found["unwatched"] == []


def test_cases_that_the_baseline_did_not_score_whole_are_in_no_table() -> None:
    gap: Any = [[1.0, None], [1.0], *[[1.0, 1.0]] * 58]
    found = watched(compared([[1.0]] * 60), baseline=compared(gap))
    (series,) = found["series"]
    assert (series["cases"], len(series["points"])) == (58, 1)


def test_a_run_that_asked_a_case_fewer_times_is_left_out_with_the_reason() -> None:
    fewer = [[1.0], *[[1.0, 1.0]] * 59]
    found = watched(compared(GOOD, name="whole"), compared(fewer, name="fewer"))
    assert [run["not_comparable"] for run in found["runs"]] == [None, "1 cases were asked fewer times than others"]
    assert [point["run"] for point in found["series"][0]["points"]] == ["whole"]


def test_what_is_not_watched_is_told_with_the_reason() -> None:
    scores = {"relevance": GOOD, "latency_s": [[3.0]] * 60, "mine": [[1.0]] * 60}
    run = {"relevance": [[1.0]] * 60, "latency_s": [[3.0]] * 60}
    found = watched(compared(run), baseline=compared(scores), metrics=["relevance", "latency_s", "mine", "other"])
    assert [series["metric"] for series in found["series"]] == ["relevance"]
    assert {one["metric"]: one["reason"] for one in found["unwatched"]} == {
        "latency_s": "its scores are not all between 0 and 1",
        "mine": "no run scores what the baseline does; of run 60 of 60 cases are not scored whole",
        "other": "the baseline scores no case whole",
    }


def test_an_answer_that_the_baseline_lost_and_a_run_too_hinders_no_other() -> None:
    lost: Any = [[None, 1.0], *[[1.0, 1.0]] * 59]
    baseline, run = compared(lost, name="accepted"), compared([[None], *[[1.0]] * 59])
    for side in (baseline, run):
        side.rows[0]["lost"] = ["base", "finetuned"]
    (series,) = watched(run, baseline=baseline)["series"]
    assert (series["cases"], len(series["points"]), series["left_out"]) == (59, 1, {})


def test_each_metric_has_its_own_margin() -> None:
    baseline = compared({"relevance": GOOD, "mine": GOOD}, name="accepted")
    worse = [compared({"relevance": BAD, "mine": BAD}, name=f"{place}") for place in range(9)]
    found = watched(*worse, baseline=baseline, metrics=["relevance", "mine"], margins={"mine": 0.9})
    alarms = {one["metric"]: (one["margin"], one["alarm"] is not None) for one in found["series"]}
    assert alarms == {"relevance": (0.0, True), "mine": (0.9, False)}


def answered(run: Comparable, moments: Callable[[Any], str], *, cached: bool = False) -> Comparable:
    """The run with its answers, each made at such a moment; of those of the base and the fine-tune, alike."""

    def row(one: Any) -> dict[str, Any]:
        answer = {"text": "ja", "timestamp": moments(one), "latency_s": 1.5, "cached": cached}
        return {**one, "completions": dict.fromkeys(run.metadata["variants"], answer)}

    return dataclasses.replace(run, answers=GivenAnswers(map(row, run.rows)))


def at(moment: str) -> Callable[[Any], str]:
    return lambda _: moment


def test_answers_that_an_earlier_run_has_are_no_new_evidence() -> None:
    asked = answered(compared([[1.0]] * 60, name="asked"), at("2026-03-01"))
    copies = [
        answered(compared([[1.0]] * 60, name=f"copy {place}"), at("2026-03-01"), cached=place > 0) for place in range(3)
    ]
    anew = answered(compared([[1.0]] * 60, name="anew"), at("2026-03-02"))
    found = watched(asked, *copies, anew)
    assert [point["run"] for point in found["series"][0]["points"]] == ["asked", "anew"]
    assert found["series"] == watched(asked, anew)["series"]
    told = "60 of 60 answers are those of an earlier run, or older than the baseline"
    assert [run["not_comparable"] for run in found["runs"]] == [None, told, told, told, None]


def test_remembered_answers_of_before_the_baseline_tell_of_no_drift_since() -> None:
    older = answered(compared([[1.0]] * 60, name="older"), at("2026-02-17"), cached=True)
    nothing = watched(older, older)
    told = "60 of 60 answers are those of an earlier run, or older than the baseline"
    assert (nothing["series"], [run["not_comparable"] for run in nothing["runs"]]) == ([], [told, told])
    newer = answered(compared([[1.0]] * 60, name="newer"), at("2026-02-19"), cached=True)
    (series,) = watched(older, newer)["series"]
    assert [point["run"] for point in series["points"]] == ["newer"]


def test_the_baselines_own_answers_are_none_since() -> None:
    baseline = answered(compared(GOOD, name="accepted"), at("2026-02-18"))
    assert watched(dataclasses.replace(baseline, name="again"), baseline=baseline)["series"] == []


def test_of_a_run_that_remembers_some_epochs_the_others_count() -> None:
    first = answered(compared([[1.0]] * 60, name="first"), at("2026-03-01"))
    more: Any = compared([[1.0, 0.0]] * 60, name="more")
    mixed = answered(more, lambda row: f"2026-03-0{row['epoch'] + 1}")
    new = compared([[0.0]] * 60, name="more")
    assert watched(first, mixed)["series"] == watched(first, new)["series"]


def test_an_epoch_with_one_repeated_answer_is_not_counted() -> None:
    first = answered(compared([[1.0]] * 60, name="first"), at("2026-03-01"))
    lost_one = answered(compared([[1.0]] * 60, name="1 anew"), lambda row: f"2026-03-0{1 + (row['case'] == 'c0/7')}")
    found = watched(first, lost_one)
    told = "59 of 60 answers are those of an earlier run, or older than the baseline"
    assert found["runs"][1]["not_comparable"] == told
    assert found["series"] == watched(first)["series"]


def test_answers_that_were_not_scored_count_when_they_are() -> None:
    both = {"relevance": [[1.0]] * 60, "mine": [[1.0]] * 60}
    baseline = compared({"relevance": GOOD, "mine": GOOD}, name="accepted")
    unscored, scored = (
        answered(compared(scores, name=name), at("2026-03-01"))
        for name, scores in (("unscored", [[1.0]] * 60), ("scored", both))
    )
    relevance, mine = watched(unscored, scored, baseline=baseline, metrics=["relevance", "mine"])["series"]
    assert [point["run"] for point in relevance["points"]] == ["unscored"]
    assert "are those of an earlier run" in relevance["left_out"]["scored"]
    assert [point["run"] for point in mine["points"]] == ["scored"]


def test_answers_without_a_moment_are_known_again_only_where_they_were_remembered() -> None:
    asked, again = (answered(compared([[1.0]] * 60, name=name), at("")) for name in ("asked", "again"))
    assert len(watched(asked, again)["series"][0]["points"]) == 2
    remembered = answered(compared([[1.0]] * 60, name="remembered"), at(""), cached=True)
    for first in (asked, remembered):
        assert len(watched(first, remembered)["series"][0]["points"]) == 1


def test_times_of_shared_batches_are_not_watched() -> None:
    both = {"relevance": [[1.0]] * 60, "latency_s": [[0.5]] * 60}
    baseline = compared({"relevance": GOOD, "latency_s": GOOD}, name="accepted")
    batched, alone = (compared(both, name=f"of {batch}", largest_batch={"finetuned": batch}) for batch in (35, 1))
    _, latency = watched(batched, alone, baseline=baseline, metrics=["relevance", "latency_s"])["series"]
    assert [point["run"] for point in latency["points"]] == ["of 1"]
    assert latency["left_out"]["of 35"].startswith("answers shared batches of up to 35")
