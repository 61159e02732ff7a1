"""Supervised fine-tuning of a LoRA adapter: TRL's trainer with the settings that hold on CPUs and GPUs alike."""

from __future__ import annotations

import dataclasses
import gc
import logging
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_llmbench.errors import LLMBenchError, NotReadyError, UsageError
from pytest_llmbench.training.checkpoints import newest_checkpoint, sessions_of, step_of
from pytest_llmbench.training.course import (
    GradientPeaks,
    Moment,
    Step,
    course_listener,
    lora_parameters,
    steps_of,
)
from pytest_llmbench.training.hyperparameters import Hyperparameters
from pytest_llmbench.training.peak_memory import PeakMemory, held
from pytest_llmbench.training.sessions import Session, SessionTally
from pytest_llmbench.training.trainer import trainer_class

__all__ = ["Hyperparameters", "Training", "TrainingStopped", "Watch", "has_bfloat16", "train"]

_LOGGED = 200  # steps of the curve, about
_PADDED_TO = 8  # oneDNN makes ready some 17 MB anew for every width of a batch

logger = logging.getLogger("pytest_llmbench")


class TrainingStopped(LLMBenchError):  # noqa: N818  # it is no error to stop
    """Somebody stopped the training; a checkpoint was written first."""

    exit_code = 130


@dataclasses.dataclass(frozen=True, slots=True)
class Watch:
    """Who looks on. `on_moment` is told of logged steps; the training ends after a step when `stop` says so.

    `prepare` gets the trainer before it starts, and may change it.
    """

    on_moment: Callable[[Moment], None] = lambda _moment: None
    stop: Callable[[], bool] = lambda: False
    prepare: Callable[[Any], None] = lambda _trainer: None


@dataclasses.dataclass(frozen=True, slots=True)
class Training:
    """What a training gave: the model with its adapter, and how it went. `precision` is what was computed in.

    `hyperparameters` are those it went through with. The last of the `sessions` is this one, and of it are `gradients`,
    the largest |gradient| of each LoRA matrix, 0 for a frozen one; `peak_memory`, in bytes, above what was held at the
    start; and `first_batch`, what the model was first given.
    """

    model: Any
    hyperparameters: Hyperparameters
    sessions: tuple[Session, ...]
    train_loss: float
    steps: tuple[Step, ...]
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
    rows: Sequence[Mapping[str, Any]],
    hyperparameters: Hyperparameters,
    *,
    work_folder: Path,
    resume_from: Path | None = None,
    watch: Watch | None = None,
) -> Training:
    """Lay a LoRA over layers of `model` and train it; the loss is on the completions alone.

    `rows` are in TRL's prompt-completion form, none longer than `max_length`; checkpoints go to `work_folder`. The
    longest rows come first: when they do not fit into memory, the batch is halved and twice as many make up a step.
    The model must not have answered anything yet: it would go on without gradients where bitsandbytes has repacked its
    weights. It cannot be used as the plain base afterwards.

    Raises:
        UsageError: the model has no layers of the names in `targets`.
        NotReadyError: not even one row fits into memory, or a checkpoint cannot be written.
        TrainingStopped: `watch.stop` said so.
    """
    _check_targets(model, hyperparameters.targets)
    watch = watch or Watch()
    tally = SessionTally(sessions_of(resume_from) if resume_from else (), len(rows))
    fitting, peaks = hyperparameters, GradientPeaks()
    if model.device.type == "cpu":  # else PyTorch keeps oneDNN's buffers for every width of a batch
        os.environ.setdefault("LRU_CACHE_CAPACITY", "1")
    trainer_class(model.device.type)  # what its import takes is not the training's memory
    with PeakMemory(str(model.device)) as memory:
        while True:
            trainer = _trainer(model, tokenizer, rows, fitting, work_folder, watch, peaks, tally)
            try:
                outcome = trainer.train(resume_from_checkpoint=str(resume_from) if resume_from else None)
                break
            except (MemoryError, RuntimeError) as error:
                if not _is_out_of_memory(error):
                    raise
                fitting = _smaller(fitting, trainer.state.global_step - (step_of(resume_from) if resume_from else 0))
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
            f"--targets: no linear layer is called {', '.join(map(repr, unknown))}; LoRA targets are {', '.join(known)}"
        )


def _trainer(  # what a trainer is made of
    model: Any,
    tokenizer: Any,
    rows: Sequence[Mapping[str, Any]],
    chosen: Hyperparameters,
    work_folder: Path,
    watch: Watch,
    peaks: GradientPeaks,
    tally: SessionTally,
) -> Any:
    from datasets import Dataset
    from peft import PeftModel
    from transformers import PrinterCallback

    device = model.device.type
    listener = course_listener(
        watch.on_moment, watch.stop, peaks, tally, save_steps=chosen.save_steps, memory=lambda: held(device)
    )
    trainer = trainer_class(device)(
        model=model,
        args=_arguments(chosen, device, work_folder, len(rows)),
        train_dataset=Dataset.from_list([{key: row[key] for key in ("prompt", "completion")} for row in rows]),
        processing_class=tokenizer,
        peft_config=None if isinstance(model, PeftModel) else _lora(chosen),
        callbacks=[listener],
    )
    trainer.remove_callback(PrinterCallback)
    for parameter in trainer.model.parameters():
        if parameter.requires_grad:  # TRL trains over a quantized base in bfloat16, which rounds small steps away
            parameter.data = parameter.data.float()
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
            "--batch-size, --gradient-checkpointing, a shorter --max-length or a smaller model"
        )
    half = chosen.with_half_batch()
    logger.warning(
        "%d rows at once do not fit into memory; going on with %d and gradient accumulation %d",
        chosen.batch_size,
        half.batch_size,
        half.gradient_accumulation,
    )
    return half


def _is_out_of_memory(error: Exception) -> bool:
    import torch

    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "allocate memory" in str(error)


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
    sessions: tuple[Session, ...],
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
        trainable_parameters=trainable,
        parameters=total,
        precision="bfloat16" if trainer.args.bf16 else "float32",
        gradients=peaks.of(trainer.model),
        peak_memory=memory,
        first_batch=trainer.first_batch or {},
    )


def _mean_loss(steps: Sequence[Step]) -> float:
    """Over all steps: what was logged is the mean since the log before, and these are not equally far apart."""
    widths = [step.step - before for step, before in zip(steps, (0, *(step.step for step in steps)), strict=False)]
    return sum(step.loss * width for step, width in zip(steps, widths, strict=True)) / sum(widths)


def _arguments(chosen: Hyperparameters, device: str, work_folder: Path, rows: int) -> Any:
    from trl import SFTConfig

    steps = chosen.steps or math.ceil(rows * chosen.epochs / (chosen.batch_size * chosen.gradient_accumulation))
    return SFTConfig(
        output_dir=str(work_folder),
        num_train_epochs=chosen.epochs,
        max_steps=chosen.steps or -1,
        per_device_train_batch_size=chosen.batch_size,
        gradient_accumulation_steps=chosen.gradient_accumulation,
        learning_rate=chosen.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=chosen.warmup_share,
        max_length=chosen.max_length,
        pad_to_multiple_of=_PADDED_TO if device == "cpu" else None,
        completion_only_loss=True,
        seed=chosen.seed,
        use_cpu=device == "cpu",
        bf16=has_bfloat16(device),
        gradient_checkpointing=chosen.gradient_checkpointing,
        logging_steps=max(1, steps // _LOGGED),
        save_strategy="no",  # the listener says when
        save_total_limit=2,
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=device == "cuda",
        ddp_find_unused_parameters=False,
    )


def has_bfloat16(device: str) -> bool:
    """Whether computing in bfloat16 is faster than in float32; on CPUs without the instructions it is slower."""
    import torch

    if device == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported())  # noqa: SLF001  # its public form came with PyTorch 2.10
    return bool(torch.cuda.is_bf16_supported())


def _lora(chosen: Hyperparameters) -> Any:
    from peft import LoraConfig

    targets = chosen.targets
    return LoraConfig(
        task_type="CAUSAL_LM",
        target_modules=targets if isinstance(targets, str) else list(targets),
        r=chosen.rank,
        lora_alpha=chosen.alpha,
        lora_dropout=chosen.dropout,
    )
