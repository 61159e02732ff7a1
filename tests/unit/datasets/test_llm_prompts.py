"""A model's answer is taken only when it is exactly what was asked for."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmbench.core.languages import languages
from pytest_llmbench.datasets.llm_prompts import again, read_answer, writing_of

FRENCH = writing_of(languages()["fr"])
CHUNK = FRENCH.about_chunk("GIDAF", "GIDAF a 1200 utilisateurs.", 3)


def _answer(*pairs: tuple[str, str]) -> str:
    return json.dumps([{"question": question, "reponse": answer} for question, answer in pairs])


def test_questions_and_answers_are_read_fenced_or_not() -> None:
    pairs = (("Qu'est-ce que GIDAF ?", "Un outil."), ("Combien d'utilisateurs ?", "Il y en a 1200."))
    assert read_answer(_answer(*pairs), CHUNK).pairs == pairs
    for fenced in ("```json\n{}\n```\n", "\n```JSON\r\n{}```", "```{}```", "``` json {} ```"):
        assert read_answer(fenced.replace("{}", _answer(*pairs)), CHUNK).pairs == pairs


def test_half_a_character_that_a_model_escaped_can_be_written() -> None:
    (pair,) = read_answer('[{"question": "Quoi \\ud83d ?", "reponse": "Un outil."}]', CHUNK).pairs
    assert pair == ("Quoi \N{REPLACEMENT CHARACTER} ?", "Un outil.")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Voici : [{}]", "no JSON list"),
        ("Voici :\n```json\n[]\n```", "no JSON list"),
        ("```json\n[]\n```\n```json\n[]\n```", "no JSON list"),
        ("```python\n[]\n```", "no JSON list"),
        ('{"question": "a", "reponse": "b"}', "no JSON list"),
        ('[{"question": "a", "answer": "b"}]', "other keys than question and reponse"),
        ('[{"question": "a", "reponse": "b", "x": 1}]', "other keys than question and reponse"),
        ("[3]", "other keys than question and reponse"),
        (_answer(("a", " ")), "empty"),
        ('[{"question": "a", "reponse": 3}]', "empty"),
        (_answer(("a" * 301, "b")), "too long"),
        (_answer(("Combien ?", "Il y en a 1300.")), "a number that the source does not hold"),
    ],
)
def test_anything_else_is_refused_with_the_reason(text: str, reason: str) -> None:
    written = read_answer(text, CHUNK)
    assert written.pairs == ()
    assert set(written.refused) == {reason}


def test_a_repeated_pair_is_refused() -> None:
    assert read_answer(_answer(("a", "b"), ("a", "b")), CHUNK).refused == ("repeated",)


def test_the_answer_to_a_tool_ends_with_its_name() -> None:
    written = read_answer(_answer(("monte", "Je monte le son.")), FRENCH.about_tool("volume_up", ["son"], 1))
    assert written.pairs == (("monte", "Je monte le son. [volume_up]"),)


def test_a_rephrased_row_keeps_its_answer() -> None:
    row = FRENCH.like_row("monte le son", "Oui.", 2)
    written = read_answer(_answer(("plus fort", "Oui."), ("plus bas", "Non.")), row)
    assert written.pairs == (("plus fort", "Oui."),)
    assert written.refused == ("another answer than the row's",)


def test_another_series_asks_otherwise_and_reads_alike() -> None:
    assert again(CHUNK, 2).messages != CHUNK.messages
    assert again(CHUNK, 2).ground == CHUNK.ground


@given(st.text())
def test_no_answer_breaks_the_reader(text: str) -> None:
    read_answer(text, CHUNK)
