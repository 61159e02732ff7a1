"""Supervised fine-tuning of a LoRA adapter: TRL's trainer with the settings that hold on CPUs and GPUs alike."""

from __future__ import annotations

import dataclasses
import gc
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmbench.core.errors import LLMBenchError, NotReadyError, UsageError
from pytest_llmbench.finetune.checkpoints import (
    SessionTally,
    TrainingSession,
    fitted_before,
    keep_fitted,
    newest_checkpoint,
    sessions_of,
    step_of,
)
from pytest_llmbench.finetune.memory import PeakMemory, held
from pytest_llmbench.finetune.request import Hyperparameters
from pytest_llmbench.finetune.trainer import new_trainer, trainer_class
from pytest_llmbench.finetune.training_log import (
    GradientPeaks,
    Moment,
    TrainingStep,
    Validation,
    course_listener,
    is_unmeasured,
    lora_parameters,
    steps_of,
    validations_of,
)
from pytest_llmbench.models.loading_errors import is_out_of_memory

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["Hyperparameters", "Training", "TrainingStopped", "Watch", "train"]

_FEW_BUFFERS = {"LRU_CACHE_CAPACITY": "1", "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64"}
"""Else PyTorch and oneDNN keep what they made ready for every width of a batch, some 10 MB each."""

_log = logging.getLogger("pytest_llmbench")


class TrainingStopped(LLMBenchError):  # noqa: N818  # it is no error to stop
    """Somebody stopped the training; a checkpoint was written first."""

    exit_code = 130


@dataclasses.dataclass(frozen=True, slots=True)
class Watch:
    """Who looks on. `on_moment` is told of logged steps, `on_validation` of each look at rows that are not learnt.

    The training ends after a step when `stop` says so. `prepare` gets the trainer before it starts, and may change it.
    `on_reading` is told, while a dataset is gone through, what is done with it and how many of its bytes are.
    """

    on_reading: Callable[[str, int, int | None], None] = lambda _what, _done, _of: None
    on_moment: Callable[[Moment], None] = lambda _moment: None
    on_validation: Callable[[Validation], None] = lambda _validation: None
    stop: Callable[[], bool] = lambda: False
    prepare: Callable[[Any], None] = lambda _trainer: None


@dataclasses.dataclass(frozen=True, slots=True)
class Training:
    """What a training gave: the model with its adapter, and how it went. `precision` is what was computed in.

    `hyperparameters` are those it went through with. The last of the `sessions` is this one, and of it are `gradients`,
    the largest |gradient| of each LoRA matrix, 0 for a frozen one, and nothing where no step was left; `peak_memory`,
    in bytes, above what was held at the start; and `first_batch`, what the model was first given.
    """

    model: Any
    hyperparameters: Hyperparameters
    sessions: tuple[TrainingSession, ...]
    train_loss: float
    steps: tuple[TrainingStep, ...]
    validations: tuple[Validation, ...]
    trainable_parameters: int
    parameters: int
    precision: str
    gradients: Mapping[str, float]
    peak_memory: int
    first_batch: Mapping[str, Any]

    @property
    def seconds(self) -> float:
        """Of all sessions."""
        return sum(session.seconds for session in self.sessions)

    @property
    def samples(self) -> int:
        """Rows that were seen in all sessions."""
        return sum(session.samples for session in self.sessions)

    @property
    def resumed_at(self) -> int:
        """The step that this session began at."""
        return self.sessions[-1].from_step


def train(
    model: Any,
    tokenizer: Any,
    examples: Dataset,
    hyperparameters: Hyperparameters,
    *,
    validation: Dataset | None = None,
    work_folder: Path,
    resume_from: Path | None = None,
    watch: Watch | None = None,
) -> Training:
    """Lay a LoRA over layers of `model` and train it; the loss is on the labelled tokens alone.

    `examples` are those of `finetune.tokenized`; the loss on those of `validation` is measured before the training and
    after each pass. Checkpoints go to `work_folder`. The longest rows come first: when they do not fit into memory, the
    batch is halved and twice as many make up a step. The model must not have answered anything yet: it would go on
    without gradients where bitsandbytes has repacked its weights. It cannot be used as the plain base afterwards.

    Raises:
        UsageError: the model has no layers of the names in `targets`, or PEFT takes one for fused experts;
            or the checkpoint has a LoRA over other layers.
        NotReadyError: not even one row fits into memory, or a checkpoint cannot be written.
        TrainingStopped: `watch.stop` said so.
        DestroyedTraining: the loss or the weights are no numbers any more.
    """
    _check_targets(model, hyperparameters.targets)
    watch = watch or Watch()
    tally = SessionTally(sessions_of(resume_from) if resume_from else (), len(examples))
    before = fitted_before(work_folder) if resume_from else {}
    fitting, peaks = hyperparameters.with_batch(before), GradientPeaks()
    if model.device.type == "cpu":
        for name, value in _FEW_BUFFERS.items():
            os.environ.setdefault(name, value)
    trainer_class(model.device.type)  # what its import takes is not the training's memory
    with PeakMemory(str(model.device)) as memory:
        while True:
            trainer = _trainer(model, tokenizer, (examples, validation), fitting, work_folder, watch, peaks, tally)
            if resume_from:
                _check_matrices(trainer.model, resume_from)
            trainer.args.eval_on_start = validation is not None and (resume_from is None or is_unmeasured(resume_from))
            try:
                outcome = trainer.train(resume_from_checkpoint=str(resume_from) if resume_from else None)
                break
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                fitting = _smaller(fitting, trainer.state.global_step - (step_of(resume_from) if resume_from else 0))
                if trainer.args.should_save:
                    kept = {"batch_size": fitting.batch_size, "gradient_accumulation": fitting.gradient_accumulation}
                    keep_fitted(work_folder, kept)
            model = trainer.model
            model.zero_grad(set_to_none=True)
            del trainer
            _free(model)
    if watch.stop() and trainer.state.global_step < trainer.state.max_steps:
        raise _stopped(trainer)
    return _training(trainer, outcome, fitting, peaks, tally.sessions(trainer.state), memory.bytes)


def _check_targets(model: Any, targets: str | tuple[str, ...]) -> None:
    """See that each name is that of a layer: PEFT passes over those that are not, if only one is."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    if isinstance(targets, str):
        return
    layers = [name for name, module in model.named_modules() if isinstance(module, (nn.Linear, nn.Embedding, Conv1D))]
    unknown = [target for target in targets if not any(f".{name}".endswith(f".{target}") for name in layers)]
    if unknown:
        known = sorted({name.rpartition(".")[2] for name in layers})
        raise UsageError(
            f"targets: no linear layer is called {', '.join(map(repr, unknown))}; LoRA targets are {', '.join(known)}",
            names=("targets",),
        )


def _check_matrices(model: Any, checkpoint: Path) -> None:
    """See that a checkpoint has the LoRA of this training: the optimizer's state is of its matrices by their order."""
    from peft import get_peft_model_state_dict
    from peft.utils import SAFETENSORS_WEIGHTS_NAME
    from safetensors import safe_open

    with safe_open(checkpoint / SAFETENSORS_WEIGHTS_NAME, framework="pt") as weights:
        before = {name for name in weights.keys() if "lora_" in name}  # noqa: SIM118  # it is no mapping
    own = {name for name in get_peft_model_state_dict(model, save_embedding_layers=False) if "lora_" in name}
    if others := sorted(before ^ own):
        raise UsageError(
            f"{checkpoint} has a LoRA over other layers than this training ({others[0]}, …), as of a build that took "
            "all-linear otherwise; overwrite it, to start anew",
            names=("overwrite",),
        )


def _trainer(  # what a trainer is made of
    model: Any,
    tokenizer: Any,
    datasets: tuple[Dataset, Dataset | None],
    chosen: Hyperparameters,
    work_folder: Path,
    watch: Watch,
    peaks: GradientPeaks,
    tally: SessionTally,
) -> Any:
    device = model.device.type
    listener = course_listener(
        watch.on_moment,
        watch.on_validation,
        watch.stop,
        peaks,
        tally,
        save_steps=chosen.save_steps,
        validates=datasets[1] is not None,
        memory=lambda: held(device),
    )
    trainer = new_trainer(model, tokenizer, *datasets, chosen, work_folder, listener)
    watch.prepare(trainer)
    if not any(parameter.requires_grad for _, parameter in lora_parameters(trainer.model)):
        raise NotReadyError("every LoRA matrix is frozen: there is nothing to train")
    return trainer


def _smaller(chosen: Hyperparameters, steps_done: int) -> Hyperparameters:
    """Half the batch after too little memory at the first step, which has the longest rows."""
    if chosen.batch_size == 1 or steps_done:
        when = f"after {steps_done} steps" if steps_done else "with one row at once"
        raise NotReadyError(
            f"out of memory {when}, at {chosen.batch_size} rows of up to {chosen.max_length} tokens; choose a smaller "
            "batch, gradient checkpointing, shorter rows or a smaller model",
            names=("batch_size", "gradient_checkpointing", "max_length"),
        )
    half = chosen.with_half_batch()
    _log.warning(
        "%d rows at once do not fit into memory; going on with %d and gradient accumulation %d",
        chosen.batch_size,
        half.batch_size,
        half.gradient_accumulation,
    )
    return half


def _free(model: Any) -> None:
    import torch

    gc.collect()
    if model.device.type == "cuda":
        torch.cuda.empty_cache()


def _stopped(trainer: Any) -> TrainingStopped:
    newest = newest_checkpoint(Path(trainer.args.output_dir))
    where = f"; {newest} is the checkpoint to go on from" if newest else ""
    return TrainingStopped(f"stopped at step {trainer.state.global_step} of {trainer.state.max_steps}{where}")


def _training(
    trainer: Any,
    outcome: Any,
    fitting: Hyperparameters,
    peaks: GradientPeaks,
    sessions: tuple[TrainingSession, ...],
    memory: int,
) -> Training:
    trainable, total = trainer.model.get_nb_trainable_parameters()
    steps = steps_of(trainer.state.log_history, trainer.state.max_steps)
    return Training(
        model=trainer.model,
        hyperparameters=fitting,
        sessions=sessions,
        train_loss=_mean_loss(steps) if steps else outcome.training_loss,
        steps=steps,
        validations=validations_of(trainer.state.log_history),
        trainable_parameters=trainable,
        parameters=total,
        precision="bfloat16" if trainer.args.bf16 else "float32",
        gradients=peaks.of(trainer.model) if trainer.first_batch else {},
        peak_memory=memory,
        first_batch=trainer.first_batch or {},
    )


def _mean_loss(steps: Sequence[TrainingStep]) -> float:
    """Over all steps: what was logged is the mean since the log before, and these are not equally far apart."""
    widths = [step.step - before for step, before in zip(steps, (0, *(step.step for step in steps)), strict=False)]
    return sum(step.loss * width for step, width in zip(steps, widths, strict=True)) / sum(widths)
