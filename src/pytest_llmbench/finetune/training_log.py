"""How a training goes: its steps as they are logged, the gradients of each LoRA matrix, and when to save or stop."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.finetune.checkpoints import SessionTally, note_sessions

_SAVE_EVERY_S = 300
_SAVE_EVERY_STEPS = 100  # of several processes, whose clocks differ
_GRADIENT_STEPS = 50


class DestroyedTraining(UsageError):  # noqa: N818  # as TrainingStopped
    """The loss or the weights are no numbers any more: nothing that is learnt from there on can be used."""


@dataclasses.dataclass(frozen=True, slots=True)
class TrainingStep:
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
class Validation:
    """The loss, in nats, and the token accuracy on the answers of rows that are not learnt, after so many steps."""

    step: int
    loss: float
    token_accuracy: float


@dataclasses.dataclass(frozen=True, slots=True)
class Moment:
    """A step as a person watches it. `memory` is what the process or the GPU holds now, in bytes."""

    step: TrainingStep
    tokens_per_s: float
    seconds_left: float | None
    memory: int


def steps_of(history: list[Mapping[str, Any]], of: int) -> tuple[TrainingStep, ...]:
    """The steps in a trainer's log, those before a resumption included."""
    return tuple(_step(logs, of) for logs in history if "mean_token_accuracy" in logs and "loss" in logs)


def validations_of(history: list[Mapping[str, Any]]) -> tuple[Validation, ...]:
    """What was measured on rows that are not learnt, those before a resumption included."""
    return tuple(
        Validation(int(logs["step"]), float(logs["eval_loss"]), float(logs["eval_mean_token_accuracy"]))
        for logs in history
        if "eval_loss" in logs
    )


def is_unmeasured(checkpoint: Path) -> bool:
    """Whether a checkpoint ends a pass whose validation was skipped, by somebody who stopped the training then."""
    state = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    measured = [validation.step for validation in validations_of(state["log_history"])]
    return float(state["epoch"]).is_integer() and state["global_step"] not in measured


def _step(logs: Mapping[str, Any], of: int) -> TrainingStep:
    return TrainingStep(
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


def _refuse_destroyed(what: str, measured: TrainingStep | Validation, state: Any, args: Any) -> None:
    """Raises DestroyedTraining where a loss is no number, which it stays: so is every weight after such a step."""
    if math.isfinite(measured.loss):
        return
    told = f"{what} is {measured.loss} at step {measured.step} of {state.max_steps}"
    if measured.step == 0 or (measured.step == 1 and isinstance(measured, TrainingStep)):  # nothing was learnt before
        reason = "the base itself gives no number on these rows, so its weights or its precision are wrong"
        raise DestroyedTraining(f"{told}: {reason}; no adapter was written")
    raise _too_high(told, args)


def _too_high(what: str, args: Any) -> DestroyedTraining:
    told = f"{what}: the learning rate of {args.learning_rate:g} is too high; no adapter was written"
    return DestroyedTraining(told, names=("learning_rate",))


def course_listener(  # noqa: C901  # the methods of one class
    on_moment: Callable[[Moment], None],
    on_validation: Callable[[Validation], None],
    stop: Callable[[], bool],
    peaks: GradientPeaks,
    tally: SessionTally,
    *,
    save_steps: int | None,
    validates: bool,
    memory: Callable[[], int],
) -> Any:
    """The trainer's callback, which also says when to save and to validate: before a save, so that it is not lost.

    It ends a training whose loss is no number, or whose weights are none at its end, with DestroyedTraining.
    Made late: importing transformers takes seconds.
    """
    import torch
    from transformers import TrainerCallback

    class Listener(TrainerCallback):  # type: ignore[misc]
        saved = 0.0

        def on_train_begin(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
            self.saved = time.monotonic()
            tally.begin(state.global_step)

        def on_pre_optimizer_step(self, _args: Any, state: Any, _control: Any, model: Any = None, **_: Any) -> None:
            peaks.note(model, state.global_step - tally.first_step)

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            control.should_training_stop = control.should_training_stop or stop()
            every = save_steps or (_SAVE_EVERY_STEPS if args.world_size > 1 else None)
            due = state.global_step % every == 0 if every else time.monotonic() - self.saved >= _SAVE_EVERY_S
            if due or stop():
                self.saved = time.monotonic()
                control.should_save = control.should_log = True  # the checkpoint then knows all tokens until it
            ended = state.global_step >= state.max_steps
            control.should_log = control.should_log or ended  # a long training logs every few steps alone
            whole_pass = float(state.epoch).is_integer() and not stop()  # who stops it does not want to wait
            control.should_evaluate = validates and (whole_pass or ended)

        def on_evaluate(self, args: Any, state: Any, _control: Any, metrics: Any = None, **_: Any) -> None:
            tally.leave_out(metrics["eval_runtime"])
            measured = validations_of(state.log_history)[-1]
            if args.should_save:
                on_validation(measured)
            _refuse_destroyed("the loss on the validation rows", measured, state, args)

        def on_save(self, args: Any, state: Any, _control: Any, **_: Any) -> None:
            if args.should_save:
                note_sessions(Path(args.output_dir) / f"checkpoint-{state.global_step}", tally.sessions(state))

        def on_log(self, args: Any, state: Any, _control: Any, logs: Any = None, **_: Any) -> None:
            if not logs or "mean_token_accuracy" not in logs or "loss" not in logs:
                return
            tally.tokens = int(logs["num_tokens"])  # the trainer counts anew in each session
            state.log_history[-1]["num_tokens"] = tally.earlier_tokens + tally.tokens
            step = _step(state.log_history[-1], state.max_steps)
            if args.should_save:
                done = state.global_step - tally.first_step
                left = tally.seconds / done * (state.max_steps - state.global_step) if done else None
                on_moment(Moment(step, tally.tokens / tally.seconds, left, memory()))
            _refuse_destroyed("the loss", step, state, args)

        def on_train_end(self, args: Any, state: Any, _control: Any, model: Any = None, **_: Any) -> None:
            broken = [name for name, weights in lora_parameters(model) if not torch.isfinite(weights).all()]
            if broken:  # the last step's gradients were no numbers, and no loss came after it
                raise _too_high(f"{broken[0]} holds no numbers after step {state.global_step}", args)

    return Listener()
