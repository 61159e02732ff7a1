"""Prompts have just as many tokens as were asked for, whatever the tokenizer makes of joined texts."""

from __future__ import annotations

import asyncio
import functools
import itertools
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tokenizers import ByteLevelBPETokenizer, SentencePieceUnigramTokenizer

from pytest_llmbench.context.haystack import LANGUAGES, filler_sentences
from pytest_llmbench.context.local_tokenizer import local_ways
from pytest_llmbench.context.needles import KINDS, needle
from pytest_llmbench.context.prompt_building import Draft, InexactError, TooShortError, exact_prompt
from pytest_llmbench.core.errors import LLMBenchError
from pytest_llmbench.core.settings import ContextSettings, Settings

TOKENIZERS = {"bpe": ByteLevelBPETokenizer, "sentencepiece": SentencePieceUnigramTokenizer}


@functools.cache
def _learnt(name: str) -> Any:
    made: Any = TOKENIZERS[name]()
    corpus = [line for language in LANGUAGES for line in itertools.islice(filler_sentences(language, "corpus"), 400)]
    more = {"unk_token": "<unk>", "special_tokens": ["<unk>"]} if name == "sentencepiece" else {}
    made.train_from_iterator(corpus, vocab_size=600, show_progress=False, **more)
    return made


def counting(name: str) -> Callable[[str], Awaitable[int]]:
    tokenizer = _learnt(name)

    async def count(text: str) -> int:
        return len(tokenizer.encode(f"<|user|>\n{text}\n<|assistant|>").ids)

    return count


@pytest.mark.parametrize("name", TOKENIZERS)
def test_every_length_is_met_to_the_token(name: str) -> None:
    async def lengths() -> list[tuple[int, int]]:
        draw, made = random.Random(3), []
        for place, target in enumerate(draw.sample(range(350, 900), 12)):
            asked = needle(KINDS[place % 3], LANGUAGES[place % 2], draw.random(), str(place))
            made.append((target, (await exact_prompt(Draft(asked, str(place)), target, counting(name))).tokens))
        return made

    for target, tokens in asyncio.run(lengths()):
        assert tokens == target


def test_the_facts_stand_where_they_should_and_the_question_comes_last() -> None:
    asked = needle("distractors", "fr", 0.75, "a")
    prompt = asyncio.run(exact_prompt(Draft(asked, "seed"), 800, counting("bpe")))
    lines = prompt.text.split("\n")
    assert lines[-1] == asked.question
    assert lines.index(asked.facts[0][1]) / len(lines) == pytest.approx(0.75, abs=0.1)
    assert all(line in lines for _, line in asked.distractors)


def test_no_two_prompts_begin_alike() -> None:
    asked = needle("one", "en", 0.5, "a")
    beginnings = {Draft(asked, f"seed {number}").text(4)[:60] for number in range(200)}
    assert len(beginnings) == 200


def test_a_length_that_the_question_alone_does_not_fit_in_is_refused_with_the_least() -> None:
    asked = needle("several", "en", 0.5, "a")
    with pytest.raises(TooShortError, match=r"20 tokens are too few .* alone have \d+; ask for longer"):
        asyncio.run(exact_prompt(Draft(asked, "seed"), 20, counting("bpe")))


def test_where_a_count_is_never_met_the_nearest_prompt_is_told() -> None:
    async def even(text: str) -> int:
        return 2 * len(text.split())

    with pytest.raises(InexactError, match="no prompt of 501 tokens") as raised:
        asyncio.run(exact_prompt(Draft(needle("one", "en", 0.5, "a"), "seed"), 501, even))
    assert abs(raised.value.nearest.tokens - 501) == 1


def test_a_tokenizer_that_is_not_there_is_told_with_its_setting() -> None:
    with pytest.raises(LLMBenchError, match=r"context\.tokenizer: unknown model 'nope'") as caught:
        local_ways(Settings(context=ContextSettings(tokenizer="nope")))
    assert caught.value.names == ("context.tokenizer",)
