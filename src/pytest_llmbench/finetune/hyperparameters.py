"""How an adapter is trained, in plain numbers."""

from __future__ import annotations

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True, slots=True)
class Hyperparameters:
    """A step sees `batch_size` x `gradient_accumulation` rows; `max_length` counts a row's prompt and answer together.

    `steps` ends the training after so many, whatever `epochs` says. `targets` are the names of the layers that get
    a LoRA. `save_steps` is how often a checkpoint is written; None writes one every five minutes.
    """

    epochs: float = 3.0
    rank: int = 8
    alpha: int = 16
    dropout: float = 0.0
    targets: Literal["all-linear"] | tuple[str, ...] = "all-linear"
    learning_rate: float = 1e-3
    warmup_share: float = 0.05
    batch_size: int = 16
    gradient_accumulation: int = 1
    max_length: int = 256
    gradient_checkpointing: bool = False
    seed: int = 42
    steps: int | None = None
    save_steps: int | None = None

    def with_half_batch(self) -> Hyperparameters:
        """The same steps in smaller bites: half the rows at once, rounded up, and twice as often."""
        return dataclasses.replace(
            self, batch_size=(self.batch_size + 1) // 2, gradient_accumulation=self.gradient_accumulation * 2
        )
