"""TRL's trainer with rows in an order that can be resumed, checkpoints that are whole, and its first batch kept."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pytest_llmbench.training.answer_loss import answer_trainer
from pytest_llmbench.training.checkpoints import whole_checkpoint

_KEPT = ("input_ids", "labels", "attention_mask")


class LongestFirst:
    """Row numbers in a random order, but the longest rows in the first step, so that too little memory shows at once.

    Rows of near length are not kept together: with few templates they are rows of one kind, and the last kind of a pass
    is then the answer to everything. The order depends on seed and epoch alone: a resumed training sees the rows that
    an uninterrupted one would.
    """

    def __init__(self, lengths: Sequence[int], rows_a_step: int, seed: int) -> None:
        self._lengths, self._rows_a_step, self._seed = list(lengths), rows_a_step, seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called before each pass over the rows."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        import torch

        generator = torch.Generator().manual_seed(self._seed + self._epoch)
        order = torch.randperm(len(self._lengths), generator=generator).tolist()
        longest = sorted(order, key=lambda row: -self._lengths[row])[: self._rows_a_step]
        taken = set(longest)
        yield from longest
        yield from (row for row in order if row not in taken)

    def __len__(self) -> int:
        return len(self._lengths)


@functools.cache
def trainer_class(device: str) -> Any:
    """The class for this kind of device. Made late: importing TRL takes 8 s."""
    from trl import SFTTrainer

    kind = answer_trainer() if device == "cpu" else SFTTrainer

    class Trainer(kind):  # type: ignore[misc,valid-type]
        first_batch: dict[str, Any] | None = None

        def _get_train_sampler(self, train_dataset: Any = None) -> Any:
            rows = self.train_dataset if train_dataset is None else train_dataset
            rows_a_step = (
                self.args.train_batch_size * self.args.gradient_accumulation_steps * self.accelerator.num_processes
            )
            return LongestFirst([len(ids) for ids in rows["input_ids"]], rows_a_step, self.args.seed)

        def training_step(self, model: Any, inputs: Any, *rest: Any, **options: Any) -> Any:
            if self.first_batch is None:
                self.first_batch = {key: inputs[key].detach().cpu().clone() for key in _KEPT if key in inputs}
            return super().training_step(model, inputs, *rest, **options)

        def _save_checkpoint(self, model: Any, trial: Any) -> None:
            if not self.args.should_save:  # another process writes
                super()._save_checkpoint(model, trial)
                return
            with whole_checkpoint(Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"):
                super()._save_checkpoint(model, trial)

    return Trainer
