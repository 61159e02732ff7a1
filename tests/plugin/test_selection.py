"""Which items there are, and that what pytest leaves out is never asked."""

from __future__ import annotations

import pytest
from support.plugin_project import CASES, Project, asked_once


def test_each_case_is_an_item_named_by_category_and_id(project: Project) -> None:
    result = project.run("--collect-only", "-q")
    assert [line for line in result.outlines if "::" in line] == [f"test_suite.py::test_case[{case}]" for case in CASES]


def test_collecting_asks_nothing_and_writes_nothing(project: Project) -> None:
    before = project.files()
    assert project.run("--collect-only").ret == pytest.ExitCode.OK
    assert project.files() == before


def test_a_whole_run_asks_both_variants_once_and_reports_every_case_in_the_order_of_the_suites(
    project: Project,
) -> None:
    result = project.run()
    result.assert_outcomes(passed=6)
    assert sorted(project.asked()) == asked_once(*CASES)
    assert project.reported() == list(CASES)
    assert project.runs() == ["0001"]
    result.stdout.fnmatch_lines(["*= llmbench =*", "*base -> finetuned*", "*reports/benchmark.json"])


def test_the_parts_of_the_time_add_up_to_the_whole(project: Project) -> None:
    project.run()
    timings = project.report()["metadata"]["timings"]
    assert list(timings) == ["total_s", "load_s", "generation_s", "scoring_s", "other_s"]
    assert sum(timings.values()) == pytest.approx(2 * timings["total_s"], abs=0.05)


def test_categories_are_words_of_k(project: Project) -> None:
    project.run("-k", "sound and not mute").assert_outcomes(passed=2, deselected=4)
    assert sorted(project.asked()) == asked_once("sound/louder", "sound/deaf")


def test_m_leaves_benchmarks_out_before_anything_is_loaded(project: Project) -> None:
    before = project.files()
    project.run("-m", "not benchmark").assert_outcomes(deselected=1)
    assert project.files() == before


def test_an_item_named_on_the_command_line_costs_one_answer_a_variant(project: Project) -> None:
    project.run_plain("test_suite.py::test_case[lights/dark]").assert_outcomes(passed=1)
    assert project.asked() == ["base lights/dark#0", "finetuned lights/dark#0"]


def test_lf_runs_again_what_failed_and_asks_nothing_else(project: Project) -> None:
    project.expect_the_impossible("lights/kitchen")
    project.run().assert_outcomes(passed=5, failed=1)
    (project.path / "asked.log").unlink()
    project.run("--lf", "--llmbench-no-cache").assert_outcomes(failed=1)
    assert sorted(project.asked()) == asked_once("lights/kitchen")


def test_sw_stops_at_a_failure_and_goes_on_there(project: Project) -> None:
    project.expect_the_impossible("lights/kitchen", "sound/deaf")
    project.run("--sw").assert_outcomes(passed=1, failed=1)
    assert project.reported() == ["lights/lamp", "lights/kitchen"]
    project.run("--sw", "--sw-skip").assert_outcomes(passed=2, failed=2, deselected=1)
    assert project.reported() == ["lights/kitchen", "lights/dark", "sound/louder", "sound/deaf"]


@pytest.mark.parametrize(
    ("language", "told"),
    [
        ("en", "cut short: every answer so far is in"),
        ("fr", "interrompu : toutes les réponses obtenues sont dans"),
    ],
)
def test_x_costs_at_most_one_batch(project: Project, language: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMBENCH_OUTPUT__LANGUAGE", language)
    project.expect_the_impossible("lights/lamp")
    result = project.run("-x")
    result.assert_outcomes(failed=1)
    assert len(project.asked()) == 2 * 2
    assert project.runs() == ["unfinished"]
    result.stdout.fnmatch_lines([f"{told} reports/runs/unfinished-*--llmbench-resume"])


@pytest.mark.parametrize("seed", ["1", "2"])
def test_random_order_asks_each_case_once_and_reports_in_the_order_of_the_suites(project: Project, seed: str) -> None:
    result = project.run_shuffled(seed)
    result.assert_outcomes(passed=6)
    assert sorted(project.asked()) == asked_once(*CASES)
    assert project.reported() == list(CASES)
