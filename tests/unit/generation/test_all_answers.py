"""Every answer of a list of cases, where memory may not hold them all at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from pytest_llmbench.cases.suites import Case
from pytest_llmbench.core.errors import NotReadyError
from pytest_llmbench.core.records import BASE, Completion
from pytest_llmbench.generation.backend import OutOfMemoryError, all_answers

CASES = [Case("suite", str(number), "a", ({"role": "user", "content": "a"},)) for number in range(5)]


class Small:
    """Answers one case more before a batch of more than so many runs out of memory."""

    def __init__(self, most: int) -> None:
        self.most, self.sizes = most, list[int]()

    def complete(self, cases: Sequence[Case], variant: str) -> Iterator[Completion]:
        self.sizes.append(len(cases))
        for place, case in enumerate(cases):
            if len(cases) > self.most and place == min(1, self.most):
                raise OutOfMemoryError
            yield Completion(case.name, case.epoch, variant, case.id, "stop")


def test_fewer_are_asked_at_once_where_memory_runs_out_and_nothing_twice() -> None:
    small: Any = Small(2)
    assert [done.text for done in all_answers(small, CASES, BASE)] == ["0", "1", "2", "3", "4"]
    assert small.sizes == [5, 2, 2]


def test_one_prompt_that_does_not_fit_alone_is_named() -> None:
    small: Any = Small(0)
    with pytest.raises(NotReadyError, match="suite/0: out of memory with this prompt alone"):
        list(all_answers(small, CASES, BASE))
