"""What is hidden in prompts, and what counts as found."""

from __future__ import annotations

import pytest

from pytest_llmbench.context.needles import KINDS, needle, needles


def test_one_fact_counts_where_its_code_stands_whatever_is_written_around_it() -> None:
    asked = needle("one", "en", 0.5, "a")
    (code,) = asked.values
    assert asked.found_in(f"The code is **{code}**.") == 1
    assert asked.found_in(f"1{code}") == 0
    assert asked.found_in("I do not know.") == 0


def test_several_facts_count_one_by_one() -> None:
    asked = needle("several", "fr", 0.25, "a")
    assert len(asked.values) == len(asked.facts) == 3
    assert asked.found_in(f"{asked.values[0]}, {asked.values[2]}") == 2


def test_an_answer_that_lists_look_alikes_too_has_found_nothing() -> None:
    asked = needle("distractors", "en", 0.5, "a")
    assert asked.found_in(asked.values[0]) == 1
    assert asked.found_in(f"{asked.values[0]} or {asked.wrong[0]}") == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("language", ["en", "fr"])
def test_the_question_names_the_places_of_its_facts_and_no_other(kind: str, language: str) -> None:
    asked = needle(kind, language, 0.5, "a")  # type: ignore[arg-type]  # parametrized as texts
    codes = [*asked.values, *asked.wrong]
    assert len(set(codes)) == len(codes) == len(asked.placed)
    assert not any(code in asked.question for code in codes)


def test_questions_have_the_same_names_at_every_length_and_other_facts_in_each_repeat() -> None:
    first, again = (needles((0.0, 1.0), KINDS, ("en", "fr"), 2, seed=7) for _ in range(2))
    assert first == again
    assert len({one.name for one in first}) == len(first) == 24
    assert len({one.values for one in first}) == 24
