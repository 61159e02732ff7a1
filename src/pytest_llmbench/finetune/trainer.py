"""TRL's trainer with rows in an order that can be resumed, checkpoints that are whole, and its first batch kept."""

from __future__ import annotations

import contextlib
import functools
import logging
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmbench.core import machine
from pytest_llmbench.core.errors import UsageError, naming
from pytest_llmbench.finetune.checkpoints import whole_checkpoint
from pytest_llmbench.finetune.processes import process_count
from pytest_llmbench.finetune.request import Hyperparameters
from pytest_llmbench.finetune.tokenized import IGNORED

if TYPE_CHECKING:
    from datasets import Dataset
    from torch import Tensor

    from pytest_llmbench.models.memory.estimate import Dtype

_log = logging.getLogger("pytest_llmbench")

_LOGGED = 200  # steps of the curve, about
_PADDED_TO = 8  # oneDNN makes ready some 17 MB anew for every width of a batch
_ROWS_AT_ONCE = 10_000
_KEPT = ("input_ids", "labels", "attention_mask")
_REPACKS = "support_avx512bf16_for_cpu"


class LongestFirst:
    """Row numbers in a random order, but the longest rows in the first step, so that too little memory shows at once.

    Rows of near length are not kept together: with few templates they are rows of one kind, and the last kind of a pass
    is then the answer to everything. The order depends on seed and epoch alone: a resumed training sees the rows that
    an uninterrupted one would.
    """

    def __init__(self, lengths: Tensor, rows_a_step: int, seed: int) -> None:
        self._lengths, self._rows_a_step, self._seed = lengths, rows_a_step, seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called before each pass over the rows."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        import torch

        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(self._seed + self._epoch))
        longest = torch.argsort(self._lengths[order], descending=True, stable=True)[: self._rows_a_step]
        others = torch.ones(len(self), dtype=torch.bool)
        others[longest] = False
        for rows in (order[longest], order[others]):
            for start in range(0, len(rows), _ROWS_AT_ONCE):  # a list of millions would weigh as much as a model
                yield from rows[start : start + _ROWS_AT_ONCE].tolist()

    def __len__(self) -> int:
        return len(self._lengths)


def row_lengths(examples: Dataset) -> Tensor:
    """The tokens of each example, counted without bringing them into memory."""
    import numpy as np
    import pyarrow.compute as pc
    import torch

    tables = examples.select_columns("input_ids").with_format("arrow").iter(_ROWS_AT_ONCE)
    return torch.from_numpy(np.concatenate([pc.list_value_length(table["input_ids"]).to_numpy() for table in tables]))


@contextlib.contextmanager
def weights_as_they_are(model: Any) -> Iterator[None]:
    """Keep bitsandbytes from repacking 4-bit weights on CPUs with AVX512-BF16: later gradients would be wrong."""
    layers = [module for module in model.modules() if getattr(module, _REPACKS, False)]
    for layer in layers:
        setattr(layer, _REPACKS, False)
    try:
        yield
    finally:
        for layer in layers:
            setattr(layer, _REPACKS, True)


@functools.cache
def trainer_class(device: str) -> Any:
    """The class for this kind of device. Made late: importing TRL takes 8 s."""
    from trl import SFTTrainer

    kind = _answer_trainer() if device == "cpu" else SFTTrainer

    class Trainer(kind):  # type: ignore[misc,valid-type]
        first_batch: dict[str, Any] | None = None

        def _get_train_sampler(self, train_dataset: Any = None) -> Any:
            rows = self.train_dataset if train_dataset is None else train_dataset
            rows_a_step = (
                self.args.train_batch_size * self.args.gradient_accumulation_steps * self.accelerator.num_processes
            )
            return LongestFirst(row_lengths(rows), rows_a_step, self.args.seed)

        def get_batch_samples(self, *of: Any, **options: Any) -> Any:
            if self.state.global_step >= self.state.max_steps:  # else transformers takes a step after the last one
                return [], None
            return super().get_batch_samples(*of, **options)

        def training_step(self, model: Any, inputs: Any, *rest: Any, **options: Any) -> Any:
            if self.first_batch is None:
                self.first_batch = {key: inputs[key].detach().cpu().clone() for key in _KEPT if key in inputs}
            return super().training_step(model, inputs, *rest, **options)

        def evaluation_loop(self, *of: Any, **options: Any) -> Any:
            with weights_as_they_are(self.model):  # the training goes on afterwards
                return super().evaluation_loop(*of, **options)

        def _save_checkpoint(self, model: Any, trial: Any) -> None:
            if not self.args.should_save:  # another process writes
                super()._save_checkpoint(model, trial)
                return
            with whole_checkpoint(Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"):
                super()._save_checkpoint(model, trial)

    return Trainer


def new_trainer(
    model: Any,
    tokenizer: Any,
    examples: Dataset,
    validation: Dataset | None,
    chosen: Hyperparameters,
    work_folder: Path,
    listener: Any,
) -> Any:
    """A trainer of a LoRA over `model`, or of the one that it has already, which tells `listener` how it goes."""
    from peft import PeftModel
    from transformers import PrinterCallback

    device = model.device.type
    trainer = trainer_class(device)(
        model=model,
        args=_settings(chosen, device, work_folder, len(examples)),
        train_dataset=examples,
        eval_dataset=validation,
        processing_class=tokenizer,
        peft_config=None if isinstance(model, PeftModel) else _lora(model, chosen),
        callbacks=[listener],
    )
    trainer.remove_callback(PrinterCallback)
    for parameter in trainer.model.parameters():
        if parameter.requires_grad:  # TRL trains over a quantized base in bfloat16, which rounds small steps away
            parameter.data = parameter.data.float()
    return trainer


def _settings(chosen: Hyperparameters, device: str, work_folder: Path, rows: int) -> Any:
    from trl import SFTConfig

    steps = chosen.steps or planned_steps(chosen, rows)
    return SFTConfig(
        output_dir=str(work_folder),
        num_train_epochs=chosen.epochs,
        max_steps=chosen.steps or -1,
        per_device_train_batch_size=chosen.batch_size,
        per_device_eval_batch_size=chosen.batch_size,
        prediction_loss_only=True,
        gradient_accumulation_steps=chosen.gradient_accumulation,
        learning_rate=chosen.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=chosen.warmup_share if steps > 1 else 0,  # the first step of a warm-up has no learning rate
        max_length=chosen.max_length,
        pad_to_multiple_of=_PADDED_TO if device == "cpu" else None,
        dataset_kwargs={"skip_prepare_dataset": True},  # the examples have their labels
        seed=chosen.seed,
        use_cpu=device == "cpu",
        bf16=has_bfloat16(device),
        gradient_checkpointing=chosen.gradient_checkpointing,
        logging_steps=max(1, steps // _LOGGED),
        logging_first_step=True,  # before anything is learnt: a loss that is no number there is the base's
        logging_nan_inf_filter=False,  # a loss that is no number would be logged as 0
        save_strategy="no",  # the listener says when, and when to validate
        save_total_limit=2,
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=device == "cuda",
        ddp_find_unused_parameters=False,
    )


def planned_steps(chosen: Hyperparameters, rows: int) -> int:
    """The steps of all passes over the rows; a pass ends with a step of its own, and all processes share each."""
    rows_a_step = chosen.batch_size * chosen.gradient_accumulation * process_count()
    return math.ceil(chosen.epochs * math.ceil(rows / rows_a_step))


def has_bfloat16(device: str) -> bool:
    """Whether computing in bfloat16 is faster than in float32; where the instructions lack, emulation is slower."""
    if device == "cpu":
        return machine.has_bfloat16()
    import torch

    return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def training_dtype(asked: Dtype, device: str) -> Dtype:
    """What a base to be trained is loaded in: float32 for bfloat16 where the GPU would emulate it."""
    return "float32" if asked == "bfloat16" and device == "cuda" and not has_bfloat16(device) else asked


def _lora(model: Any, chosen: Hyperparameters) -> Any:
    from peft import LoraConfig

    return LoraConfig(
        task_type="CAUSAL_LM",
        target_modules=target_modules(model, chosen.targets),
        r=chosen.rank,
        lora_alpha=chosen.alpha,
        lora_dropout=chosen.dropout,
    )


def target_modules(model: Any, targets: str | tuple[str, ...]) -> str | list[str]:
    """What PEFT is told to lay a LoRA over; `all-linear` are the linear layers that the model has.

    Of some mixtures of experts PEFT 0.21 takes it for those that they had before transformers 5: the router, and the
    experts, which are fused into parameters now. Over 4-bit experts it leaves them out again, and writes into the
    adapter's configuration that it has them, so that the adapter fits no base whose experts are not in 4 bits. It takes
    the names of experts for these wherever they stand: dense layers of such a name are left out too, and announced.

    Raises:
        UsageError: one of the targets is a name that PEFT takes for fused experts or their router.
    """
    import torch

    if targets != "all-linear":
        if experts := [name for name in targets if _means_experts(model, [name])]:
            raise UsageError(
                f"targets: PEFT takes {', '.join(experts)} of this mixture for its fused experts or their router, over "
                "which it writes no adapter that can be loaded; leave them out, or take all-linear",
                names=("targets",),
            )
        return list(targets)
    if not _means_experts(model, targets):
        return targets
    output = model.get_output_embeddings()
    layers = [name for name, one in model.named_modules() if isinstance(one, torch.nn.Linear) and one is not output]
    names = {name.rpartition(".")[2] for name in layers}
    left_out = sorted(name for name in names if _means_experts(model, [name]))
    if left_out:
        _log.warning(
            "all-linear leaves out the linear layers %s of this mixture: PEFT takes these names for its fused experts",
            ", ".join(left_out),
            extra=naming("targets"),
        )
    return sorted(names.difference(left_out))


def _means_experts(model: Any, targets: str | list[str]) -> bool:
    """Whether PEFT takes targets for fused experts or their router."""
    from peft import LoraConfig

    try:
        from peft.utils.transformers_weight_conversion import convert_peft_config_for_transformers as convert
    except ImportError:  # before 0.19 it took targets as they are
        return False
    config = LoraConfig(target_modules=targets)
    try:
        convert(config, model=model, conversions=None)
    except ValueError:  # one of several that are fused into one
        return True
    return bool(config.target_parameters)


@functools.cache
def _answer_trainer() -> Any:
    """The class: TRL's SFTTrainer that projects the answers' positions alone. Made late: importing TRL takes 8 s.

    TRL 1.16 projects every position to the vocabulary unless there is Triton, prompts and padding included, which are
    then masked. Projecting the answers' positions alone gives the same loss and gradients in under half the time.
    """
    from trl import SFTTrainer

    class AnswerTrainer(SFTTrainer):  # type: ignore[misc]
        """Dense models on one process; everything else goes TRL's way."""

        def __init__(self, **options: Any) -> None:
            self._windows: defaultdict[bool, list[Mapping[str, float]]] = defaultdict(list)  # by whether it trains
            self._seen_tokens = 0
            super().__init__(**options)

        def compute_loss(
            self,
            model: Any,
            inputs: Any,
            return_outputs: bool = False,  # noqa: FBT001, FBT002  # the signature is transformers'
            num_items_in_batch: Any = None,
        ) -> Any:
            if self.aux_loss_enabled or self.accelerator.num_processes > 1:
                return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
            with self.accelerator.autocast():
                loss, scores = answer_loss(self.model.get_base_model(), inputs, num_items_in_batch)
            if self.model.training:
                self._seen_tokens += int(inputs["attention_mask"].sum())
            self._windows[self.model.training].append(scores)
            return (loss, {}) if return_outputs else loss

        def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
            training = self.model.training
            if tokens := sum(scores["tokens"] for scores in self._windows[training]):
                prefix = "" if training else "eval_"
                logs[f"{prefix}mean_token_accuracy"] = self._sum("correct") / tokens
                logs[f"{prefix}entropy"] = self._sum("entropy") / tokens
                logs[f"{prefix}num_tokens"] = self._seen_tokens
                if not training:
                    logs["eval_loss"] = self._sum("loss") / tokens  # the trainer's is the mean of batches
                self._windows[training].clear()
            super().log(logs, start_time)

        def _sum(self, key: str) -> float:
            return sum(scores[key] for scores in self._windows[self.model.training])

    return AnswerTrainer


def answer_loss(model: Any, inputs: Mapping[str, Any], items: Any) -> tuple[Any, Mapping[str, float]]:
    """The answers' negative log-likelihood over `items`, the number of their tokens in the whole step; or the mean."""
    import torch

    targets = inputs["labels"][:, 1:]
    scored = targets != IGNORED
    with _projecting(model, scored):
        logits = model(
            input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False
        ).logits.float()
    whole = logits.shape[:2] == inputs["labels"].shape  # of models that go past their own base model
    logits, targets = logits[:, :-1][scored] if whole else logits[0], targets[scored]
    summed = torch.nn.functional.cross_entropy(logits, targets, reduction="sum")
    with torch.no_grad():
        log_probabilities = logits.log_softmax(-1)
        scores = {
            "tokens": targets.numel(),
            "loss": float(summed),
            "correct": int((logits.argmax(-1) == targets).sum()),
            "entropy": float(-(log_probabilities.exp() * log_probabilities).sum()),
        }
    return summed / (targets.numel() if items is None else items), scores


@contextlib.contextmanager
def _projecting(model: Any, scored: Tensor) -> Iterator[None]:
    """Give the model's own head the scored positions alone, as one row: it may scale or cap what it projects."""

    def keep(_module: Any, _given: Any, output: Any) -> Any:
        output.last_hidden_state = output.last_hidden_state[:, :-1][scored][None]
        return output

    hook = model.base_model.register_forward_hook(keep)
    try:
        yield
    finally:
        hook.remove()
