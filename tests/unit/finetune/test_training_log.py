"""What a training tells of itself while it goes."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_llmbench.finetune.checkpoints import SessionTally
from pytest_llmbench.finetune.training_log import GradientPeaks, Moment, Validation, course_listener


def test_rate_and_remaining_time_leave_out_validation_and_the_last_step_is_logged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    moments: list[Moment] = []
    validations: list[Validation] = []
    listener = course_listener(
        moments.append,
        validations.append,
        lambda: False,
        GradientPeaks(),
        SessionTally((), 8),
        save_steps=None,
        validates=True,
        memory=lambda: 0,
    )
    args: Any = SimpleNamespace(should_save=True, world_size=1)
    state: Any = SimpleNamespace(global_step=0, max_steps=11, log_history=[])
    listener.on_train_begin(args, state, None)
    for _ in range(2):
        now[0] += 60  # before the first step and after each pass
        looked = {"step": state.global_step, "eval_loss": 2.0, "eval_mean_token_accuracy": 0.5}
        state.log_history.append(looked)
        listener.on_evaluate(args, state, None, metrics={"eval_runtime": 60})
        now[0] += 2
        state.global_step += 1
        logs = {"step": state.global_step, "loss": 1, "mean_token_accuracy": 0, "entropy": 1, "num_tokens": 50}
        state.log_history.append(logs)
        listener.on_log(args, state, None, logs=logs)
    assert [moment.seconds_left for moment in moments] == [20, 18]
    assert [moment.tokens_per_s for moment in moments] == [25, 12.5]
    assert validations == [Validation(0, 2.0, 0.5), Validation(1, 2.0, 0.5)]
    for state.global_step, state.epoch in ((10, 0.9), (11, 0.99)):
        control: Any = SimpleNamespace(should_log=False, should_training_stop=False)
        listener.on_step_end(args, state, control)
        assert (control.should_log, control.should_evaluate) == (state.global_step == state.max_steps,) * 2
