"""The calibrated model keeps its own promises, since other tests take it for the truth."""

from __future__ import annotations

import statistics

import pytest
from support.calibrated_engine import Calibration, Engine
from support.calibrated_truth import Simulation, good_share

from pytest_llmbench.load.users import Habits

ONE = Calibration(slots=1, prefill_tokens_per_s=1000, decode_tokens_per_s=100, full_speed=1)


def test_alone_an_answer_takes_its_prefill_and_its_tokens() -> None:
    [*latencies] = Simulation(ONE, 1, Habits(messages=1)).latencies(3)
    assert latencies == pytest.approx([2 / 1000 + 8 / 100] * 3)


@pytest.mark.parametrize(("full_speed", "slots", "last_s"), [(4, 4, 0.08), (1, 4, 0.32), (4, 1, 0.32), (2, 4, 0.16)])
def test_slots_and_speed_are_shared(full_speed: int, slots: int, last_s: float) -> None:
    model = Calibration(slots, prefill_tokens_per_s=10**9, decode_tokens_per_s=100, full_speed=full_speed)
    latencies = Simulation(model, 4, Habits("burst", messages=1)).latencies(4)
    assert latencies[-1] == pytest.approx(last_s, rel=1e-3)


def test_noise_changes_each_answer_and_not_their_mean() -> None:
    quiet, noisy = (
        Simulation(Calibration(noise=noise), 1, Habits(messages=1), answer_tokens=100).latencies(400)
        for noise in (0.0, 0.3)
    )
    assert statistics.mean(noisy) == pytest.approx(statistics.mean(quiet), rel=0.06)
    assert 0.24 < statistics.stdev(noisy) / statistics.mean(noisy) < 0.36
    assert statistics.stdev(quiet) < 1e-9


def test_stalls_come_as_often_and_last_as_long_as_told() -> None:
    model = Calibration(stall_share=0.25, stall_s=2.0)
    latencies = Simulation(model, 1, Habits(messages=1)).latencies(400)
    stalled = [latency for latency in latencies if latency > 1]
    assert 0.18 < len(stalled) / 400 < 0.32
    assert statistics.mean(stalled) == pytest.approx(2.081, abs=0.02)


@pytest.mark.parametrize("cached", [True, False])
def test_what_was_read_before_costs_nothing_again(*, cached: bool) -> None:
    engine = Engine(Calibration(slots=1, prefill_tokens_per_s=1000, prefix_cache=cached))
    first = engine.submit(["system prompt", "one"], 1)
    assert engine.step()[0] == pytest.approx(0.003)
    engine.abort(first)
    again = engine.submit(["system prompt", "one"], 1)
    assert engine.step()[1] == ([(again, 1)] if cached else [])


def test_the_share_of_good_answers_falls_with_the_users_and_a_burst_holds_fewer() -> None:
    def share(level: int, arrivals: str) -> float:
        habits = Habits(arrivals, cooldown_s=1.0)  # type: ignore[arg-type]
        return good_share(Simulation(ONE, level, habits), limit_s=0.3)

    assert [round(share(level, "staggered"), 1) for level in (1, 30)] == [1.0, 0.0]
    assert share(6, "staggered") > share(6, "burst") + 0.05
