from __future__ import annotations

import dataclasses

import pytest

from pytest_llmbench.autotune.trials import observation
from pytest_llmbench.load.client import Call
from pytest_llmbench.load.reasons import Reason
from pytest_llmbench.load.records import SLO, Trial, Verdict
from pytest_llmbench.load.search_journal import InvalidTrial
from pytest_llmbench.stats.observation import Observation


def trial(verdict: Verdict) -> Trial:
    """Two users, three answers, the last one late."""
    requests = []
    for user, latency_s in ((0, 0.1), (1, 0.2), (1, 9.0)):
        call = Call(user, 0)
        call.end("stop", at=call.started + latency_s)
        requests.append(call.record(call.started, 0.0))
    return Trial(
        2.0, tuple(requests), verdict, Reason("process_died", {"process": 1, "processes": 2}), 1.0, 0.0, 0.0, sent=7
    )


def test_a_trial_is_its_good_answers_by_user() -> None:
    assert observation(trial("undecided"), SLO()) == Observation(2, 2, 3, ((1, 1), (1, 2)), 7)


def test_under_a_strict_promise_a_trial_is_one_answer() -> None:
    assert observation(trial("broken"), SLO(1.0)) == Observation(2, 0, 1, (), 7)
    assert observation(trial("held"), SLO(1.0)) == Observation(2, 1, 1, (), 7)


@pytest.mark.parametrize(
    ("made", "slo"),
    [
        (trial("invalid"), SLO()),
        (trial("undecided"), SLO(1.0)),
        (dataclasses.replace(trial("undecided"), requests=()), SLO()),
    ],
)
def test_a_trial_that_proves_nothing_is_no_observation(made: Trial, slo: SLO) -> None:
    assert observation(made, slo) == InvalidTrial(
        2, "process 1 of 2 of the load generator died", 7, code="process_died"
    )
