"""Which lengths are tried, by what was asked for and what a server says."""

from __future__ import annotations

import pytest

from pytest_llmbench.context.announced import Announced
from pytest_llmbench.context.plan import LengthPlan, planned
from pytest_llmbench.core.settings import ContextSettings


def test_lengths_of_their_own_accord_double_up_to_what_leaves_room_for_an_answer() -> None:
    assert LengthPlan(None, 10_000).swept(256, 4096, 48) == (256, 512, 1024, 2048, 4049)
    assert LengthPlan(None, 10_000).swept(256, 300, 48) == (256,)
    assert LengthPlan(None, 10_000).swept(256, 0, 48) == ()


@pytest.mark.parametrize(
    ("accepted", "lengths", "reaches"),
    [(8000, (512, 1024, 2048), False), (1500, (512, 1024, 1453), True), (520, (473,), True)],
)
def test_lengths_beyond_what_is_accepted_end_with_what_is(
    accepted: int,
    lengths: tuple[int, ...],
    reaches: bool,  # noqa: FBT001  # what is expected
) -> None:
    plan = LengthPlan((512, 1024, 2048), 10_000)
    assert plan.swept(400, accepted, 48) == lengths
    assert plan.reaches(accepted, 48) is reaches


@pytest.mark.parametrize(
    ("announced", "longest"),
    [(Announced(4096), 8192), (Announced(trained=2048), 4096), (Announced(), 131_072)],
    ids=["announced", "trained", "silent"],
)
def test_the_longest_prompt_tried_is_twice_what_is_known(announced: Announced, longest: int) -> None:
    assert planned(ContextSettings(), announced).longest == longest
    assert planned(ContextSettings(max_context=5000), announced).longest == 5000


@pytest.mark.parametrize(
    ("announced", "native"),
    [(Announced(98_304, trained=40_960), 131_072), (Announced(98_304), 65_536), (Announced(trained=40_960), 131_072)],
    ids=["stretched by the server", "longer than its publisher vouches for", "stretched by its publisher"],
)
def test_a_model_that_is_stretched_holds_more_than_it_was_trained_with(announced: Announced, native: int) -> None:
    settings = ContextSettings(lengths=(1024, 98_304))
    assert planned(settings, announced, native).wanted == (1024, 98_304)


def test_limits_are_looked_for_below_all_lengths_that_were_asked_for() -> None:
    assert LengthPlan((8192,), 10_000).lowest(180) == 256
    assert LengthPlan((200, 512), 10_000).lowest(180) == 200


def test_the_shortest_prompt_has_room_for_the_longest_question() -> None:
    assert LengthPlan(None, 10_000).shortest(180) == 256
    assert LengthPlan(None, 10_000).shortest(300) == 384
    assert LengthPlan((512, 1024), 10_000).shortest(300) == 512
