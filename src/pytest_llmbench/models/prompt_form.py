"""How a variant's prompts are written, and how its answers are read back: one form for asking and for training."""

from __future__ import annotations

import bisect
import dataclasses
import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from pytest_llmbench.cases.tools import Tool
from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.models.call_forms import Call, marked_calls, parsed_calls, read_calls
from pytest_llmbench.models.reasoning import (
    TAGS,
    SplitAnswer,
    after_thought,
    begins_with_thought,
    open_mark,
    split_reasoning,
    thinks_within,
    without_empty_block,
)
from pytest_llmbench.models.system_role import fold_system
from pytest_llmbench.models.tokenizers import rules_hash, why_unreadable

Messages = Sequence[Mapping[str, str]]

_QUESTION, _ANSWER, _NEXT, _SYSTEM = "llmbench-un", "llmbench-deux", "llmbench-trois", "llmbench-quatre"
_WAYS_OUT: Mapping[str, str] = {
    "system": "; model.system_role: user puts the system prompt into the first user turn",
    "user": "; it is not made for messages of plain text, so take another base or change its template",
}
_THOUGHT_KEYS = ("reasoning_content", "thinking")  # of a message, where templates read what was thought
_TAIL = 16  # tokens in which an end that is written in words surely ends, after as many as it takes alone
_LONGEST_MARK = 48  # tokens that surely hold an opening mark and the white space after it, even where bytes are tokens


class PromptError(UsageError):
    """One prompt cannot be written; others can."""


class _Round(NamedTuple):
    """What the template writes round an answer: its beginning, after the prompt's end, and what follows it.

    `until_next` follows it where the user speaks again.
    """

    prompt: str
    before: str
    after: str
    until_next: str = ""


WRITTEN_ON = "written_on"
"""In a form's key: what its template writes today, where it writes the date."""


@dataclasses.dataclass(frozen=True)
class PromptForm:
    """A tokenizer, a chat template, and what goes into it.

    `origin` is `base`, or the path of the adapter that the form comes from; None where neither has a template, and each
    message is written on a line of its own. `arguments` are the template's (`enable_thinking`). With `system_role`
    "user", the system prompt opens the first user turn. `rows` are how many tokens the base has embeddings for, where
    that is known. `begins` are tokens before every text, which a template writes itself: where none does, a text is
    begun as the tokenizer begins it (in SentencePiece's manner, a word after a mark is another than one at the start).
    `tool_template` is the template for prompts with tools, where the tokenizer has one of its own for them.
    """

    tokenizer: Any
    template: str
    origin: str | None
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    system_role: Literal["system", "user"] = "system"
    rows: int | None = None
    begins: tuple[int, ...] = ()
    tool_template: str | None = None

    @property
    def whole_template(self) -> str:
        """The template for programs that put nothing before what it writes."""
        begins = self.tokenizer.convert_ids_to_tokens(list(self.begins)) if self.begins else ()
        return "".join(f"{{{{ {token!r} }}}}" for token in begins) + self.template

    def write(self, messages: Messages, *, answer_follows: bool, tools: Sequence[Tool] = ()) -> str:
        """The text of a conversation, with the beginning of the answer's turn where one follows.

        Raises:
            PromptError: the template refuses it; the message says why and what helps.
        """
        try:
            return self._rendered(messages, answer_follows=answer_follows, tools=tools)
        except _refusals() as error:
            told = f"the chat template refuses it: {error}"
            raise PromptError(told + self._way_out(messages, answer_follows=answer_follows)) from error

    def prompt(self, messages: Messages, tools: Sequence[Tool] = ()) -> list[int]:
        """The tokens of a conversation that is to be answered, with the tools that the template tells of.

        Raises:
            PromptError: as `write`, or the template leaves out what is said, or tokenizer or base cannot read the text.
        """
        for dropped in sorted(self._dropped & {message["role"] for message in messages}):
            raise PromptError(f"the chat template leaves out what the {dropped} says" + _WAYS_OUT.get(dropped, ""))
        return [*self.begins, *self._tokens(self.write(messages, answer_follows=True, tools=tools))]

    def leaves_out(self, messages: Messages, tools: Sequence[Tool]) -> bool:
        """Whether the template writes the same with and without the tools: the model is not told of them."""
        try:
            with_tools, without = (self._rendered(messages, answer_follows=True, tools=given) for given in (tools, ()))
        except _refusals():
            return False  # such a prompt is an error of its own
        return with_tools == without

    def calls(
        self, tokens: Sequence[int], prompt: Sequence[int] | None = None, tools: Sequence[Tool] = ()
    ) -> tuple[Call, ...]:
        """The tool calls in an answer: as the tokenizer's own response template reads them, or in models' known forms.

        Arguments as for `answer`.
        """
        marked: str = self.tokenizer.decode(tokens, skip_special_tokens=False)
        if getattr(self.tokenizer, "response_template", None) is not None:
            prefix = self.tokenizer.decode(list(prompt or ()), skip_special_tokens=False)
            if (found := parsed_calls(self.tokenizer, marked, prefix, tools)) is not None:
                return found
        said = split_reasoning(marked.strip(), opened=self._open_mark(prompt)).answer
        return marked_calls(said, tools) or read_calls(self.answer(tokens, prompt).answer, tools)

    def example(self, row: Mapping[str, Any]) -> tuple[list[int], list[int]]:
        """The tokens of a training row, and those of its prompt alone, with which they begin.

        Where the tokenizer would join the prompt's end with the answer's beginning, such as a line break, the two are
        kept apart: so they are when the prompt is asked.

        Raises:
            PromptError: as `prompt`, or the template writes the prompt differently when an answer follows.
        """
        before = self.write(row["prompt"], answer_follows=True)
        text = self._with_answer([*row["prompt"], *row["completion"]], before)
        prompt, whole = ([*self.begins, *self._tokens(written)] for written in (before, text))
        if whole[: len(prompt)] != prompt:
            apart = prompt + self._tokens(text[len(before) :])
            if not text.startswith(before) or self.tokenizer.decode(apart) != self.tokenizer.decode(whole):
                raise PromptError(_why_not_masked(open_mark(before), row["completion"][-1]["content"]))
            whole = apart
        self._check_learnt(row["completion"][-1]["content"], text[len(before) :], open_mark(before))
        return whole, prompt

    def _with_answer(self, said: Messages, before: str) -> str:
        """The text of a training row whose prompt is `before`.

        What is thought goes to the template apart, as it wants it, where the row as it stands would be read otherwise,
        or thinks in another block than the template's: tags of the row's own stay. Where the prompt closes an empty
        block that the template does not write before an answer, as Gemma 4's, the answer follows that.
        """
        text, answer = self.write(said, answer_follows=False), said[-1]["content"]
        if apart := _thought_apart(answer, self.template):
            other = self.write([*said[:-1], {**said[-1], **apart}], answer_follows=False)
            text = text if self._is_own_form(text, other, before, answer) else other
        bare = without_empty_block(before)
        if text.startswith(before) or not text.startswith(bare):
            return text
        if begins_with_thought(text[len(bare) :]):
            raise PromptError(_why_not_masked(None, answer))
        return before + text[len(bare) :]

    def _is_own_form(self, text: str, other: str, before: str, answer: str) -> bool:
        """Whether a row's answer is learnt as written in `text`, rather than in `other`, where its thought is apart."""
        opened, meant = open_mark(before), _words(split_reasoning(answer))
        learnt, apart = (_until(one[len(before) :], self._end_marks) for one in (text, other))
        if not other.startswith(before) or _words(split_reasoning(apart, opened=opened)) != meant:
            return True
        if not text.startswith(before) or _words(split_reasoning(learnt, opened=opened)) != meant:
            return False
        same_block = thinks_within(learnt, opened=opened) == thinks_within(apart, opened=opened)
        return same_block or thinks_within(answer) in TAGS

    def answer(self, tokens: Sequence[int], prompt: Sequence[int] | None = None) -> SplitAnswer:
        """What the tokens of an answer say, without what template and model put round it.

        Args:
            tokens: of the answer.
            prompt: the tokens that were answered, which may leave a block open to think in; by default those of a
                question alone.
        """
        plain: str = self.tokenizer.decode(tokens, skip_special_tokens=True)
        marked: str = self.tokenizer.decode(tokens, skip_special_tokens=False)
        if self._end_text:
            plain, marked = plain.partition(self._end_text)[0], marked.partition(self._end_text)[0]
        marked, opened = marked.strip(), self._open_mark(prompt)
        bare = marked if opened else marked.removeprefix(self._round.before.strip())  # which may close what is open
        split = split_reasoning(bare, opened=opened)
        if split == SplitAnswer(marked):
            return SplitAnswer(plain.strip())
        return SplitAnswer(self.unmarked(split.answer), self.unmarked(split.reasoning or "") or None, split.closed)

    def unmarked(self, text: str) -> str:
        """The text without special tokens, as decoding leaves them out."""
        special = [str(token) for token in self.tokenizer.added_tokens_decoder.values() if token.special]
        return re.sub("|".join(map(re.escape, special)), "", text).strip() if special else text

    def thought_tokens(self, tokens: Sequence[int], prompt: Sequence[int] | None = None) -> int | None:
        """How many of an answer's tokens were spent on thinking; None while it goes on."""
        split = self.answer(tokens, prompt)
        if not split.closed:
            return None
        if split.reasoning is None:
            return 0

        def has_thought(end: int) -> bool:
            so_far = self.answer(tokens[:end], prompt)
            return so_far.closed and so_far.reasoning is not None

        return bisect.bisect_left(range(1, len(tokens)), x=True, key=has_thought) + 1

    def ended(self, tokens: Sequence[int]) -> bool:
        """Whether the text that closes a turn has come, where no single token closes it."""
        return bool(self._end_text) and self._end_text in self.tokenizer.decode(tokens[-self._end_tail :])

    @functools.cached_property
    def end_tokens(self) -> frozenset[int]:
        """The tokens that end an answer: the tokenizer's end of text, and what the template writes right after one.

        Where it writes nothing after the last answer, that is what it writes before the user speaks again.
        """
        after = self._turn_end or self._round.until_next.strip()
        written = [] if self._end_text else self._tokens(after)[:1]
        marks = (token for token in written if token in self.tokenizer.added_tokens_decoder)
        return frozenset(token for token in (self.tokenizer.eos_token_id, *marks) if token is not None)

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
            "begins": str(self.begins),
            **({"tool_template": self.tool_template} if self.tool_template else {}),
            **({WRITTEN_ON: self._round.prompt} if "strftime_now" in self.template else {}),  # the date stands in it
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
        own = before.removeprefix(prompt) if before.startswith(prompt) else ""
        return _Round(prompt, own, after, self._until_next(question))

    def _until_next(self, question: Messages) -> str:
        talk = [*question, {"role": "assistant", "content": _ANSWER}, {"role": "user", "content": _NEXT}]
        try:
            whole = self._rendered(talk, answer_follows=False)
        except _refusals():
            return ""
        between, found, _ = whole.partition(_ANSWER)[2].partition(_NEXT)
        return between if found else ""

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
    def _dropped(self) -> frozenset[str]:
        """The roles whose words the template leaves out without refusing them."""
        said = {"system": _SYSTEM, "user": _QUESTION, "assistant": _ANSWER}
        dropped: set[str] = set()
        for roles in (("user",), ("system", "user"), ("user", "assistant", "user")):
            try:
                text = self._rendered([{"role": role, "content": said[role]} for role in roles], answer_follows=True)
            except _refusals():
                continue
            dropped |= {role for role in roles if said[role] not in text}
        return frozenset(dropped)

    @functools.cached_property
    def _end_tail(self) -> int:
        return len(self._tokens(self._end_text)) + _TAIL

    @functools.cached_property
    def _end_marks(self) -> tuple[str, ...]:
        """All that ends an answer, as it is written."""
        return (*filter(None, [self._end_text]), *self.tokenizer.convert_ids_to_tokens(sorted(self.end_tokens)))

    @functools.cached_property
    def _opened(self) -> str | None:
        return open_mark(self._round.prompt)

    def _open_mark(self, prompt: Sequence[int] | None) -> str | None:
        """The mark of the block that this prompt leaves open: templates may look at what was said in it."""
        return self._opened if prompt is None else open_mark(self.tokenizer.decode(prompt[-_LONGEST_MARK:]))

    def _check_learnt(self, answer: str, written: str, opened: str | None) -> None:
        """Raise PromptError unless what the template makes of a row's answer is read as that answer."""
        said = answer.rstrip()
        while ending := next((mark for mark in self._end_marks if said.endswith(mark)), ""):
            said = said.removesuffix(ending).rstrip()  # many datasets write the end themselves: twice does no harm
        if mark := next((mark for mark in self._end_marks if mark in said), None):
            raise PromptError(
                f"the answer holds {mark!r}, which ends an answer: what follows it would never be said; leave it out"
            )
        if answer.strip() in written:
            return
        meant, learnt = split_reasoning(answer), split_reasoning(_until(written, self._end_marks), opened=opened)
        if _words(meant) == _words(learnt):
            return
        if meant.reasoning and not learnt.reasoning and _words(meant)[0] == _words(learnt)[0]:
            raise PromptError(
                "the base's chat template leaves out what is thought before the answer: it would not be learnt; take "
                "it out of the row, or have the template write it"
            )
        raise PromptError(
            f"the base's chat template changes the answer: {answer!r:.80} would be learnt as {written!r:.80}; change "
            "the row or the template"
        )

    def _rendered(self, messages: Messages, *, answer_follows: bool, tools: Sequence[Tool] = ()) -> str:
        folded = fold_system(messages) if self.system_role == "user" else messages
        return str(
            self.tokenizer.apply_chat_template(
                [dict(message) for message in folded],
                chat_template=(self.tool_template if tools else None) or self.template,
                add_generation_prompt=answer_follows,
                tokenize=False,
                **({"tools": [dict(tool) for tool in tools]} if tools else {}),
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
        return _WAYS_OUT["system"]

    def _tokens(self, text: str) -> list[int]:
        try:
            tokens = list(self.tokenizer(text, add_special_tokens=False)["input_ids"])
        except (TypeError, ValueError) as error:
            raise PromptError(f"the tokenizer cannot read its text: {error}") from error
        if unreadable := why_unreadable(self.tokenizer, tokens, self.rows):
            raise PromptError(unreadable)
        return tokens


def _thought_apart(answer: str, template: str) -> Mapping[str, str]:
    """An answer, and what is thought before it under the keys that the template reads it from; empty where none is."""
    keys = [key for key in _THOUGHT_KEYS if re.search(rf"\b{key}\b", template)]
    meant = split_reasoning(answer)
    if not (keys and meant.reasoning and meant.closed):
        return {}
    return {"content": after_thought(answer), **dict.fromkeys(keys, meant.reasoning)}


def _why_not_masked(opened: str | None, answer: str) -> str:
    told = (
        "the base's chat template writes the prompt differently when an answer follows, so the loss cannot be kept to "
        "the answer; "
    )
    if opened:
        told += (
            f"its prompts end in {opened!r}, which it does not write before this answer: switch thinking off "
            "(model.template_arguments), or "
        )
    elif split_reasoning(answer).reasoning:
        told += (
            "the answer thinks first, which these prompts leave no room for: switch thinking on "
            "(model.template_arguments), take the thought out of the row, or "
        )
    return told + "take another base or change its template"


def _until(text: str, marks: Iterable[str]) -> str:
    return text[: min((text.find(mark) for mark in marks if mark in text), default=len(text))]


def _words(split: SplitAnswer) -> tuple[list[str], list[str]]:
    return split.answer.split(), (split.reasoning or "").split()


def _refusals() -> tuple[type[Exception], ...]:
    """What is raised while a prompt is written: templates run Python's operators on whatever they are given."""
    from jinja2 import TemplateError

    return (TemplateError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError)
