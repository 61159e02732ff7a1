"""What a model writes round its answer is told from the answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmbench.models.reasoning import BLOCKS, SplitAnswer, open_mark, split_reasoning


@pytest.mark.parametrize(
    ("text", "answer", "reasoning", "closed"),
    [
        ("Je monte le volume.", "Je monte le volume.", None, True),
        ("<think>\n\n</think>\n\nJe monte.", "Je monte.", None, True),
        ("<think>\nil veut du son\n</think>\n\nJe monte.", "Je monte.", "il veut du son", True),
        ("il veut du son\n</think>\n\nJe monte.", "Je monte.", "il veut du son", True),
        ("\n <think>sans fin", "", "sans fin", False),
        ("<think>a</think><think>b</think>c", "c", "a\n\nb", True),
        ("<think>a</think>\n<answer>c</answer>", "c", "a", True),
        ("<answer>c</answer>", "<answer>c</answer>", None, True),
        ("[THINK]a[/THINK]c", "c", "a", True),
        (
            "<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>c<|return|>",
            "c",
            "a",
            True,
        ),
        ("<|channel|>final<|message|>c", "c", None, True),
        ("<|channel|>final <|constrain|>json<|message|>{}<|return|>", "{}", None, True),
        (
            "<|channel|>commentary<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>c<|return|>",
            "c",
            "a",
            True,
        ),
        (
            "<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>commentary to=t.volume <|message|>{}",
            "t.volume {}",
            "a",
            True,
        ),
        (
            " to=functions.volume<|channel|>commentary <|constrain|>json<|message|>{}<|call|>",
            "functions.volume {}",
            None,
            True,
        ),
        ("<|channel>thought\na<channel|>c", "c", "a", True),
        (" to=self<|message|>a<|eom|><|start|>assistant to=user<|message|>c<|eot|>", "c", "a", True),
        (" to=user<|message|>c<|eot|>", "c", None, True),
        ("<|START_THINKING|>a<|END_THINKING|><|START_RESPONSE|>c<|END_RESPONSE|>", "c", "a", True),
        ("Bonjour <think>", "Bonjour <think>", None, True),
    ],
)
def test_the_answer_is_told_from_what_stands_round_it(
    text: str, answer: str, reasoning: str | None, *, closed: bool
) -> None:
    assert split_reasoning(text) == SplitAnswer(answer, reasoning, closed)


def test_a_block_that_the_prompt_opened_ends_at_its_mark_or_never() -> None:
    assert split_reasoning("je pense\n</think>\nOui.", opened="<think>") == SplitAnswer("Oui.", "je pense")
    assert split_reasoning("je pense", opened="<think>") == SplitAnswer("", "je pense", closed=False)


def test_only_a_prompt_that_ends_in_its_mark_leaves_a_block_open() -> None:
    assert open_mark("<|im_start|>assistant\n<think>\n") == "<think>"
    assert open_mark("<|im_start|>assistant\n<think>\n\n</think>\n\n") is None
    assert open_mark("que veut dire <think> ?<|im_end|>\n<|im_start|>assistant\n") is None


@given(st.sampled_from(BLOCKS), st.text("abc \n", max_size=20), st.text("xyz \n", min_size=1, max_size=20))
def test_every_family_is_parted_alike(marks: tuple[str, str], thought: str, answer: str) -> None:
    opening, closing = marks
    split = split_reasoning(f"{opening}{thought}{closing}{answer}")
    assert split == SplitAnswer(answer.strip(), thought.strip() or None)
    cut = split_reasoning(f"{opening}{thought}")
    assert cut.answer == ""
    assert not cut.closed
