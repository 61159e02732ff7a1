"""`pytest -m autotune`: which items there are, what each asks, and what is written at the end."""

from __future__ import annotations

import pytest
from support.limits_project import ITEMS, SEARCHED, URL, LimitsProject


def test_the_four_questions_are_items_with_plain_names(limits: LimitsProject) -> None:
    result = limits.run("-m", "autotune", "--collect-only", "-q", "--llmbench-server", URL)
    assert [line for line in result.outlines if "::" in line] == [f"test_autotune.py::{item}" for item in ITEMS]


def test_each_is_asked_once_and_the_reports_and_the_limits_are_written(limits: LimitsProject) -> None:
    limits.write("configs/llmbench.yaml", "output: {png: false}\n")
    result = limits.run(*SEARCHED)
    result.assert_outcomes(passed=3)
    assert [(line[0], line[2]) for line in limits.asked()] == [
        ("users", "False"),
        ("history", "True"),
        ("max_tokens", "True"),
    ]
    (target,) = limits.document()["targets"]
    assert set(target["findings"]) == {"users", "history", "max_tokens"}
    assert "--llmbench-server" in limits.document()["metadata"]["command"]
    assert limits.limits()["max_concurrent_users"] == target["findings"]["users"]["value"] == 11
    result.stdout.fnmatch_lines(
        ["*= llmbench autotune =*", "*11 users*", "*reports/autotune.html", "*model_limits.json"]
    )
    assert (limits.path / "asked.closed").exists()


def test_k_takes_one_question(limits: LimitsProject) -> None:
    limits.run("-m", "autotune", "-k", "users", "--llmbench-server", URL).assert_outcomes(passed=1, deselected=3)
    assert [line[0] for line in limits.asked()] == ["users"]
    assert set(limits.document()["targets"][0]["findings"]) == {"users"}


def test_history_alone_does_not_ask_for_users(limits: LimitsProject) -> None:
    limits.run("-m", "autotune", "-k", "history", "--llmbench-server", URL).assert_outcomes(passed=1, deselected=3)
    assert [line[0] for line in limits.asked()] == ["history"]


def test_users_come_first_in_any_order_of_items(limits: LimitsProject) -> None:
    tests = [f"test_autotune.py::{item}" for item in ("test_max_tokens", "test_max_history", ITEMS[0])]
    limits.base.run_plain(*tests, "--llmbench-server", URL).assert_outcomes(passed=3)
    assert [line[0] for line in limits.asked()] == ["users", "max_tokens", "history"]


def test_a_plain_run_puts_no_load_on_anything(limits: LimitsProject) -> None:
    before = limits.files()
    result = limits.base.run_plain()
    result.assert_outcomes(deselected=4)
    result.stdout.fnmatch_lines(["llmbench: 4 tests need a model or a server, left out; run with -m autotune (4)*"])
    assert limits.files() == before


def test_a_named_file_is_asked_for(limits: LimitsProject) -> None:
    limits.base.run_plain("test_autotune.py", "-k", "history", "--llmbench-server", URL).assert_outcomes(
        passed=1, deselected=3
    )


def test_collecting_asks_nothing_and_writes_nothing(limits: LimitsProject) -> None:
    before = limits.files()
    assert limits.run("--collect-only", "-m", "autotune").ret == pytest.ExitCode.OK
    assert limits.files() == before


def test_a_line_stays_for_each_trial_where_there_is_no_terminal(limits: LimitsProject) -> None:
    result = limits.run(*SEARCHED)
    lines = [line for line in result.outlines if line.startswith("llmbench: ")]
    assert lines == [
        f"llmbench: {question} | {told}"
        for question in ("users", "history", "max_tokens")
        for told in (
            "begins: 2000 requests at most",
            "at 8: held, 24 of 24 | 11 users (9 to 12) | 1976 left",
        )
    ]


def test_resume_is_handed_on(limits: LimitsProject) -> None:
    limits.run(*SEARCHED, "--llmbench-resume")
    assert {line[3] for line in limits.asked()} == {"True"}


def test_a_test_of_ones_own_asks_what_it_wants(limits: LimitsProject) -> None:
    limits.write(
        "test_own.py",
        """\
import pytest

@pytest.mark.asyncio
async def test_two_answers_are_one_search(server_limits):
    first, second = await server_limits.max_users(), await server_limits.max_users()
    assert first["value"] == second["value"] == 11
""",
    )
    limits.base.run_plain("test_own.py", "--llmbench-server", URL).assert_outcomes(passed=1)
    assert [line[0] for line in limits.asked()] == ["users"]
