"""The prompts of a session's cases: whose tokens are handed out, and what is refused."""

from __future__ import annotations

import dataclasses

import pytest
from support.tiny_decoders import word_tokenizer

from pytest_llmbench.benchmark.query import question
from pytest_llmbench.cases.suites import Case
from pytest_llmbench.cases.tools import as_openai
from pytest_llmbench.core.records import BASE
from pytest_llmbench.core.settings import GenerationSettings
from pytest_llmbench.generation.prompts import Prompts
from pytest_llmbench.models.chat_templates import base_form

TEMPLATE = (
    "{% for t in tools or [] %}w43 {% endfor %}"
    "{% for m in messages %}{{ 'w40 ' if m.role == 'user' else 'w41 ' }}{{ m.content }} {% endfor %}w42"
)


def prompts(context: int = 64) -> Prompts:
    settings = GenerationSettings(max_new_tokens=12)
    return Prompts({BASE: base_form(word_tokenizer(TEMPLATE), {}, "system")}, settings, context)


@pytest.mark.parametrize(
    ("other", "tokens"),
    [
        (question("w6 w7", None), [40, 6, 7, 42]),
        (question("w5", "w9"), [41, 9, 40, 5, 42]),
        (dataclasses.replace(question("w5", None), tools=(as_openai({"name": "clock"}),)), [43, 40, 5, 42]),
    ],
)
def test_another_question_of_the_same_name_is_asked_with_its_own_words(other: Case, tokens: list[int]) -> None:
    asked = prompts()
    assert asked.tokens(question("w5", None)) == [40, 5, 42]
    assert asked.tokens(other) == tokens
    assert asked.tokens(question("w5", None)) == [40, 5, 42]


def test_what_the_engine_was_not_opened_for_is_refused_before_it_is_asked() -> None:
    asked = prompts(context=64)
    short, long = question("w5", None), question(" ".join(["w5"] * 20), None)
    assert asked.why_not(long, BASE) is None
    asked.opened_with(20)
    assert asked.why_not(short, BASE) is None
    assert "has 22 tokens, and 12 more are to be generated, but the engine was opened for 20" in (
        asked.why_not(long, BASE) or ""
    )
