"""What arrived of one answer of an OpenAI-compatible server, event by event."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from pytest_llmbench.core.writable import whole_characters
from pytest_llmbench.generation.client.message_parts import ToolCalls, said_in
from pytest_llmbench.models.reasoning import BLOCKS, OPENED_IN_PROMPTS, WRAPPERS, split_reasoning

_LEAST_ERROR = 400  # the statuses of HTTP, which some servers repeat in an event of a stream that has begun well
_NO_REASON = ("", "null", "none")

_OPENINGS = {opening.rstrip(): closing for opening, closing in BLOCKS}
_MARKS = (*_OPENINGS, *WRAPPERS)
_LONGEST = max(map(len, OPENED_IN_PROMPTS))
_LAST_CHARACTERS = frozenset(mark[-1] for mark in OPENED_IN_PROMPTS)


class BrokenAnswerError(Exception):
    """The server's answer is not what the protocol allows."""


class ReportedError(BrokenAnswerError):
    """The server says in its answer that it failed."""


class VisibleText:
    """Takes an answer's pieces, and tells which part of each is visible.

    A closing mark in visible text ends a block that the prompt had opened, which nobody can see before: what was taken
    for the answer was none, and `begun` is False again. As `split_reasoning`, for text that is still coming.
    """

    __slots__ = ("_closings", "_held", "begun")

    def __init__(self) -> None:
        self.begun = False
        self._held = ""
        self._closings: tuple[str, ...] = ()  # one of these ends the open block; empty outside of one

    def add(self, piece: str, content: str) -> str:
        """The visible part of the next piece, which `content` ends with."""
        if not self.begun:
            return self._show(self._held + piece)
        if _LAST_CHARACTERS.isdisjoint(piece):
            return piece
        rest = _after(content[-len(piece) - _LONGEST :], OPENED_IN_PROMPTS)
        if rest is None:
            return piece
        self.begun = False
        return self._show(rest)

    def _show(self, seen: str) -> str:
        while True:
            if self._closings:
                rest = _after(seen, self._closings)
                if rest is None:
                    self._held = seen[-max(map(len, self._closings)) :]  # blocks are long, and only their end matters
                    return ""
                seen, self._closings = rest, ()
            elif mark := next((mark for mark in _MARKS if seen.lstrip().startswith(mark)), None):
                seen = seen.lstrip()[len(mark) :]
                self._closings = (_OPENINGS[mark],) if mark in _OPENINGS else ()
            elif (rest := _after(seen, OPENED_IN_PROMPTS)) is not None:
                seen = rest
            else:
                return self._begin(seen.lstrip())

    def _begin(self, text: str) -> str:
        """The first visible text, none while it may still become a mark."""
        self.begun = bool(text) and not any(mark.startswith(text) for mark in _MARKS)
        self._held = "" if self.begun else text
        return text if self.begun else ""


def _after(text: str, marks: tuple[str, ...]) -> str | None:
    """What follows the first of the marks that is in the text; None where none is."""
    return next((text.partition(mark)[2] for mark in marks if mark in text), None)


@dataclasses.dataclass(slots=True)
class Answer:
    """What arrived of an answer so far; it stays readable when the rest never comes.

    `content` and `thoughts` are as they came; `text` is the answer alone. `token_times` are monotonic seconds of each
    event that carried either, or a tool call: one a token on servers that send each token as it is made.
    `first_visible_at` is that of the first one of the answer alone. `ended_at` is when the server said that the answer
    ends; `left_open` tells that it kept the stream open after that. `several` tells that it gave more answers than this
    one, whose tokens its usage counts too. `cached_tokens` are those of the prompt that the server had read before.
    """

    content: str = ""
    thoughts: str = ""
    calls: ToolCalls = dataclasses.field(default_factory=ToolCalls, repr=False, compare=False)
    token_times: list[float] = dataclasses.field(default_factory=list)
    first_visible_at: float | None = None
    finish_reason: str | None = None
    done: bool = False
    ended_at: float | None = None
    left_open: bool = False
    several: bool = False
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    fingerprint: str | None = None
    visible: VisibleText = dataclasses.field(default_factory=VisibleText, repr=False, compare=False)

    @property
    def text(self) -> str:
        """The answer without what was thought before it; its tool calls where they are all there is."""
        answer = split_reasoning(self.content).answer
        said = self.content if answer == self.content.strip() else answer
        if not said.strip():  # Qwen3 and others write line breaks before their calls
            said = self.calls.text or said
        return whole_characters(said)

    @property
    def reasoning(self) -> str | None:
        """What was thought, in fields of its own or inside the content; None where nothing was."""
        thoughts = (self.thoughts.strip(), split_reasoning(self.content).reasoning)
        return whole_characters("\n\n".join(filter(None, thoughts))) or None

    @property
    def complete(self) -> bool:
        """Whether the server said that the answer ends here."""
        return self.done or self.finish_reason is not None

    @property
    def deltas(self) -> int:
        """How many events carried text."""
        return len(self.token_times)

    @property
    def counted(self) -> bool:
        """Whether `tokens` are the events that carried text, since the server told no number that can be true."""
        return self.deltas > 0 and (self.several or not self.completion_tokens)

    @property
    def tokens(self) -> int | None:
        """How many tokens were made, thoughts included; None when nobody can tell."""
        if self.counted:
            return self.deltas
        return None if self.several else self.completion_tokens or None

    @property
    def first_at(self) -> float | None:
        """Monotonic seconds of the first token."""
        return self.token_times[0] if self.token_times else None

    def without_text(self) -> Answer:
        """The same, when only its numbers matter."""
        return dataclasses.replace(self, content="", thoughts="", calls=ToolCalls(), visible=VisibleText())

    def add_chunk(self, event: Mapping[str, Any]) -> None:
        """Take in one event of a stream; one without choices, as keep-alives are, says nothing.

        Raises:
            ReportedError: the event reports an error.
            BrokenAnswerError: it has not the protocol's form.
        """
        choice = self._choice(event)
        if choice is None:
            return
        now = time.monotonic()
        if self._take_in(choice, "delta", event):
            self.token_times.append(now)
            if not self.visible.begun:
                self.first_visible_at = None
            elif self.first_visible_at is None:
                self.first_visible_at = now
        if self.finish_reason is not None:
            self.ended_at = now

    def add_whole(self, event: Mapping[str, Any]) -> None:
        """Take in the whole answer; when its first token came, and how many there were without usage, is not known.

        Raises:
            ReportedError, BrokenAnswerError: as for `add_chunk`, or there is no answer in it.
        """
        choice = self._choice(event)
        if choice is None:
            raise BrokenAnswerError(f"the server's answer has no choices: {json.dumps(event)[:200]}")
        self._take_in(choice, "message" if choice.get("message") else "delta", event)
        self.end()

    def end(self) -> None:
        """Note that the server has said all."""
        self.done = True
        self.ended_at = self.ended_at or time.monotonic()

    def show(self, piece: str) -> None:
        """Hear of each visible piece. Nobody listens here."""

    def _choice(self, event: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The first answer's part of an event whose other facts are kept; None when there is none.

        Who asks for several answers gets them mixed in one stream, told apart by `index`.
        """
        if _reports_failure(event):
            raise ReportedError(f"the server reports: {error_text(event)}")
        if isinstance(usage := event.get("usage"), dict):
            self.prompt_tokens = _count(usage.get("prompt_tokens"), self.prompt_tokens)
            self.completion_tokens = _count(usage.get("completion_tokens"), self.completion_tokens)
            if isinstance(details := usage.get("prompt_tokens_details"), dict):
                self.cached_tokens = _count(details.get("cached_tokens"), self.cached_tokens)
        if isinstance(fingerprint := event.get("system_fingerprint"), str):
            self.fingerprint = fingerprint
        choices = event.get("choices")
        if not choices:
            return None
        if not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices):
            raise _no_completion(event)
        first = next((choice for choice in choices if not choice.get("index")), None)
        self.several = self.several or first is None or len(choices) > 1
        return first

    def _take_in(self, choice: Mapping[str, Any], key: str, event: Mapping[str, Any]) -> bool:
        """Keep what a choice says; whether it says anything."""
        try:
            said = said_in(choice.get(key) or {})
            if said.calls:
                self.calls.add(said.calls)
        except (AttributeError, TypeError) as error:
            raise _no_completion(event) from error
        if choice.get("finish_reason") and (finish_reason := _reason(choice["finish_reason"])):
            self.finish_reason = finish_reason
        text, thought, calls = said
        if text:
            self.content += text
            if piece := self.visible.add(text, self.content):
                self.show(piece)
        if thought:
            self.thoughts += thought
        return bool(text or thought or calls)


def error_text(body: object) -> str:
    """The human part of an error body, in the forms that OpenAI, vLLM, llama.cpp, FastAPI and Gemini give it."""
    if isinstance(body, list) and body and isinstance(body[0], dict) and body[0].get("error"):
        body = body[0]
    while isinstance(body, dict):
        body = body.get("error") or body.get("message") or body.get("detail") or json.dumps(body)
    return whole_characters(str(body))[:300]


def _no_completion(event: Mapping[str, Any]) -> BrokenAnswerError:
    return BrokenAnswerError(f"not a chat completion: {json.dumps(event)[:200]}")


def _reports_failure(event: Mapping[str, Any]) -> bool:
    """Whether an event tells of an error: under that name, by its type, or by a status where choices are due."""
    if event.get("error") or "error" in (event.get("object"), event.get("type")):
        return True
    if event.get("choices"):
        return False
    status = next((event[key] for key in ("status_code", "status", "code") if event.get(key) is not None), None)
    return "detail" in event or (type(status) is int and status >= _LEAST_ERROR)


def _reason(told: object) -> str | None:
    """Why an answer ended; None for what only stands for nothing. SGLang's own form is an object with a type."""
    reason = str(told.get("type", told) if isinstance(told, Mapping) else told)
    return None if reason.casefold() in _NO_REASON else reason


def _count(told: object, known: int | None) -> int | None:
    """A count of tokens; what is none, such as the -1 of some servers, leaves what is known."""
    return told if type(told) is int and told >= 0 else known


class ToldAnswer(Answer):
    """Hands each new piece of visible text to `told`; what was thought before it is not told."""

    def __init__(self, told: Callable[[str], None]) -> None:
        super().__init__()
        self._told = told
        self._silent = True

    def show(self, piece: str) -> None:
        """Tell a piece."""
        self._silent = False
        self._told(whole_characters(piece))

    def tell_rest(self) -> None:
        """Tell what only the whole answer shows: one that looked like a mark to its end, or tool calls."""
        if self._silent and self.text:
            self.show(self.text)
