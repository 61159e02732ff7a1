from __future__ import annotations

import pytest

from pytest_llmbench.autotune.progress_events import Look, Onlooker
from pytest_llmbench.autotune.questions import history, users
from pytest_llmbench.core.settings import Settings
from pytest_llmbench.load.search import SearchProgress
from pytest_llmbench.stats.capacity import Capacity
from pytest_llmbench.stats.observation import Observation


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr("pytest_llmbench.autotune.progress_events.time.monotonic", lambda: now[0])
    return now


def test_looks_come_five_times_a_second_at_most_and_at_the_end(clock: list[float]) -> None:
    told: list[Look] = []
    onlooker = Onlooker(history(Settings(), 3), "qwen", told.append, 40)
    onlooker.begin(4.0)
    for judged in range(1, 101):
        clock[0] += 0.01
        onlooker.answered(judged // 2 if judged < 50 else judged, judged)
    detail = {"verdict": "held", "good": 99, "total": 100}
    trial = Observation(3, 99, 100, (), 120, detail)
    onlooker.judged(SearchProgress(trial, Capacity(3, 2, 5, (), 0.0), 160, 1840))
    assert [look.verdict for look in told] == [
        "begins",
        "broken so far, 0 of 1",
        "broken so far, 10 of 21",
        "broken so far, 20 of 41",
        "held so far, 61 of 61",
        "held so far, 81 of 81",
        "held, 99 of 100",
    ]
    assert told[1] == Look("history", "qwen", 4.0, "messages", "broken so far, 0 of 1", "", 41, 1959, kept=True)
    assert told[-1].estimate == "4 messages (2 to 8)"
    assert (told[-1].sent, told[-1].left) == (160, 1840)


def test_an_estimate_above_which_nothing_was_tried_is_a_lower_one() -> None:
    told: list[Look] = []
    trial = Observation(1, 30, 30, (), 30, {"verdict": "held", "good": 30, "total": 30})
    found = Capacity(1, 0, 1, (), 0.0, more=True, unbounded=True)
    Onlooker(users(Settings()), "qwen", told.append, 0).judged(SearchProgress(trial, found, 30, 500))
    assert told[-1].estimate == "at least 1 user (95 % interval from 0)"
