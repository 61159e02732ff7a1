"""A backend for the plugin's own tests: the fine-tune repeats the prompt, the base knows nothing, and a log is kept.

It is copied into the project of each test, whose `conftest.py` gives it to the plugin.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_llmbench.cases.suites import Case
from pytest_llmbench.core.records import BASE, Completion

LOG = Path("asked.log")


class Parrot:
    """Answers at once, always the same.

    Args:
        batch_size: how many cases it wants at once.
        before_batch: called with the number of cases of a batch.
        before_answer: called with the number of answers that the log holds, by whatever process.
        knows: whether the fine-tune has learnt a case; of others it knows as much as the base.
    """

    variants: tuple[str, ...] = ("base", "finetuned")

    def __init__(
        self,
        batch_size: int = 2,
        before_batch: Callable[[int], object] = lambda _: None,
        before_answer: Callable[[int], object] = lambda _: None,
        knows: Callable[[Case], bool] = lambda _: True,
    ) -> None:
        self._batch_size, self._before_batch, self._before_answer = batch_size, before_batch, before_answer
        self._knows = knows

    def identity(self, variant: str) -> Mapping[str, str]:
        return {"parrot": variant}

    def weight(self, case: Case) -> int:
        return len(case.prompt)

    def batch_size(self) -> int:
        return self._batch_size

    def complete(self, cases: Sequence[Case], variant: str) -> Iterator[Completion]:
        self._before_batch(len(cases))
        for case in cases:
            self._before_answer(len(LOG.read_text().splitlines()) if LOG.exists() else 0)
            with LOG.open("a") as log:
                log.write(f"{variant} {case.name}#{case.epoch} {len(cases)} {os.getpid()}\n")
            text = "je ne sais pas" if variant == BASE or not self._knows(case) else case.prompt
            yield Completion(case.name, case.epoch, variant, text, "stop", completion_tokens=3, latency_s=0.01)

    def embed(self, pairs: Sequence[tuple[Case, Completion]]) -> list[Completion]:
        return [completion for _, completion in pairs]

    def describe(self) -> Mapping[str, Any]:
        return {"base_model": "parrot", "device": "cpu"}

    def close(self) -> None:
        pass
