"""Train the same LoRA with `llmbench finetune`'s own code, and print what the clock said, as JSON.

usage: python training_ours.py MODEL DATASET STEPS BATCH_SIZE THREADS
"""

from __future__ import annotations

import json
import os
import sys
import time

STARTED = time.perf_counter()
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from pathlib import Path  # noqa: E402

from pytest_llmbench.finetune import finetune as tool  # noqa: E402
from pytest_llmbench.finetune.request import FinetuneRequest  # noqa: E402
from pytest_llmbench.finetune.sft import Watch  # noqa: E402
from pytest_llmbench.finetune.training_log import Moment  # noqa: E402

model_path, dataset, steps, batch_size, threads = sys.argv[1:]
times: dict[str, float] = {}


def same_threads(_width: int) -> None:
    """Both sides compute with the same number of threads; choosing one is left out."""
    import torch

    torch.set_num_threads(int(threads))


def note(moment: Moment) -> None:
    """A step was logged, which happens when it is done."""
    times.setdefault("first", time.perf_counter())
    times["last"] = time.perf_counter()
    times["loss"] = moment.step.loss


tool._choose_threads = same_threads  # type: ignore[assignment]  # noqa: SLF001
tool.finetune(
    FinetuneRequest(
        Path(dataset),
        Path(os.environ["WORK"]) / "adapter",
        model_path,
        device="cpu",
        changes={
            "quantization": "nf4",
            "batch_size": int(batch_size),
            "gradient_accumulation": 1,
            "max_length": 256,
            "learning_rate": 2e-3,
            "rank": 8,
            "alpha": 16,
            "steps": int(steps),
        },
    ),
    Watch(on_moment=note),
)
trained = (int(steps) - 1) * int(batch_size)
print(
    json.dumps(
        {
            "first_step_s": times["first"] - STARTED,
            "samples_per_s": trained / (times["last"] - times["first"]),
            "loss": times["loss"],
        }
    )
)
