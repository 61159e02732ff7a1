"""pytest-xdist: several processes, one server, and never two questions at once."""

from __future__ import annotations

import itertools

from support.limits_project import SEARCHED, URL, LimitsProject


def test_workers_ask_one_after_the_other_users_first_and_make_one_report(limits: LimitsProject) -> None:
    limits.double("ServerDouble.answering_s = 0.5")
    result = limits.run(*SEARCHED, "-n", "2")
    result.assert_outcomes(passed=3)
    asked = limits.asked()
    assert sorted(line[0] for line in asked) == ["history", "max_tokens", "users"]
    assert asked[0][0] == "users"
    assert [line[2] for line in asked] == ["False", "True", "True"]
    assert len({line[4] for line in asked}) == 2
    for earlier, later in itertools.pairwise(asked):
        assert float(earlier[6]) <= float(later[5])
    assert set(limits.document()["targets"][0]["findings"]) == {"users", "history", "max_tokens"}
    assert limits.limits()["max_concurrent_users"] == 11
    result.stdout.fnmatch_lines(["*= llmbench autotune =*", "*11 users*"])
    assert not list((limits.path / "reports/autotune").iterdir())


def test_what_a_killed_worker_had_found_is_in_the_report(limits: LimitsProject) -> None:
    limits.double(
        """\
import os

class ServerDouble(ServerDouble):
    async def max_history(self):
        os.kill(os.getpid(), 9)
"""
    )
    limits.run(*SEARCHED, "-n", "1", "--max-worker-restart=1")
    assert set(limits.document()["targets"][0]["findings"]) == {"users", "max_tokens"}


def test_what_a_killed_worker_had_found_is_told_though_nobody_asks_after_it(limits: LimitsProject) -> None:
    limits.double(
        """\
import os

class ServerDouble(ServerDouble):
    async def max_history(self):
        os.kill(os.getpid(), 9)
"""
    )
    asked = ("-m", "autotune", "-k", "concurrent_users or history", "--llmbench-server", URL)
    result = limits.run(*asked, "-n", "1", "--max-worker-restart=1")
    assert [line[0] for line in limits.asked()] == ["users"]
    assert set(limits.document()["targets"][0]["findings"]) == {"users"}
    result.stdout.fnmatch_lines(["*= llmbench autotune =*", "*11 users*"])
    assert not list((limits.path / "reports/autotune").iterdir())


def test_the_crash_of_a_worker_that_asked_nothing_tells_nothing_of_wrong_settings(limits: LimitsProject) -> None:
    limits.write("configs/llmbench.yaml", "load: {nonsense: 1}")
    limits.write("test_crash.py", "import os\n\ndef test_crash():\n    os.kill(os.getpid(), 9)\n")
    result = limits.run("-m", "not benchmark", "test_crash.py", "-n", "1", "--max-worker-restart=0")
    assert result.ret == 1
    result.stdout.no_fnmatch_line("*nonsense*")


def test_a_fault_in_a_worker_ends_the_session_with_its_message_and_code(limits: LimitsProject) -> None:
    result = limits.run("-m", "autotune", "--llmbench-server", "http://gone/v1", "-n", "2")
    assert result.ret == 3
    result.stdout.fnmatch_lines(["*http://gone/v1: nobody answers; start the server*"])
    result.stdout.no_fnmatch_line("*Traceback*")
    assert not limits.asked()
    assert not list((limits.path / "reports/autotune").iterdir())
