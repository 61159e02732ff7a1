"""`--llmbench-require-users N`: the number of users as a gate in CI."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
from support.limits_project import URL, LimitsProject

USERS = ("-m", "autotune", "-k", "users", "--llmbench-server", URL, "--llmbench-require-users")


def test_what_is_surely_held_passes(limits: LimitsProject) -> None:
    result = limits.run(*USERS, "5")
    assert result.ret == pytest.ExitCode.OK
    assert limits.document()["targets"][0]["findings"]["users"]["chance_required"] == 0.999


def test_what_is_surely_not_held_fails_with_one_message(limits: LimitsProject) -> None:
    result = limits.run(*USERS, "30", "--junit-xml=junit.xml")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    suite = ET.parse(limits.path / "junit.xml").getroot().find("testsuite")  # noqa: S314  # written by pytest
    assert suite is not None
    assert (suite.get("tests"), suite.get("failures")) == ("1", "1")
    failure = suite.find("testcase[@name='test_max_concurrent_users']/failure")
    assert failure is not None
    message = failure.get("message") or ""
    assert "\n" not in message
    assert all(part in message for part in ("holds 11 users", "95 % interval", "30 are required", "below 0.01"))
    result.stdout.fnmatch_lines(["*the server holds 11 users*surely not held*"])
    result.stdout.no_fnmatch_line("*server_limits.check*")
    assert limits.limits()["max_concurrent_users"] == 11


def test_what_is_neither_fails_unless_the_settings_let_it_pass(limits: LimitsProject) -> None:
    result = limits.run(*USERS, "11")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*holds them is 0.60: not sure enough; raise load.budget*"])
    limits.write("configs/llmbench.yaml", "gate: {inconclusive: pass}\noutput: {html: false, png: false}\n")
    result = limits.run(*USERS, "11")
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["note: *holds them is 0.60: not sure enough*"])
