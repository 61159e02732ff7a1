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
_TO_SELF = re.compile(r"(?:<\|start\|>assistant)?\s*to=self<\|message\|>(?P<said>.*?)(?P<end><\|eom\|>|\Z)", re.DOTALL)
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
    thoughts: list[str] = []
    rest = _plain_headers(_plain_recipients(text)).strip()
    if opened is not None:
        rest = f"{opened}{rest}"
    while (found := _block(rest)) is not None:
        thought, after = found
        thoughts.append(thought)
        if after is None:
            return SplitAnswer("", _joined(thoughts), closed=False)
        rest = after.strip()
    return SplitAnswer(_unwrapped(rest, reasoned=bool(thoughts)), _joined(thoughts))


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
    """Whether a text begins with the mark of a block to think in."""
    return any(text.lstrip().startswith(opening.rstrip()) for opening, _ in BLOCKS)


def _block(text: str) -> tuple[str, str | None] | None:
    """The first thought of the text and what follows it, None where that is missing; None when there is no thought."""
    text = _START.sub("", text)
    for opening, closing in BLOCKS:
        begins = text.startswith(opening.rstrip())
        end = text.find(closing)
        if end >= 0 and (begins or closing in OPENED_IN_PROMPTS):
            thought = text[:end].replace(opening.rstrip(), "", 1)
            return thought.strip(), text[end + len(closing) :]
        if begins:
            return text.removeprefix(opening.rstrip()).strip(), None
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


def _joined(thoughts: Sequence[str]) -> str | None:
    return "\n\n".join(filter(None, thoughts)) or None
