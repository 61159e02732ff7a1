"""How a variant's prompts are written, and how its answers are read back: one form for asking and for training."""

from __future__ import annotations

import bisect
import dataclasses
import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from pytest_llmbench.errors import UsageError
from pytest_llmbench.models.reasoning import Split, open_mark, split_reasoning
from pytest_llmbench.models.system_role import fold_system
from pytest_llmbench.models.tokenizers import rules_hash, why_unreadable

Messages = Sequence[Mapping[str, str]]

_QUESTION, _ANSWER = "llmbench-un", "llmbench-deux"
_TAIL = 16  # tokens that surely hold the text that closes a turn


class PromptError(UsageError):
    """One prompt cannot be written; others can."""


class _Round(NamedTuple):
    """What the template writes round an answer: its beginning, after the prompt's end, and what follows it."""

    prompt: str
    before: str
    after: str


@dataclasses.dataclass(frozen=True)
class PromptForm:
    """A tokenizer, a chat template, and what goes into it.

    `origin` is `base`, or the path of the adapter that the form comes from; None where neither has a template, and each
    message is written on a line of its own. `arguments` are the template's (`enable_thinking`). With `system_role`
    "user", the system prompt opens the first user turn. `rows` are how many tokens the base has embeddings for, where
    that is known.
    """

    tokenizer: Any
    template: str
    origin: str | None
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    system_role: Literal["system", "user"] = "system"
    rows: int | None = None

    def write(self, messages: Messages, *, answer_follows: bool) -> str:
        """The text of a conversation, with the beginning of the answer's turn where one follows.

        Raises:
            PromptError: the template refuses it; the message says why and what helps.
        """
        try:
            return self._rendered(messages, answer_follows=answer_follows)
        except _refusals() as error:
            told = f"the chat template refuses it: {error}"
            raise PromptError(told + self._way_out(messages, answer_follows=answer_follows)) from error

    def prompt(self, messages: Messages) -> list[int]:
        """The tokens of a conversation that is to be answered.

        Raises:
            PromptError: as `write`, or tokenizer or base cannot read the text.
        """
        return self._tokens(self.write(messages, answer_follows=True))

    def example(self, row: Mapping[str, Any]) -> tuple[list[int], list[int]]:
        """The tokens of a training row, and those of its prompt alone, with which they begin.

        Where the tokenizer would join the prompt's end with the answer's beginning, such as a line break, the two are
        kept apart: so they are when the prompt is asked.

        Raises:
            PromptError: as `prompt`, or the template writes the prompt differently when an answer follows.
        """
        before = self.write(row["prompt"], answer_follows=True)
        text = self.write([*row["prompt"], *row["completion"]], answer_follows=False)
        prompt, whole = self._tokens(before), self._tokens(text)
        if whole[: len(prompt)] == prompt:
            return whole, prompt
        if text.startswith(before):
            apart = prompt + self._tokens(text[len(before) :])
            if self.tokenizer.decode(apart) == self.tokenizer.decode(whole):
                return apart, prompt
        raise PromptError(
            "the base's chat template writes the prompt differently when an answer follows, so the loss cannot be kept "
            "to the answer; take another base or change its template"
        )

    def answer(self, tokens: Sequence[int]) -> Split:
        """What the tokens of an answer say, without what template and model put round it."""
        plain: str = self.tokenizer.decode(tokens, skip_special_tokens=True)
        marked: str = self.tokenizer.decode(tokens, skip_special_tokens=False)
        if self._end_text:
            plain, marked = plain.partition(self._end_text)[0], marked.partition(self._end_text)[0]
        marked = marked.strip()
        split = split_reasoning(marked.removeprefix(self._round.before.strip()), opened=self._opened)
        if split == Split(marked):
            return Split(plain.strip())
        return Split(self._unmarked(split.answer), self._unmarked(split.reasoning or "") or None, split.closed)

    def thought_tokens(self, tokens: Sequence[int]) -> int | None:
        """How many of an answer's tokens were spent on thinking; None while it goes on."""
        split = self.answer(tokens)
        if not split.closed:
            return None
        if split.reasoning is None:
            return 0
        return bisect.bisect_left(range(1, len(tokens)), x=True, key=lambda end: self._has_thought(tokens[:end])) + 1

    def ended(self, tokens: Sequence[int]) -> bool:
        """Whether the text that closes a turn has come, where no single token closes it."""
        return bool(self._end_text) and self._end_text in self.tokenizer.decode(tokens[-_TAIL:])

    @functools.cached_property
    def end_tokens(self) -> frozenset[int]:
        """The tokens that end an answer: the tokenizer's end of text, and what the template writes right after one."""
        written = () if self._end_text else self._tokens(self._turn_end)[:1]
        return frozenset(token for token in (self.tokenizer.eos_token_id, *written) if token is not None)

    @property
    def writes_an_end(self) -> bool:
        """Whether the template writes anything after an answer, so that a training learns to end."""
        return bool(self._turn_end)

    @functools.cached_property
    def key(self) -> Mapping[str, str]:
        """What must be equal for two forms to write the same prompts and read the same answers."""
        return {
            "tokenizer": rules_hash(self.tokenizer),
            "template": self.template,
            "template_arguments": str(sorted(self.arguments.items())),
            "system_role": self.system_role,
        }

    @functools.cached_property
    def _round(self) -> _Round:
        question = [{"role": "user", "content": _QUESTION}]
        try:
            prompt = self._rendered(question, answer_follows=True)
            whole = self._rendered([*question, {"role": "assistant", "content": _ANSWER}], answer_follows=False)
        except _refusals():
            return _Round("", "", "")
        before, found, after = whole.partition(_ANSWER)
        if not found:
            return _Round(prompt, "", "")
        return _Round(prompt, before.removeprefix(prompt) if before.startswith(prompt) else "", after)

    @property
    def _turn_end(self) -> str:
        return self._round.after.strip()

    @functools.cached_property
    def _end_text(self) -> str:
        """The end of a turn that is written in ordinary words; empty where a token closes it."""
        first = self._tokens(self._turn_end)[:1]
        closed_by_token = not first or first[0] in self.tokenizer.added_tokens_decoder
        return "" if closed_by_token else self._turn_end.splitlines()[0]

    @functools.cached_property
    def _opened(self) -> str | None:
        return open_mark(self._round.prompt)

    def _rendered(self, messages: Messages, *, answer_follows: bool) -> str:
        folded = fold_system(messages) if self.system_role == "user" else messages
        return str(
            self.tokenizer.apply_chat_template(
                [dict(message) for message in folded],
                chat_template=self.template,
                add_generation_prompt=answer_follows,
                tokenize=False,
                **self.arguments,
            )
        )

    def _way_out(self, messages: Messages, *, answer_follows: bool) -> str:
        """What to do where it is the system role that the template refuses."""
        if self.system_role == "user" or not any(message["role"] == "system" for message in messages):
            return ""
        try:
            self._rendered(fold_system(messages), answer_follows=answer_follows)
        except _refusals():
            return ""
        return "; model.system_role: user puts the system prompt into the first user turn"

    def _tokens(self, text: str) -> list[int]:
        try:
            tokens = list(self.tokenizer(text, add_special_tokens=False)["input_ids"])
        except (TypeError, ValueError) as error:
            raise PromptError(f"the tokenizer cannot read its text: {error}") from error
        if unreadable := why_unreadable(self.tokenizer, tokens, self.rows):
            raise PromptError(unreadable)
        return tokens

    def _has_thought(self, tokens: Sequence[int]) -> bool:
        split = self.answer(tokens)
        return split.closed and split.reasoning is not None

    def _unmarked(self, text: str) -> str:
        """The text without special tokens, as decoding leaves them out."""
        special = [str(token) for token in self.tokenizer.added_tokens_decoder.values() if token.special]
        return re.sub("|".join(map(re.escape, special)), "", text).strip() if special else text


def _refusals() -> tuple[type[Exception], ...]:
    """What is raised while a prompt is written: templates run Python's operators on whatever they are given."""
    from jinja2 import TemplateError

    return (TemplateError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError)
