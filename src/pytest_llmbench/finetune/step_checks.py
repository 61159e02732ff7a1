"""Whether a training learns: answers alone are learnt, the loss falls and stays down, LoRA matrices get gradients."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

from pytest_llmbench.finetune.tokenized import IGNORED
from pytest_llmbench.finetune.training_log import TrainingStep
from pytest_llmbench.models.prompt_form import PromptForm

_END = 8  # an end of the curve is this part of it
_BLOWN = 1.5
_RISEN = 1.1
_NAMED = 5
_VANISHED = 1e-10

_AGREEING = 0.5


def loss_faults(steps: Sequence[TrainingStep], *, least_fall: float, learning_rate: float) -> list[str]:
    """What is wrong with the course of the loss: not a number, blown up, or not fallen by the share asked for.

    The end is the mean of the last eighth of the steps; blown up is 1.5 times the first step's loss.
    """
    if not steps:
        return ["no step was logged"]
    if fault := _hopeless(steps, learning_rate):
        return [fault]
    size = max(1, len(steps) // _END)
    start, last = steps[0].loss, fmean(step.loss for step in steps[-size:])
    first = fmean(step.loss for step in steps[:size])
    worst, began = max(steps, key=lambda step: step.loss), max(first, start)
    fall = 1 - last / began if began else 0.0
    rose = f"the loss rose from {start:.2f} to {worst.loss:.2f} at step {worst.step}"
    too_high = f"the learning rate of {learning_rate:g} is too high"
    if worst.loss > _BLOWN * start:
        return [f"{rose}: {too_high}"]
    if fall >= least_fall:
        return []
    fell = f"the loss fell by {fall:.0%}, from {began:.2f} to {last:.2f}, less than {least_fall:.0%}"
    if worst.loss > _RISEN * start:
        return [f"{fell}, and {rose}: {too_high}"]
    return [f"{fell}: it learns too little (learning rate {learning_rate:g}, {steps[-1].of} steps)"]


def _hopeless(steps: Sequence[TrainingStep], learning_rate: float) -> str | None:
    """What makes the course of the loss say nothing: no rate to learn at, or a loss that is no number."""
    if all(step.learning_rate == 0 for step in steps):
        return "the learning rate is 0 at every step: nothing is learnt"
    broken = next((step for step in steps if not math.isfinite(step.loss)), None)
    if broken is None:
        return None
    return f"the loss is {broken.loss} at step {broken.step}: the learning rate of {learning_rate:g} is too high"


def gradient_faults(peaks: Mapping[str, float]) -> list[str]:
    """The LoRA matrices without a gradient, or with one that vanishes, named."""
    if not peaks:
        return ["the model has no LoRA matrix"]
    faults = []
    for what, names in (
        ("are frozen: no gradient came", [name for name, peak in peaks.items() if peak == 0]),
        ("have a vanishing gradient", [name for name, peak in peaks.items() if 0 < peak < _VANISHED]),
        ("have a gradient that is not a number", [name for name, peak in peaks.items() if not math.isfinite(peak)]),
    ):
        if names:
            more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            faults.append(f"{len(names)} of {len(peaks)} LoRA matrices {what}: {', '.join(names[:_NAMED])}{more}")
    return faults


def batch_faults(batch: Mapping[str, Any], form: PromptForm, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What is wrong with a batch, each fault once with its rows counted; none for a good one.

    The label at a position is the token there (the model shifts them itself), and -100 over prompt and padding.

    Args:
        batch: `input_ids`, `labels` and `attention_mask`, each (rows, tokens).
        form: in which the base reads rows.
        rows: the dataset, in the form of `datasets.rows`; what the batch holds is looked up in it.
    """
    known = {tuple(whole): len(prompt) for whole, prompt in map(form.example, rows)}
    faults: dict[str, int] = {}
    for tokens, labels in _rows(batch):
        if fault := _fault(tokens, labels, known.get(tuple(tokens))):
            faults[fault] = faults.get(fault, 0) + 1
    return [f"{fault} (in {count} of {len(batch['input_ids'])} rows)" for fault, count in faults.items()]


def _rows(batch: Mapping[str, Any]) -> Iterator[tuple[list[int], list[int]]]:
    for tokens, labels, mask in zip(batch["input_ids"], batch["labels"], batch["attention_mask"], strict=True):
        kept = mask.bool()
        yield tokens[kept].tolist(), labels[kept].tolist()


def _fault(tokens: list[int], labels: list[int], start: int | None) -> str | None:
    if start is None:
        return "a row is none of the dataset's as the base's chat template writes it"
    expected = [IGNORED] * start + tokens[start:]
    if labels == expected:
        return None
    for shift in (1, -1):
        if _agreement(labels, _shifted(expected, shift)) > _AGREEING and _agreement(labels, expected) < _AGREEING:
            return "the labels are shifted by one: the model would learn to repeat, or to skip, a token"
    learnt = sum(label != IGNORED for label in labels[:start])
    if learnt:
        return f"the prompt is not masked: {learnt} of its {start} tokens count in the loss"
    left_out = sum(label == IGNORED for label in labels[start:])
    if left_out:
        return f"{left_out} of the answer's {len(tokens) - start} tokens are masked"
    return "the labels are not the answer's tokens"


def _shifted(labels: list[int], by: int) -> list[int]:
    return [*labels[by:], IGNORED] if by > 0 else [IGNORED, *labels[:by]]


def _agreement(labels: list[int], expected: list[int]) -> float:
    """The share of the expected labels that are there."""
    pairs = [(label, wanted) for label, wanted in zip(labels, expected, strict=True) if wanted != IGNORED]
    return sum(label == wanted for label, wanted in pairs) / max(1, len(pairs))
