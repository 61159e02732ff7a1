"""What each variant is asked, as tokens, and what its tokens said: one reading of cases for every engine here."""

from __future__ import annotations

import datetime
import functools
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_llmbench.cases.suites import Case
from pytest_llmbench.cases.tools import Tool, name_of
from pytest_llmbench.core.locale import N_
from pytest_llmbench.core.records import BASE, Completion
from pytest_llmbench.generation.rows import Limits, Row, TextPieces
from pytest_llmbench.generation.sampling import noise_key
from pytest_llmbench.models.prompt_form import PromptError, PromptForm

if TYPE_CHECKING:
    from pytest_llmbench.core.settings import GenerationSettings

_NO_TOOLS = N_(
    "the chat template writes no tools: the prompt is the same with and without them; take a base or an adapter whose "
    "template knows tools"
)


UNPLANNED = 4096
"""Tokens of context for an engine that reserves them, where cases are not known beforehand, as in `llmbench query`."""

_LEAST = 512
_REMEMBERED = 16_384
"""Prompts whose tokens are kept: those of a batch are asked for again and again, those of a large run fill memory."""


class _Known(NamedTuple):
    """A prompt, and what it says: every question of a conversation, and cases of a user's own, may have one name."""

    messages: Sequence[Mapping[str, str]]
    tools: Sequence[Tool]
    prompt: list[int] | PromptError


class Prompts:
    """The prompts of a session's cases, by variant.

    Args:
        forms: how each variant's prompts are written.
        settings: how long answers may be, and what becomes of a prompt that is too long.
        context: the tokens that prompt and answer together may have.
        model_ends: the tokens that end an answer whoever gives it.
    """

    def __init__(
        self,
        forms: Mapping[str, PromptForm],
        settings: GenerationSettings,
        context: int,
        model_ends: frozenset[int] = frozenset(),
    ) -> None:
        self.forms, self.context = forms, context
        self.most_tokens = settings.max_new_tokens + settings.max_reasoning_tokens
        self._settings, self._model_ends = settings, model_ends
        self._limit, self._opened = context - self.most_tokens, context
        self._known: OrderedDict[tuple[str, int], _Known] = OrderedDict()
        self._left_out: dict[tuple[Any, ...], bool] = {}

    def weight(self, case: Case) -> int:
        """The prompt's length in tokens, of the variant that reads the longest; 0 where none can be written."""
        prompts = [self._whole(case, variant) for variant in self.forms]
        return max(0 if isinstance(prompt, PromptError) else len(prompt) for prompt in prompts)

    def needed_context(self, cases: Sequence[Case]) -> int:
        """Tokens of the longest prompt with its answer, as far as the context goes; all of it without cases.

        Never so few that the first question to every adapter would not fit.
        """
        longest = max(map(self.weight, cases), default=self.context)
        return min(max(longest + self.most_tokens, _LEAST), self.context)

    def opened_with(self, context: int) -> None:
        """From now on refuse what does not fit into the context that the engine was opened with."""
        self._opened = context

    def is_readable(self, case: Case, variant: str = BASE) -> bool:
        """Whether the prompt can be written for the variant."""
        return not isinstance(self._whole(case, variant), PromptError)

    def tokens(self, case: Case, variant: str = BASE) -> list[int]:
        """The prompt, without its beginning where it is too long: the end holds the question.

        Raises:
            PromptError: it cannot be written.
        """
        return self._written(case, variant)[-self._limit :]

    def askable(self, asked: Sequence[tuple[Case, str]]) -> tuple[list[tuple[Case, str]], list[Completion]]:
        """What can be asked, and the failed answers of what cannot: prompts that are refused or too long."""
        fitting, refused = [], []
        for case, variant in asked:
            if why := self.why_not(case, variant):
                refused.append(self.refused(case, variant, why))
            else:
                fitting.append((case, variant))
        return fitting, refused

    def why_not(self, case: Case, variant: str) -> str | None:
        """Why the case cannot be asked; None when it can."""
        prompt = self._whole(case, variant)
        if isinstance(prompt, PromptError):
            return f"{case.source}: the prompt of {case.name} cannot be written for {variant}: {prompt}"
        told = (
            f"{case.source}: the prompt of {case.name} has {len(prompt)} tokens, and {self.most_tokens} more are to be "
            "generated, but "
        )
        if len(prompt) > self._limit and (self._settings.long_prompt != "truncate" or self._limit <= 0):
            return (
                f"{told}the model holds {self.context}; shorten it, lower generation.max_new_tokens, or allow "
                "generation.long_prompt: truncate"
            )
        if min(len(prompt), self._limit) + self.most_tokens > self._opened:
            return (
                f"{told}the engine was opened for {self._opened}, as many as the planned cases need; shorten it, lower "
                "generation.max_new_tokens, or write it as a case of a suite"
            )
        return None

    def refused(self, case: Case, variant: str, why: str) -> Completion:
        """The failed answer to a case that cannot be asked."""
        prompt = self._whole(case, variant)
        tokens = None if isinstance(prompt, PromptError) else len(prompt)
        return Completion(
            case.name, case.epoch, variant, "", "error", prompt_tokens=tokens, error=why, timestamp=_now()
        )

    def rows(self, asked: Sequence[tuple[Case, str]]) -> list[Row]:
        """An empty answer to each case, with its prompt and the key of its noise.

        Raises:
            PromptError: a prompt cannot be written.
        """
        seed = self._settings.seed
        return [
            Row(index, self.tokens(case, variant), noise_key(seed, case.name, case.epoch))
            for index, (case, variant) in enumerate(asked)
        ]

    def limits(self, variant: str) -> Limits:
        """When the variant's answers end."""
        form, settings = self.forms[variant], self._settings
        return Limits(
            self.ends(variant),
            settings.max_new_tokens,
            settings.timeout,
            form.ended,
            settings.max_reasoning_tokens,
            form.thought_tokens,
        )

    def ends(self, variant: str) -> frozenset[int]:
        """The tokens that end the variant's answers."""
        return self._model_ends | self.forms[variant].end_tokens

    def completion(self, case: Case, variant: str, row: Row, batch_size: int) -> Completion:
        """A finished row as an answer is read: its text, what was thought before it, its calls."""
        form = self.forms[variant]
        said = form.answer(row.tokens, row.prompt)
        return Completion(
            case.name,
            case.epoch,
            variant,
            said.answer,
            row.finish or "error",
            prompt_tokens=len(row.prompt),
            completion_tokens=row.made,
            latency_s=row.latency_s,
            first_token_s=row.first_token_s,
            batch_size=batch_size,
            prompt_truncated=len(row.prompt) < len(self._written(case, variant)),
            timestamp=_now(),
            reasoning=said.reasoning,
            tool_calls=form.calls(row.tokens, row.prompt, case.tools) if case.tools else None,
            tools_left_out=self.tools_left_out(case, variant),
        )

    def pieces(self, case: Case, variant: str, told: Callable[[str], None]) -> TextPieces:
        """Hands on the text of the variant's answer as it grows."""
        form, prompt = self.forms[variant], self.tokens(case, variant)
        return TextPieces(lambda tokens: form.answer(tokens, prompt).answer, told)

    def tools_left_out(self, case: Case, variant: str) -> str | None:
        """Why the variant is not told of the case's tools; None where it is, or where there are none."""
        if not case.tools:
            return None
        form = self.forms[variant]
        key = id(form), *(message["role"] for message in case.messages), *map(name_of, case.tools)
        if key not in self._left_out:
            self._left_out[key] = form.leaves_out(case.messages, case.tools)
        return _NO_TOOLS if self._left_out[key] else None

    def unmarked(self, text: str) -> str:
        """A text as an answer is read: without any variant's special tokens."""
        return functools.reduce(lambda said, form: form.unmarked(said), self.forms.values(), text)

    def _whole(self, case: Case, variant: str) -> list[int] | PromptError:
        """The tokens of the prompt as the variant reads it, or why it cannot be written."""
        form = self.forms[variant]
        key = case.name, id(form)
        known = self._known.get(key)
        if known is None or (known.messages, known.tools) != (case.messages, case.tools):
            try:
                written: list[int] | PromptError = form.prompt(case.messages, case.tools)
            except PromptError as error:
                written = error
            known = self._known[key] = _Known(case.messages, case.tools, written)
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return known.prompt

    def _written(self, case: Case, variant: str) -> list[int]:
        """The tokens of a prompt that can be written."""
        prompt = self._whole(case, variant)
        if isinstance(prompt, PromptError):
            raise prompt
        return prompt


class ReadsPrompts:
    """What every engine that writes its prompts here says of them, the same whatever makes the tokens."""

    _prompts: Prompts

    def weight(self, case: Case) -> int:
        """The prompt's length in tokens, of the variant that reads the longest; 0 where none can be written."""
        return self._prompts.weight(case)

    def tools_left_out(self, case: Case, variant: str) -> str | None:
        """Why the variant is not told of the case's tools; None where it is, or where there are none."""
        return self._prompts.tools_left_out(case, variant)

    def unmarked(self, texts: Sequence[str]) -> list[str]:
        """A text as an answer is read: without any variant's special tokens."""
        return [self._prompts.unmarked(text) for text in texts]


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
