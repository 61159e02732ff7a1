"""`load.targets`: several servers or models, compared in one report."""

from __future__ import annotations

import pytest
from support.limits_project import LimitsProject

TWO = [{"url": "http://127.0.0.1:9/v1", "model": "small"}, {"url": "http://127.0.0.1:9/v1", "model": "large"}]
USERS = ("-m", "autotune", "-k", "users")


def test_items_are_named_by_target_and_share_a_report(limits: LimitsProject) -> None:
    limits.settings(targets=TWO)
    result = limits.run(*USERS, "-v")
    result.stdout.fnmatch_lines([f"test_autotune.py::test_max_concurrent_users[[]{one['model']}[]]*" for one in TWO])
    assert [line[:2] for line in limits.asked()] == [["users", "small"], ["users", "large"]]
    assert [target["name"] for target in limits.document()["targets"]] == ["small", "large"]
    assert [entry["model_name"] for entry in limits.limits()["models"]] == ["small", "large"]


def test_targets_of_the_same_model_are_told_apart_by_their_address(limits: LimitsProject) -> None:
    limits.settings(targets=[{"url": "http://127.0.0.1:9/v1"}, {"url": "http://127.0.0.1:10/v1"}])
    result = limits.run(*USERS, "-v")
    result.stdout.fnmatch_lines(["*test_max_concurrent_users[[]@127.0.0.1:9/v1[]]*", "*[[]@127.0.0.1:10/v1[]]*"])
    assert len({target["name"] for target in limits.document()["targets"]}) == 2


def test_k_takes_one_target(limits: LimitsProject) -> None:
    limits.settings(targets=TWO)
    limits.run("-m", "autotune", "-k", "users and large").assert_outcomes(passed=1, deselected=7)
    assert [line[1] for line in limits.asked()] == ["large"]


def test_a_server_on_the_command_line_takes_the_place_of_all(limits: LimitsProject) -> None:
    limits.settings(targets=TWO)
    limits.run(*USERS, "--llmbench-server", "http://127.0.0.1:11/v1").assert_outcomes(passed=1, deselected=3)
    assert limits.document()["targets"][0]["url"] == "http://127.0.0.1:11/v1"


def test_a_model_on_the_command_line_takes_its_target(limits: LimitsProject) -> None:
    limits.settings(targets=TWO)
    limits.run(*USERS, "--llmbench-server-model", "large").assert_outcomes(passed=1, deselected=3)
    assert [line[1] for line in limits.asked()] == ["large"]
    assert limits.run(*USERS, "--llmbench-server-model", "huge").ret == 2
    asks_nobody = limits.run("-m", "autotune", "-k", "nothing", "--llmbench-server-model", "huge")
    assert asks_nobody.ret == pytest.ExitCode.NO_TESTS_COLLECTED


def test_the_same_target_twice_is_refused(limits: LimitsProject) -> None:
    limits.settings(targets=[TWO[0], TWO[0]])
    result = limits.run(*USERS)
    assert result.ret == 2
    result.stdout.fnmatch_lines(["*load.targets names the same server and model twice*"])
