"""Train a model for two steps and print how much the process grew at its fullest, as JSON.

usage: python memory_training.py MODEL BATCH_SIZE MAX_LENGTH ANSWER_TOKENS nf4|none float32|bfloat16 kept|recomputed
    spare|plain

Activations are kept, or with gradient checkpointing recomputed.

Growth is peak resident memory during the training above what was resident before the model was loaded. Libraries are
imported before that. `spare` gives freed memory back at once, as training does where memory is tight.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import bitsandbytes  # noqa: F401  # so that its import is not counted
import datasets
import peft  # noqa: F401
import torch
import trl  # noqa: F401
from process_memory import forget_peak, peak_bytes, resident_bytes

from pytest_llmbench.core.settings import ModelSettings
from pytest_llmbench.datasets.files import write_rows
from pytest_llmbench.finetune import sft, trainer
from pytest_llmbench.finetune.memory import return_freed_memory
from pytest_llmbench.finetune.tokenized import tokenize_file
from pytest_llmbench.models.chat_templates import base_form
from pytest_llmbench.models.loaded import LoadedModel
from pytest_llmbench.models.loading import load_base
from pytest_llmbench.models.quiet import quiet_libraries
from pytest_llmbench.models.sources import resolve

STEPS = 2


def main() -> None:
    """Train, and print the growth in bytes."""
    spec, batch, length, answer, quantization, precision, activations, allocator = sys.argv[1:]
    if allocator == "spare":
        return_freed_memory()
    before = resident_bytes()
    loaded = load(spec, quantization)
    hyperparameters = sft.Hyperparameters(
        epochs=1,
        batch_size=int(batch),
        max_length=int(length),
        gradient_checkpointing=activations == "recomputed",
    )
    made = rows(loaded.tokenizer, int(batch) * STEPS, int(length), int(answer))
    forget_peak()
    train(loaded, made, hyperparameters, precision)
    print(json.dumps({"growth_bytes": peak_bytes() - before}))


def load(spec: str, quantization: str) -> LoadedModel:
    """The model on the CPU."""
    settings = ModelSettings.model_validate({"base": spec, "quantization": quantization, "device": "cpu"})
    return load_base(resolve(spec), settings)


def train(
    loaded: LoadedModel,
    made: list[dict[str, Any]],
    hyperparameters: sft.Hyperparameters,
    precision: str,
    watch: sft.Watch | None = None,
) -> None:
    """Train on one core, computing in `precision` whatever the CPU is better at."""
    torch.set_num_threads(1)
    datasets.disable_progress_bars()
    chosen = mock.patch.object(trainer, "has_bfloat16", return_value=precision == "bfloat16")
    with chosen, quiet_libraries(), tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        write_rows(folder / "rows.jsonl", made)
        kept, length = folder / "rows", hyperparameters.max_length
        read = tokenize_file(
            folder / "rows.jsonl", base_form(loaded.tokenizer, {}, "system"), length, kept=kept, identity={}
        )
        training = sft.train(
            loaded.model, loaded.tokenizer, read.examples, hyperparameters, work_folder=folder, watch=watch
        )
    assert training.precision == precision


def rows(tokenizer: Any, count: int, length: int, answer: int) -> list[dict[str, Any]]:
    """Rows of exactly `length` tokens, `answer` of them the completion's."""

    def tokens(row: dict[str, Any], *parts: str) -> int:
        messages = [message for part in parts for message in row[part]]
        return len(tokenizer.apply_chat_template(messages, return_dict=True)["input_ids"])

    def build(words: int, answers: int) -> dict[str, Any]:
        return {
            "prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": " the" * words}],
            "completion": [{"role": "assistant", "content": " a" * answers}],
        }

    answers = _solve(
        lambda words: tokens(build(1, words), "prompt", "completion") - tokens(build(1, words), "prompt"), answer
    )
    words = _solve(lambda words: tokens(build(words, answers), "prompt", "completion"), length)
    return [build(words, answers) for _ in range(count)]


def _solve(measure: Callable[[int], int], wanted: int) -> int:
    """The number of words that gives the wanted number of tokens, one token a word."""
    words = 1 + wanted - measure(1)
    assert words > 0
    assert measure(words) == wanted
    return words


if __name__ == "__main__":
    main()
