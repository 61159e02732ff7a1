"""`--llmbench-chunk`: items that stand for many cases, each a subtest."""

from __future__ import annotations

import gzip
import json

import pytest
from support.plugin_project import CASES, CUT_SHORT, Project, asked_once, assert_one_message

from pytest_llmbench.runs.history import find_run

needs_subtests = pytest.mark.skipif(not hasattr(pytest, "Subtests"), reason="chunks need the subtests of pytest 9")


def saved(project: Project) -> list[tuple[str, str]]:
    """Case and outcome of each result of the latest run, whose file does not hold them."""
    assert project.report()["results"] == []
    found = find_run("latest", project.path / "reports")
    return [(row["case"], row["outcome"]) for row in found.document["results"]]


@needs_subtests
def test_a_chunk_is_an_item_of_one_category_and_the_report_is_that_of_single_items(project: Project) -> None:
    project.run("--llmbench-no-cache").assert_outcomes(passed=6)
    single = project.report()
    result = project.run("--llmbench-no-cache", "--llmbench-chunk", "2", "-v")
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(["*test_case?lights/1-2? PASSED*", "*test_case?lights/3-3?*", "*test_case?sound/1-2?*"])
    assert saved(project) == [(case, "passed") for case in CASES]
    chunked = project.report()
    for key in ("statistics", "by_category"):
        assert chunked[key] == single[key]
    assert chunked["comparison"]["verdicts"] == single["comparison"]["verdicts"]
    assert chunked["metadata"]["cases_sha256"] == single["metadata"]["cases_sha256"]
    assert sorted(project.asked()) == sorted(asked_once(*CASES) * 2)


@needs_subtests
def test_failures_are_named_case_by_case_and_last_failed_works_by_chunk(project: Project) -> None:
    project.expect_the_impossible("lights/kitchen", "sound/mute")
    result = project.run("--llmbench-chunk", "2", "--junitxml=junit.xml")
    result.stdout.fnmatch_lines(["*lights/kitchen: always_1 of finetuned is 1, expected at least 2*"])
    result.stdout.fnmatch_lines(["*lights/1-2*contains 1 failed subtest*"])
    assert [case for case, outcome in saved(project) if outcome == "failed"] == ["lights/kitchen", "sound/mute"]
    told = (project.path / "junit.xml").read_text()
    assert all(told.count(f"ExpectationError: {case}: always_1") for case in ("lights/kitchen", "sound/mute"))
    again = project.run("--llmbench-chunk", "2", "--lf")
    again.assert_outcomes(failed=4)  # two chunks, and the case in each
    assert [case for case, _ in saved(project)] == [*CASES[:2], CASES[5]]


@needs_subtests
def test_a_chunk_that_stops_midway_keeps_its_answers_and_is_resumed(project: Project) -> None:
    project.expect_the_impossible("lights/lamp")
    result = project.run("--llmbench-chunk", "3", "-x", "--llmbench-no-cache")
    result.stdout.fnmatch_lines([CUT_SHORT])
    (part,) = (project.path / "reports/runs").glob("unfinished-*/results/*.gz")
    rows = [json.loads(line) for line in gzip.decompress(part.read_bytes()).splitlines()]
    assert [(row["case"], row["outcome"]) for row in rows] == [("lights/lamp", "failed")]
    before = project.asked()
    project.run("--llmbench-chunk", "3", "--llmbench-no-cache", "--llmbench-resume")
    assert sorted(project.asked()) == asked_once(*CASES)
    assert before == project.asked()[: len(before)]
    assert [case for case, _ in saved(project)] == list(CASES)


@needs_subtests
def test_fixtures_that_depend_on_the_case_are_made_for_each_and_others_once(project: Project) -> None:
    project.write(
        "test_suite.py",
        "import pytest\n\n"
        "@pytest.fixture\ndef shouted(answers):\n    return answers.finetuned.text.upper()\n\n"
        "@pytest.fixture\ndef seen():\n    return []\n\n"
        "@pytest.mark.benchmark\ndef test_case(shouted, case, seen, request):\n"
        "    assert shouted == case.prompt.upper()\n"
        "    seen.append(case.id)\n"
        "    if case.id == 'deaf':\n        pytest.skip('not this one')\n"
        "    print(sorted(seen))\n",
    )
    result = project.run("--llmbench-chunk", "3", "-s")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*dark*kitchen*lamp*", "*deaf*louder*mute*"])


@needs_subtests
def test_a_failure_that_the_test_expects_is_none_of_the_run(project: Project) -> None:
    project.write(
        "test_suite.py",
        "import pytest\n\n"
        "@pytest.mark.xfail(raises=ValueError, reason='known')\n"
        "@pytest.mark.benchmark\ndef test_case(llmbench_case, llmbench_answers):\n"
        "    if llmbench_case.id == 'lamp':\n        pytest.xfail('dim')\n"
        "    if llmbench_case.id == 'deaf':\n        raise ValueError\n"
        "    if llmbench_case.id == 'mute':\n        raise KeyError\n",
    )
    project.run("--llmbench-chunk", "3")
    assert [case for case, outcome in saved(project) if outcome == "failed"] == ["sound/mute"]


@needs_subtests
def test_a_case_that_is_skipped_after_it_was_answered_makes_up_for_no_other(project: Project) -> None:
    project.write(
        "test_suite.py",
        "import pytest\n\n"
        "@pytest.mark.benchmark\ndef test_case(llmbench_case, request):\n"
        "    if llmbench_case.id != 'lamp':\n        request.getfixturevalue('llmbench_answers')\n"
        "    if llmbench_case.id == 'deaf':\n        pytest.skip('answered already')\n",
    )
    result = project.run("--llmbench-chunk", "3")
    result.stdout.fnmatch_lines([CUT_SHORT])
    assert project.runs() == ["unfinished"]


@needs_subtests
def test_a_case_that_another_test_asks_is_none_that_the_run_should_be_without(project: Project) -> None:
    """One test skips all cases but one before it asks, the other would ask all and is stopped by a failure."""
    project.write(
        "test_suite.py",
        "import pytest\n\n"
        "@pytest.mark.benchmark\ndef test_few(llmbench_case, request):\n"
        "    if llmbench_case.id != 'lamp':\n        pytest.skip('not this one')\n"
        "    request.getfixturevalue('llmbench_answers')\n\n"
        "@pytest.mark.benchmark\ndef test_all(llmbench_case, request):\n"
        "    request.getfixturevalue('llmbench_answers')\n"
        "    assert llmbench_case.id != 'kitchen'\n",
    )
    project.run("--llmbench-chunk", "6", "-x")
    assert project.runs() == ["unfinished"]


@needs_subtests
def test_workers_share_chunks_and_make_one_run(project: Project) -> None:
    project.expect_the_impossible("sound/deaf")
    result = project.run("-n", "2", "--llmbench-chunk", "2", "--llmbench-no-cache")
    result.stdout.fnmatch_lines(["*sound/deaf: always_1 of finetuned*"])
    assert sorted(project.asked()) == asked_once(*CASES)
    assert [case for case, outcome in saved(project) if outcome == "failed"] == ["sound/deaf"]


@needs_subtests
def test_a_large_run_is_a_baseline_and_is_read_again(project: Project) -> None:
    project.run("--llmbench-chunk", "2", "--llmbench-save", "accepted")
    result = project.run("--llmbench-chunk", "2", "--llmbench-compare", "accepted", "--llmbench-gate", "regression")
    assert result.ret == 0
    assert project.report()["gate"]["baseline"]["name"] == "0001_accepted"
    part = next((project.path / "reports/runs/0001_accepted/results").glob("*.gz"))
    part.write_bytes(part.read_bytes()[:-9])
    damaged = project.run("--llmbench-compare", "accepted", "--llmbench-gate", "regression")
    assert damaged.ret == 2
    damaged.stdout.fnmatch_lines([f"*{part.name}: this part of a run's results is gone, cut off or damaged*"])


@needs_subtests
@pytest.mark.parametrize("arguments", ["raise_fault()", "2, before_answer=lambda count: count == 3 and raise_fault()"])
def test_what_is_not_ready_ends_the_session_with_one_message(project: Project, arguments: str) -> None:
    project.backend(
        arguments,
        more="from pytest_llmbench.core.errors import NotReadyError\n"
        "def raise_fault():\n    raise NotReadyError('the model is gone; get it back')\n",
    )
    result = project.run("--llmbench-chunk", "2")
    assert_one_message(result, "*the model is gone; get it back*", exit_code=3)
    result.stdout.no_fnmatch_line("*SUBFAILED*")


@needs_subtests
def test_a_gate_cannot_be_confirmed_by_chunks(project: Project) -> None:
    result = project.run("--llmbench-chunk", "2", "--llmbench-gate", "improvement", "--llmbench-confirm")
    assert result.ret == 2
    result.stdout.fnmatch_lines(["*set gate.confirm: false, or benchmark.chunk: off*"])
    assert project.asked() == []


def test_a_large_suite_is_chunked_by_itself_unless_that_is_off(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_llmbench.plugin.session.AUTO_ABOVE", 5)
    collected = 2 if hasattr(pytest, "Subtests") else 6
    project.run("--collect-only", "-q").stdout.fnmatch_lines([f"{collected} tests collected*"])
    project.run("--collect-only", "-q", "--llmbench-chunk", "off").stdout.fnmatch_lines(["6 tests collected*"])


@needs_subtests
def test_cases_of_a_large_jsonl_file_stay_there_until_they_are_asked(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_llmbench.cases.suites._MOST_BYTES_KEPT", 10)
    rows = [{"category": "songs", "system": "Be brief."}, *({"prompt": f"chante {number}"} for number in range(5))]
    project.write("prompts/songs.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    project.run("--llmbench-chunk", "3", "--llmbench-prompts", "prompts/songs.jsonl").assert_outcomes(passed=2)
    assert [case for case, _ in saved(project)] == [f"songs/{line}" for line in range(2, 7)]


@pytest.mark.parametrize("expected", ["always", "alwyas"])
def test_cases_of_a_large_jsonl_file_that_are_items_are_planned_and_checked(
    project: Project, monkeypatch: pytest.MonkeyPatch, expected: str
) -> None:
    monkeypatch.setattr("pytest_llmbench.cases.suites._MOST_BYTES_KEPT", 10)
    project.backend(
        "4", more="def pytest_llmbench_metrics(registry):\n    registry.add('always', lambda case, completion: 1)\n"
    )
    rows = [{"category": "songs", "prompt": f"chante {number}", "expect": {expected: 1}} for number in range(4)]
    project.write("prompts/songs.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    result = project.run("--llmbench-chunk", "off", "--llmbench-prompts", "prompts/songs.jsonl")
    if expected == "alwyas":
        assert_one_message(result, "*alwyas*", exit_code=2)
        assert project.asked() == []
    else:
        result.assert_outcomes(passed=4)
        assert project.batches() == [4] * 8
