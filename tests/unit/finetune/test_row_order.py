"""The order in which a training sees its rows."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmbench.finetune.trainer import LongestFirst


def _orders(lengths: list[int], rows_a_step: int, epochs: int = 1) -> list[list[int]]:
    sampler = LongestFirst(torch.tensor(lengths), rows_a_step, seed=42)
    found = []
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        found.append(list(sampler))
    return found


@given(st.lists(st.integers(1, 50), min_size=1, max_size=60), st.integers(1, 8))
def test_every_row_comes_once_and_the_longest_come_first(lengths: list[int], rows_a_step: int) -> None:
    (order,) = _orders(lengths, rows_a_step)
    assert sorted(order) == list(range(len(lengths)))
    first = [lengths[row] for row in order[:rows_a_step]]
    assert first == sorted(lengths, reverse=True)[:rows_a_step]


def test_rows_of_one_kind_are_spread_over_the_whole_pass() -> None:
    kinds = [number % 6 for number in range(300)]
    (order,) = _orders([10 + kind for kind in kinds], 4)
    rest = [kinds[row] for row in order[4:]]
    assert all(len(set(rest[at : at + 24])) >= 4 for at in range(0, len(rest) - 24, 24))


def test_a_resumed_training_sees_the_same_order_and_each_pass_another() -> None:
    lengths = list(range(40))
    assert _orders(lengths, 4, 2) == _orders(lengths, 4, 2)
    first, second = _orders(lengths, 4, 2)
    assert first != second
