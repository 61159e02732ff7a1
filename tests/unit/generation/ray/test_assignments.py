"""Each question gets one answer, in whatever order answers and deaths come."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.scripted_engines import scripted_case

from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.core.records import Completion
from pytest_llmbench.generation.ray.assignments import Asked, Assignments, Share


def questions(cases: int, variants: tuple[str, ...] = ("base", "finetuned")) -> list[Asked]:
    return [Asked(scripted_case(number, "x" * number), variant) for variant in variants for number in range(cases)]


def answer(one: Asked) -> Completion:
    return Completion(one.case.name, one.case.epoch, one.variant, "text", "stop")


@settings(max_examples=30, deadline=None)
@given(
    cases=st.integers(1, 12),
    size=st.integers(1, 8),
    actors=st.integers(1, 4),
    attempts=st.integers(2, 4),
    data=st.data(),
)
def test_every_question_is_answered_once_or_given_up_after_its_deaths(
    cases: int, size: int, actors: int, attempts: int, data: st.DataObject
) -> None:
    book = Assignments(questions(cases), size=size, actors=actors, attempts=attempts)
    at_work: list[Share] = []
    retired: list[Share] = []
    answered, deaths, given_up = Counter[object](), Counter[object](), set[object]()
    while not book.finished:
        while len(at_work) < actors and (share := book.take()):
            at_work.append(share)
        share = at_work.pop(data.draw(st.integers(0, len(at_work) - 1)))
        told = [one for one in data.draw(st.permutations(share.asked)) if one.key not in answered]
        dies, many = data.draw(st.booleans()), data.draw(st.integers(0, len(told)))
        for one in told[:many] if dies else told:
            assert book.answered(share, answer(one))
            answered[one.key] += 1
        if dies:
            left = told[many:]
            deaths.update(one.key for one in left)
            again, gone = book.lost(share)
            assert {one.key for one in again} | {one.key for one in gone} == {one.key for one in left}
            given_up |= {one.key for one in gone}
            retired.append(share)
        else:
            assert book.ended(share) == []
        for late in retired:  # what a dead one still had to say counts for nothing
            assert not any(book.answered(late, answer(one)) for one in late.asked)
    wanted = {one.key for one in questions(cases)}
    assert set(answered) | given_up == wanted
    assert not set(answered) & given_up
    assert set(answered.values()) <= {1}
    assert all(deaths[key] == attempts for key in given_up)
    assert all(deaths[key] < attempts for key in answered)


def test_all_variants_of_a_case_are_asked_at_once_and_shares_come_out_even() -> None:
    book = Assignments(questions(30), size=16, actors=3, attempts=3)
    shares = [book.take() for _ in range(3)]
    assert book.take() is None
    assert [len(share.asked) if share else 0 for share in shares] == [20, 20, 20]
    assert all(share and len({one.case.id for one in share.asked}) == 10 for share in shares)


@pytest.mark.parametrize("attempts", [2, 3])
def test_a_question_that_kills_is_alone_before_it_is_given_up(attempts: int) -> None:
    book = Assignments(questions(4, ("base",)), size=4, actors=1, attempts=attempts)
    shares = []
    for _ in range(attempts - 1):
        share = book.take()
        assert share
        shares.append(len(share.asked))
        book.lost(share)
    while share := book.take():
        shares.append(len(share.asked))
        book.answered(share, answer(share.asked[0]))
    assert shares == [4] * (attempts - 1) + [1] * 4


def test_what_does_not_fit_is_halved_and_given_up_alone() -> None:
    book = Assignments(questions(2, ("base",)), size=4, actors=1, attempts=3)
    whole = book.take()
    assert whole
    assert book.too_large(whole) == []
    first, second = book.take(), book.take()
    assert first
    assert second
    assert book.too_large(first) == list(first.asked)
    assert book.ended(second) == list(second.asked)
    assert book.finished


@pytest.mark.parametrize("twice", [True, False])
def test_an_engine_that_answers_twice_or_unasked_is_told_of(*, twice: bool) -> None:
    book = Assignments(questions(3, ("base",)), size=1, actors=1, attempts=3)
    share, other = book.take(), book.take()
    assert share
    assert other
    book.answered(share, answer(share.asked[0]))
    with pytest.raises(UsageError, match=r"answered suite/000. \(epoch 0\) twice, or was not asked"):
        book.answered(share if twice else other, answer(share.asked[0]))
