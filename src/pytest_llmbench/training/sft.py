"""Supervised fine-tuning of a LoRA adapter: TRL's trainer with the settings that hold on CPUs and GPUs alike."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_llmbench.errors import UsageError
from pytest_llmbench.training.answer_loss import answer_trainer


@dataclasses.dataclass(frozen=True, slots=True)
class Hyperparameters:
    """How an adapter is trained. `max_length` counts the tokens of prompt and completion together."""

    epochs: float = 3.0
    rank: int = 8
    alpha: int = 16
    dropout: float = 0.0
    learning_rate: float = 1e-3
    warmup_share: float = 0.05
    batch_size: int = 16
    max_length: int = 256
    seed: int = 42


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """What was logged at a step, over the answers' tokens since the last one.

    `token_accuracy` is 0 to 1, `loss` and `entropy` are in nats. `tokens` counts all that were seen, prompts too.
    """

    step: int
    of: int
    loss: float
    token_accuracy: float
    entropy: float
    tokens: int


@dataclasses.dataclass(frozen=True, slots=True)
class Training:
    """What a training gave: the model with its adapter, and how it went. `precision` is what was computed in."""

    model: Any
    seconds: float
    train_loss: float
    steps: tuple[Step, ...]
    trainable_parameters: int
    parameters: int
    precision: str


def train(
    model: Any,
    tokenizer: Any,
    rows: Sequence[Mapping[str, Any]],
    hyperparameters: Hyperparameters,
    *,
    work_folder: Path,
    on_step: Callable[[Step], None],
) -> Training:
    """Lay a LoRA over all linear layers of `model` and train it; the loss is on the completions alone.

    `rows` are in TRL's prompt-completion form. The model must not have answered anything yet: it would go on without
    gradients where bitsandbytes has repacked its weights. It cannot be used as the plain base afterwards.

    Raises:
        UsageError: a row is longer than `max_length`; it would be cut before its answer ends.
    """
    from datasets import Dataset
    from transformers import PrinterCallback
    from trl import SFTTrainer

    _check_lengths(tokenizer, rows, hyperparameters.max_length)
    steps: list[Step] = []

    def note(step: Step) -> None:
        steps.append(step)
        on_step(step)

    trainer_class = answer_trainer() if model.device.type == "cpu" else SFTTrainer
    trainer = trainer_class(
        model=model,
        args=_arguments(hyperparameters, model.device.type, work_folder),
        train_dataset=Dataset.from_list([{key: row[key] for key in ("prompt", "completion")} for row in rows]),
        processing_class=tokenizer,
        peft_config=_lora(hyperparameters),
        callbacks=[_listener(note)],
    )
    trainer.remove_callback(PrinterCallback)
    for parameter in trainer.model.parameters():
        if parameter.requires_grad:  # TRL trains over a quantized base in bfloat16, which rounds small steps away
            parameter.data = parameter.data.float()
    outcome = trainer.train()
    trainable, total = trainer.model.get_nb_trainable_parameters()
    return Training(
        model=trainer.model,
        seconds=outcome.metrics["train_runtime"],
        train_loss=outcome.training_loss,
        steps=tuple(steps),
        trainable_parameters=trainable,
        parameters=total,
        precision="bfloat16" if trainer.args.bf16 else "float32",
    )


def _check_lengths(tokenizer: Any, rows: Sequence[Mapping[str, Any]], limit: int) -> None:
    for number, row in enumerate(rows, start=1):
        tokens = tokenizer.apply_chat_template([*row["prompt"], *row["completion"]], return_dict=True)["input_ids"]
        if len(tokens) > limit:
            raise UsageError(f"row {number} has {len(tokens)} tokens, more than max_length {limit}; raise --max-length")


def _arguments(hyperparameters: Hyperparameters, device: str, work_folder: Path) -> Any:
    from trl import SFTConfig

    return SFTConfig(
        output_dir=str(work_folder),
        num_train_epochs=hyperparameters.epochs,
        per_device_train_batch_size=hyperparameters.batch_size,
        learning_rate=hyperparameters.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=hyperparameters.warmup_share,
        max_length=hyperparameters.max_length,
        completion_only_loss=True,
        seed=hyperparameters.seed,
        use_cpu=device == "cpu",
        bf16=_has_bfloat16(device),
        gradient_checkpointing=False,
        train_sampling_strategy="group_by_length",
        logging_steps=5,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=device == "cuda",
    )


def _has_bfloat16(device: str) -> bool:
    """Whether computing in bfloat16 is faster than in float32; on CPUs without the instructions it is slower."""
    import torch

    if device == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported())  # noqa: SLF001  # its public form came with PyTorch 2.10
    return bool(torch.cuda.is_bf16_supported())


def _lora(hyperparameters: Hyperparameters) -> Any:
    from peft import LoraConfig

    return LoraConfig(
        task_type="CAUSAL_LM",
        target_modules="all-linear",
        r=hyperparameters.rank,
        lora_alpha=hyperparameters.alpha,
        lora_dropout=hyperparameters.dropout,
    )


def _listener(note: Callable[[Step], None]) -> Any:
    from transformers import TrainerCallback

    class Listener(TrainerCallback):  # type: ignore[misc]
        def on_log(self, _args: Any, state: Any, _control: Any, logs: Any = None, **_: Any) -> None:
            if logs and "mean_token_accuracy" in logs and "loss" in logs:
                note(
                    Step(
                        step=state.global_step,
                        of=state.max_steps,
                        loss=logs["loss"],
                        token_accuracy=logs["mean_token_accuracy"],
                        entropy=logs["entropy"],
                        tokens=int(logs["num_tokens"]),
                    )
                )

    return Listener()
