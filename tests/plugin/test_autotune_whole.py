"""The four questions asked of a server that answers at once: everything real but the size."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.fake_chat_server import FakeChatServer, well
from support.limits_project import LimitsProject

ANY_CLIENT = """\
import functools
import pytest_llmbench.autotune.server as autotune
from pytest_llmbench.load.trial import TrialLimits

real = autotune.ServerUnderTest
limits = TrialLimits(warm_up_s=0.05, max_loop_lag_s=9.0, max_client_cpu=9.0)  # where tests run is seldom free

def pytest_configure():
    autotune.ServerUnderTest = functools.partial(real, limits=limits)

def pytest_unconfigure():
    autotune.ServerUnderTest = real
"""
SMALL = {"max_users": 2, "max_history": 2, "max_tokens": 32, "latency": 2.0, "cooldown": 0.02, "budget": 40}


@pytest.fixture
def server() -> Iterator[FakeChatServer]:
    serving = FakeChatServer(well())
    yield serving
    serving.close()


def test_all_four_questions_end_in_reports_and_limits(limits: LimitsProject, server: FakeChatServer) -> None:
    limits.write("conftest.py", ANY_CLIENT)
    limits.settings(**SMALL, temperatures=[0.0, 0.7], processes=1, scrape=False)
    result = limits.run("-m", "autotune", "--llmbench-server", server.url)
    result.assert_outcomes(passed=4)
    (target,) = limits.document()["targets"]
    users = target["findings"]["users"]
    assert (users["value"], users["capped"], target["model_name"]) == (2, True, "smol")
    assert {name: finding["users_held"] for name, finding in target["findings"].items()} == {
        "users": None,
        "history": 2,
        "max_tokens": 2,
    }
    assert [point["temperature"] for point in target["temperature"]["points"]] == [0.0, 0.7]
    assert limits.limits()["max_concurrent_users"] == 2
    assert users["sent"] <= SMALL["budget"]
    assert {body["model"] for body in server.bodies} == {"smol"}
