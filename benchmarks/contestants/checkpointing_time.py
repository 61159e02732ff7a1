"""Train with gradient checkpointing in every other step, and print how much longer those steps take, as JSON.

usage: python checkpointing_time.py MODEL BATCH_SIZE MAX_LENGTH ANSWER_TOKENS nf4|none float32|bfloat16 PAIRS

Steps that keep their activations and steps that recompute them take turns in one training, so that whatever else the
machine does hits both alike. Seconds are those of the process on its core; the first pair warms up and is left out.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from typing import Any

from memory_training import load, rows, train

from pytest_llmbench.finetune import sft


def main() -> None:
    """Train, and print the median seconds of both kinds of step and of their ratio."""
    spec, batch, length, answer, quantization, precision, pairs = sys.argv[1:]
    loaded = load(spec, quantization)
    steps = 2 * (int(pairs) + 1)
    made = rows(loaded.tokenizer, int(batch) * steps, int(length), int(answer))
    hyperparameters = sft.Hyperparameters(
        epochs=1, batch_size=int(batch), max_length=int(length), gradient_checkpointing=True
    )
    turns = Turns()
    train(loaded, made, hyperparameters, precision, sft.Watch(prepare=turns.take))
    kept, recomputed = turns.seconds[2::2], turns.seconds[3::2]
    ratios = [other / one for one, other in zip(kept, recomputed, strict=True)]
    found = {"kept_s": kept, "recomputed_s": recomputed, "ratio": ratios}
    print(json.dumps({name: statistics.median(values) for name, values in found.items()}))


class Turns:
    """Checkpointing is off in the first step, on in the second, and so on; `seconds` has what each step took."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def take(self, trainer: Any) -> None:
        """Put the turns around the trainer's step."""
        train_step = trainer.training_step

        def timed(model: Any, *rest: Any, **options: Any) -> Any:
            for module in model.modules():
                if hasattr(module, "gradient_checkpointing"):
                    module.gradient_checkpointing = len(self.seconds) % 2 == 1
            start = time.process_time()
            loss = train_step(model, *rest, **options)
            self.seconds.append(time.process_time() - start)
            return loss

        trainer.training_step = timed


if __name__ == "__main__":
    main()
