"""How a training goes: its steps as they are logged, the gradients of each LoRA matrix, and when to save or stop."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any

_SAVE_EVERY_S = 300
_SAVE_EVERY_STEPS = 100  # of several processes, whose clocks differ
_GRADIENT_STEPS = 50


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """What was logged at a step, over the answers' tokens since the last one.

    `token_accuracy` is 0 to 1, `loss` and `entropy` are in nats. `tokens` counts all that were seen, prompts too.
    `gradient_norm` is that of all gradients together, before it is clipped to 1.
    """

    step: int
    of: int
    loss: float
    token_accuracy: float
    entropy: float
    tokens: int
    gradient_norm: float | None = None
    learning_rate: float | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Moment:
    """A step as a person watches it. `memory` is what the process or the GPU holds now, in bytes."""

    step: Step
    tokens_per_s: float
    seconds_left: float | None
    memory: int


def steps_of(history: list[Mapping[str, Any]], of: int) -> tuple[Step, ...]:
    """The steps in a trainer's log, those before a resumption included."""
    return tuple(_step(logs, of) for logs in history if "mean_token_accuracy" in logs and "loss" in logs)


def _step(logs: Mapping[str, Any], of: int) -> Step:
    return Step(
        step=int(logs["step"]),
        of=of,
        loss=float(logs["loss"]),
        token_accuracy=float(logs["mean_token_accuracy"]),
        entropy=float(logs["entropy"]),
        tokens=int(logs["num_tokens"]),
        gradient_norm=_number(logs.get("grad_norm")),
        learning_rate=_number(logs.get("learning_rate")),
    )


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


class GradientPeaks:
    """The largest |gradient| of each LoRA matrix over the first steps. A frozen matrix has none."""

    def __init__(self) -> None:
        self._peaks: dict[str, Any] = {}

    def note(self, model: Any, step: int) -> None:
        """Look at the gradients of a step, before the optimizer uses them."""
        import torch

        if step >= _GRADIENT_STEPS:
            return
        for name, parameter in lora_parameters(model):
            if parameter.grad is not None:
                peak = parameter.grad.detach().abs().max().float()
                known = self._peaks.get(name)
                self._peaks[name] = peak if known is None else torch.maximum(known, peak)

    def of(self, model: Any) -> dict[str, float]:
        """The peak of every LoRA matrix of the model; 0 where no gradient came."""
        return {name: float(self._peaks.get(name, 0.0)) for name, _ in lora_parameters(model)}


def lora_parameters(model: Any) -> list[tuple[str, Any]]:
    """The LoRA matrices by their names, frozen ones too."""
    return [(name, parameter) for name, parameter in model.named_parameters() if "lora_" in name]


def course_listener(
    on_moment: Callable[[Moment], None],
    stop: Callable[[], bool],
    peaks: GradientPeaks,
    *,
    save_steps: int | None,
    memory: Callable[[], int],
) -> Any:
    """The trainer's callback. Made late: importing transformers takes seconds."""
    from transformers import TrainerCallback

    class Listener(TrainerCallback):  # type: ignore[misc]
        started = saved = 0.0
        first_step = first_tokens = 0

        def on_train_begin(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
            self.started = self.saved = time.monotonic()
            self.first_step = state.global_step
            self.first_tokens = max((int(logs.get("num_tokens", 0)) for logs in state.log_history), default=0)

        def on_pre_optimizer_step(self, _args: Any, state: Any, _control: Any, model: Any = None, **_: Any) -> None:
            peaks.note(model, state.global_step)

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            now = time.monotonic()
            if args.world_size > 1:
                control.should_save = state.global_step % (save_steps or _SAVE_EVERY_STEPS) == 0
            elif save_steps:
                control.should_save = state.global_step % save_steps == 0
            else:
                control.should_save = now - self.saved >= _SAVE_EVERY_S
            if stop():
                control.should_save = control.should_training_stop = True
            if control.should_save:
                self.saved = now

        def on_log(self, args: Any, state: Any, _control: Any, logs: Any = None, **_: Any) -> None:
            if not args.should_save or not logs or "mean_token_accuracy" not in logs or "loss" not in logs:
                return
            step = _step({**logs, "step": state.global_step}, state.max_steps)
            seconds = time.monotonic() - self.started
            done = state.global_step - self.first_step
            left = seconds / done * (state.max_steps - state.global_step) if done else None
            on_moment(Moment(step, max(0, step.tokens - self.first_tokens) / seconds, left, memory()))

    return Listener()
