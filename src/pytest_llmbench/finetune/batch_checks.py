"""Checks a batch's labels against what `tokenized.py` should have made of the rows: answers only, end included."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pytest_llmbench.finetune.tokenized import IGNORED
from pytest_llmbench.models.prompt_form import PromptForm

_MOST = 0.5


def batch_faults(batch: Mapping[str, Any], form: PromptForm, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What is wrong with a batch, each fault once with its rows counted; none for a good one.

    The label at a position is the token there (the model shifts them itself), and -100 over prompt and padding.

    Args:
        batch: `input_ids`, `labels` and `attention_mask`, each (rows, tokens).
        form: in which the base reads rows.
        rows: the dataset, in the form of `training.rows`; what the batch holds is looked up in it.
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
        if _agreement(labels, _shifted(expected, shift)) > _MOST and _agreement(labels, expected) < _MOST:
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
