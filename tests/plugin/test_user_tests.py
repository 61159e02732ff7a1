"""What users write with the fixtures, and that a `case` of their own stays theirs."""

from __future__ import annotations

import re

import pytest
from support.plugin_project import CASES, Project


def test_a_test_of_five_lines_sees_both_answers_and_the_settings(project: Project) -> None:
    project.write(
        "test_suite.py",
        """\
def test_repeats(case, answers, llmbench_settings, llmbench_backend):
    assert answers.finetuned.text == answers["finetuned"].text == case.prompt
    assert answers.base.text == "je ne sais pas"
    assert llmbench_backend.variants == ("base", "finetuned")
    assert llmbench_settings.generation.seed == 42
""",
    )
    project.run().assert_outcomes(passed=6)


def test_several_tests_of_one_case_share_its_answer_and_one_failure_fails_the_case(project: Project) -> None:
    project.write(
        "test_suite.py",
        """\
def test_first(answers):
    pass

def test_second(case, answers):
    assert case.id != "dark"
""",
    )
    project.run().assert_outcomes(passed=11, failed=1)
    assert len(project.asked()) == 2 * 6
    outcomes = {row["prompt_id"]: row["outcome"] for row in project.report()["results"]}
    assert {name for name, outcome in outcomes.items() if outcome == "failed"} == {"dark"}


def test_a_fine_tune_that_was_not_compared_is_one_message(project: Project) -> None:
    project.backend(more="class Parrot(Parrot):\n    variants = ('base',)\n")
    project.write("test_suite.py", "def test_tuned(answers):\n    answers.finetuned\n")
    result = project.run("-k", "mute")
    result.stdout.fnmatch_lines([">*answers.finetuned", "E*there is no fine-tuned answer: *--llmbench-adapter*"])
    result.stdout.no_fnmatch_line("*benchmark/main_job.py*")


OWN_CASE = {
    "fixture": "import pytest\n@pytest.fixture(params=[1, 2])\ndef case(request):\n    return request.param\n",
    "parametrize": "import pytest\npytestmark = pytest.mark.parametrize('case', [1, 2])\n",
    "parametrize of several": "import pytest\npytestmark = pytest.mark.parametrize('case, other', [(1, 0), (2, 0)])\n",
}


@pytest.mark.parametrize("own", OWN_CASE)
def test_a_case_of_the_users_own_is_left_alone(project: Project, own: str) -> None:
    arguments = "case, other" if "several" in own else "case"
    project.write("test_suite.py", f"{OWN_CASE[own]}\ndef test_own({arguments}):\n    assert case in (1, 2)\n")
    before = project.files()
    project.run_plain().assert_outcomes(passed=2)
    assert project.files() == before


def test_a_case_that_the_user_builds_is_answered_and_reported(project: Project) -> None:
    project.write(
        "test_suite.py",
        """\
import pytest
from pytest_llmbench.cases.suites import Case

@pytest.fixture
def case():
    return Case("mine", "hello", "bonjour", ({"role": "user", "content": "bonjour"},))

def test_own(answers):
    assert answers.finetuned.text == "bonjour"
""",
    )
    project.run().assert_outcomes(passed=1)
    assert project.reported() == ["mine/hello"]


@pytest.mark.parametrize("workers", [(), ("-n", "2")])
def test_two_cases_that_the_user_builds_with_one_name_are_refused_with_both(
    project: Project, workers: tuple[str, ...]
) -> None:
    project.write(
        "test_suite.py",
        """\
import pytest
from pytest_llmbench.cases.suites import Case

@pytest.fixture(params=["bonjour", "bonsoir"])
def case(request):
    return Case("mine", "hello", request.param, ({"role": "user", "content": request.param},))

def test_own(case, answers):
    assert answers.finetuned.text == case.prompt
""",
    )
    result = project.run(*workers)
    assert result.ret == 2
    told = r"two cases that ask different things are called mine/hello, epoch 0: '(\w+)' and '(\w+)'; give one of them"
    found = re.search(told, str(result.stdout) + str(result.stderr))
    assert found
    assert {*found.groups()} == {"bonjour", "bonsoir"}
    assert project.runs() == ["unfinished"]


@pytest.mark.parametrize(
    ("does", "outcomes", "kept"),
    [("1 / 0", {"errors": 1, "passed": 5}, "failed"), ("pytest.skip('odd')", {"skipped": 1, "passed": 5}, "passed")],
)
def test_a_fixture_that_ends_a_case_after_it_asked_keeps_the_case(
    project: Project, does: str, outcomes: dict[str, int], kept: str
) -> None:
    project.write(
        "test_suite.py",
        "import pytest\n\n"
        f"@pytest.fixture\ndef parsed(answers):\n    if answers.case.id == 'dark':\n        {does}\n\n"
        "@pytest.mark.benchmark\ndef test_case(parsed):\n    pass\n",
    )
    project.run().assert_outcomes(**outcomes)
    assert project.runs() == ["0001"]
    found = {row["case"]: row["outcome"] for row in project.report()["results"]}
    assert found == dict.fromkeys(CASES, "passed") | {"lights/dark": kept}
