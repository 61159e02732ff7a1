"""What a model writes round its answer: the block it thinks in first, and the marks of the answer itself."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

BLOCKS: Sequence[tuple[str, str]] = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("[THINK]", "[/THINK]"),
    ("<seed:think>", "</seed:think>"),
    ("<longcat_think>", "</longcat_think>"),
    ("◁think▷", "◁/think▷"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|inner_prefix|>", "<|inner_suffix|>"),
    ("<|channel>thought\n", "<channel|>"),
    ("<unused94>thought\n", "<unused95>"),
    ("<|channel|>analysis<|message|>", "<|end|>"),
    ("<|channel|>commentary<|message|>", "<|end|>"),
)
"""How model families open and close their thinking: Qwen3, DeepSeek R1, GLM, Granite; plain tags; EXAONE; plain tags;
Magistral; Seed-OSS; LongCat; Kimi; Command A; OpenThoughts; Apertus; Gemma 4; MedGemma; gpt-oss (harmony), which also
says in a channel of its own what it is about to do."""

_EMPTY_BLOCK = re.compile(
    "(?:" + "|".join(rf"{re.escape(one.rstrip())}\s*{re.escape(other)}" for one, other in BLOCKS) + r")\s*\Z"
)

OPENED_IN_PROMPTS: tuple[str, ...] = ("</think>", "[/THINK]", "</seed:think>", "</longcat_think>", "◁/think▷")
"""Closing marks that end a block even where none was seen to begin: these families' templates open it in the prompt."""

TAGS = frozenset({"</thinking>", "</thought>", "</reasoning>"})
"""Closing marks of the plain tags that answers are asked for in; those of a family are its own way to think."""

WRAPPERS: Mapping[str, str] = {
    "<|start|>assistant": "",
    "<|channel|>final<|message|>": "<|return|>",
    "<|START_RESPONSE|>": "<|END_RESPONSE|>",
    "<|START_TEXT|>": "<|END_TEXT|>",
    "<|begin_of_solution|>": "<|end_of_solution|>",
}
"""Marks round the answer itself; they are no part of it."""

_WRAPPERS_AFTER_THINKING: Mapping[str, str] = {"<answer>": "</answer>", "<response>": "</response>"}
"""Without thinking before them these may be the very form that was asked for."""


_START = re.compile(r"\A<\|start\|>assistant(?=<\|channel\|>)")

_HEADER = re.compile(
    r"\s*(?:<\|start\|>assistant)?\s*(?:to=(?P<early>[^\s<]+))?\s*<\|channel\|>(?P<channel>\w+)"
    r"\s*(?:to=(?P<late>[^\s<]+))?\s*(?:<\|constrain\|>)?\w*\s*<\|message\|>"
)
"""What gpt-oss (harmony) writes before each of its messages: the channel, who is called, in which form."""

_RECIPIENTS = re.compile(r"\s*to=(?:self|user)<\|message\|>")
_TOLD = "<|eom|>"
_TO_SELF = re.compile(
    rf"(?:<\|start\|>assistant)?\s*to=self<\|message\|>(?P<said>.*?)(?P<end>{re.escape(_TOLD)}|\Z)", re.DOTALL
)
_TO_USER = re.compile(r"(?:<\|start\|>assistant)?\s*to=user<\|message\|>(?P<said>.*?)(?:<\|eot\|>|\Z)", re.DOTALL)


class SplitAnswer(NamedTuple):
    """`answer` is what the user is shown, `reasoning` what was thought before it, None where nothing was thought.

    `closed` is False where the text ends inside the thinking: the answer was never begun.
    """

    answer: str
    reasoning: str | None = None
    closed: bool = True


def split_reasoning(text: str, *, opened: str | None = None) -> SplitAnswer:
    """Part a model's raw text, marks included, into its thinking and its answer, both stripped.

    Args:
        text: what the model wrote. Special tokens must still be in it: some families' marks are such.
        opened: the mark with which the prompt itself opened a block, as the templates of DeepSeek R1 and
            Qwen3-Thinking do.

    A closing mark without an opening one ends a block that the prompt has opened (servers do not show their prompt).
    """
    blocks, rest = _blocks(text, opened)
    reasoning = "\n\n".join(block.thought for block in blocks if block.thought) or None
    if rest is None:
        return SplitAnswer("", reasoning, closed=False)
    return SplitAnswer(_unwrapped(rest.strip(), reasoned=bool(blocks)), reasoning)


def after_thought(text: str) -> str:
    """What a model's raw text says after its thinking, as it is written but for the line breaks that part the two."""
    return _unwrapped((_blocks(text)[1] or "").lstrip("\r\n"), reasoned=False)


def thinks_within(text: str, *, opened: str | None = None) -> str | None:
    """The closing mark of the block that a text begins with; None where there is none or nothing is thought in it.

    Arguments as for `split_reasoning`.
    """
    if (told := _TO_SELF.match(text.lstrip())) and told["said"].strip():
        return _TOLD  # it is read within plain tags, which are not its own
    blocks, _ = _blocks(text, opened)
    return blocks[0].closing if blocks and blocks[0].thought else None


def open_mark(prompt: str) -> str | None:
    """The mark of the block that a prompt leaves open for the model to think in; None when it leaves none."""
    for opening, closing in BLOCKS:
        start = prompt.rfind(opening)
        if start >= 0 and not prompt[start + len(opening) :].strip() and prompt.rfind(closing) < start:
            return opening
    return None


def without_empty_block(prompt: str) -> str:
    """A prompt without the closed block that it ends in and in which nothing is thought, where it does."""
    return _EMPTY_BLOCK.sub("", prompt)


def begins_with_thought(text: str) -> bool:
    """Whether a text begins with a block to think in, or ends one that it did not begin."""
    return bool(_blocks(text)[0])


class _Block(NamedTuple):
    """What is thought before one closing mark, and what follows it, None where the mark is missing."""

    closing: str
    thought: str
    after: str | None


def _blocks(text: str, opened: str | None = None) -> tuple[list[_Block], str | None]:
    """The blocks that a text begins with, and what follows them; None where the last is not closed."""
    blocks: list[_Block] = []
    rest: str | None = f"{opened or ''}{_plain_headers(_plain_recipients(text)).lstrip()}"
    while rest is not None and (block := _block(rest.lstrip())) is not None:
        blocks.append(block)
        rest = block.after
    return blocks, rest


def _block(text: str) -> _Block | None:
    """The first block of the text; None when there is no thought."""
    text = _START.sub("", text)
    for opening, closing in BLOCKS:
        begins = text.startswith(opening.rstrip())
        end = text.find(closing)
        if end >= 0 and (begins or closing in OPENED_IN_PROMPTS):
            thought = text[:end].replace(opening.rstrip(), "", 1)
            return _Block(closing, thought.strip(), text[end + len(closing) :])
        if begins:
            return _Block(closing, text.removeprefix(opening.rstrip()).strip(), None)
    return None


def _plain_recipients(text: str) -> str:
    """Muse's messages, each of which is to somebody: what it says to itself within plain tags, the answer alone."""
    if not _RECIPIENTS.match(text):
        return text
    tagged = _TO_SELF.sub(lambda told: f"<think>{told['said']}{'</think>' if told['end'] else ''}", text)
    return _TO_USER.sub(lambda told: told["said"], tagged)


def _plain_headers(text: str) -> str:
    """Harmony's messages with headers of a channel alone; a call's recipient begins its text, which is an answer."""
    if not _HEADER.match(text):
        return text

    def plain(header: re.Match[str]) -> str:
        tool = header["early"] or header["late"]
        return f"<|channel|>{'final' if tool else header['channel']}<|message|>{f'{tool} ' if tool else ''}"

    return _HEADER.sub(plain, text.replace("<|call|>", "<|return|>"))


def _unwrapped(text: str, *, reasoned: bool) -> str:
    for opening, closing in (*WRAPPERS.items(), *(_WRAPPERS_AFTER_THINKING.items() if reasoned else ())):
        if text.startswith(opening):
            text = text.removeprefix(opening).strip().removesuffix(closing).strip()
    return text
