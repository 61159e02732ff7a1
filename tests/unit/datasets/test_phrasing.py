from __future__ import annotations

import random
import re

from hypothesis import given
from hypothesis import strategies as st

from pytest_llmbench.datasets.near_duplicates import bare
from pytest_llmbench.datasets.phrasing import Noise, misspell

NOISE = Noise({"fait": ["fé"]}, [(re.compile("qu"), "k"), (re.compile(r"e\b"), "")])


@given(st.text(), st.integers())
def test_any_text_can_be_misspelt_and_the_same_seed_misspells_it_alike(text: str, seed: int) -> None:
    assert misspell(text, NOISE, random.Random(seed)) == misspell(text, NOISE, random.Random(seed))


@given(st.integers())
def test_misspelling_keeps_the_number_of_words(seed: int) -> None:
    assert len(misspell("quel temps fait il dehors", NOISE, random.Random(seed)).split()) == 5


@given(st.text())
def test_bare_text_is_as_bare_as_it_gets(text: str) -> None:
    assert bare(bare(text)) == bare(text)
    assert bare(text.upper()) == bare(text.lower()) or not text.isascii()
