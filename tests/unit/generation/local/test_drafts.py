"""What may come next, and which guesses are worth their place in a step."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmbench.generation.local.drafts import MOST, Guess, Memory, worthwhile

TILE = 16


@pytest.mark.parametrize(
    ("told", "most", "expected"),
    [
        ([1, 2, 3, 9, 8, 7, 6, 1, 2, 3], 9, [9, 8, 7, 6]),
        ([1, 2, 3, 9, 8, 1, 2, 3], 2, [9, 8]),
        ([5, 1, 7, 5, 1, 8, 5, 1], 9, [8, 5, 1]),  # what stood there last
        ([1, 2, 3, 4, 9, 2, 3, 5, 1, 2, 3], 9, [4, 9, 2, 3]),  # three that match before two of later
        ([1, 1], 9, [1]),
        ([1, 2, 3], 9, []),
        ([1], 9, []),
        ([1, 1, 1], 0, []),
    ],
)
def test_a_guess_is_what_followed_the_longest_match(told: list[int], most: int, expected: list[int]) -> None:
    assert list(Memory(told).guess(most).tokens) == expected


def test_what_was_said_since_is_remembered_and_longer_matches_are_likelier() -> None:
    memory = Memory([1, 2, 3])
    memory.tell([4, 1])
    one = memory.guess(MOST)
    memory.tell([2, 3])
    three = memory.guess(MOST)
    assert (one.tokens, three.tokens) == ([2, 3, 4, 1], [4, 1, 2, 3])
    assert 0 < one.likely < three.likely < 1


def test_of_a_very_long_prompt_the_end_is_remembered() -> None:
    assert Memory([1, 2, *range(10, 5000), 1]).guess(MOST).tokens == ()
    assert Memory([*range(10, 5000), 1, 2, 3, 1]).guess(MOST).tokens == [2, 3, 1]


guesses = st.lists(
    st.builds(Guess, st.lists(st.integers(0, 9), max_size=MOST), st.sampled_from([0.4, 0.75, 0.95])), max_size=60
)


@given(guesses, st.integers(1, 64))
def test_the_likeliest_are_tried_and_places_that_cost_nothing_are_filled(given: list[Guess], rows: int) -> None:
    tried = worthwhile(given, rows, TILE, 999)
    assert all(guess.tokens[: len(part)] == part for guess, part in zip(given, tried, strict=True))
    count, offered = sum(map(len, tried)), sum(len(guess.tokens) for guess in given)
    assert count >= min(offered, -rows % TILE)
    left = [chance(guess, len(part)) for guess, part in zip(given, tried, strict=True) if len(part) < len(guess.tokens)]
    taken = [chance(guess, len(part) - 1) for guess, part in zip(given, tried, strict=True) if part]
    assert max(left, default=0) <= min(taken, default=1)


@given(guesses, st.integers(1, 64))
def test_a_tile_more_is_opened_for_guesses_that_should_fill_half_of_it(given: list[Guess], rows: int) -> None:
    tried = worthwhile(given, rows, TILE, 999)
    beyond = sum(map(len, tried)) - (-rows % TILE)
    right = sum(chance(guess, place) for guess, part in zip(given, tried, strict=True) for place in range(len(part)))
    if beyond > 0:
        assert right >= TILE / 2 * (beyond // TILE)


def test_sure_guesses_open_a_tile_and_doubtful_ones_do_not() -> None:
    assert opened([Guess([1, 2, 3, 4], 0.95)] * 4) == 16
    assert opened([Guess([1, 2, 3, 4], 0.4)] * 16) == 0
    assert [opened([Guess([1, 2, 3, 4], 0.95)] * 16, most) for most in (999, 3 * TILE, 3 * TILE - 1)] == [64, 32, 16]


def opened(given: Sequence[Guess], most: int = 999) -> int:
    """The guesses that are tried beyond a full tile of rows."""
    return sum(map(len, worthwhile(given, TILE, TILE, most)))


def chance(guess: Guess, place: int) -> float:
    return float(guess.likely ** (place + 1))
