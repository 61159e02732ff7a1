from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmbench.generation.client.visible_text import VisibleText
from pytest_llmbench.models.reasoning import BLOCKS, split_reasoning


def shown(pieces: list[str]) -> str:
    """What is visible in the end: what was shown since it last began."""
    visible, text, content = VisibleText(), "", ""
    for piece in pieces:
        content += piece
        had_begun = visible.begun
        told = visible.add(piece, content)
        text = text + told if had_begun and visible.begun and told == piece else told
    return text


@pytest.mark.parametrize(("opening", "closing"), BLOCKS)
@given(cuts=st.sets(st.integers(1, 60)))
def test_a_block_is_hidden_however_its_text_is_cut(opening: str, closing: str, cuts: set[int]) -> None:
    whole = f"{opening}hm, let me think{closing}\n\noui, monsieur"
    edges = [0, *sorted(cut for cut in cuts if cut < len(whole)), len(whole)]
    pieces = [whole[start:end] for start, end in itertools.pairwise(edges)]
    assert shown(pieces) == split_reasoning(whole).answer == "oui, monsieur"


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        (["<b>", "oui"], "<b>oui"),
        (["  ", "oui"], "oui"),
        (["<think>hm"], ""),
        (["<think></think>", "<think>hm</think>", "oui"], "oui"),
        (["hm</thi", "nk>ou", "i"], "oui"),
        (["hm</think>oui"], "oui"),
        (["oui <think> non"], "oui <think> non"),
        (["<|start|>assistant", "<|channel|>final<|message|>", "oui"], "oui"),
    ],
)
def test_what_is_no_thought_is_visible(pieces: list[str], text: str) -> None:
    assert shown(pieces) == text
