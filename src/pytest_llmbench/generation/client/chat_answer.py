"""What arrived of one answer of an OpenAI-compatible server, event by event."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping
from typing import Any

from pytest_llmbench.generation.client.message_parts import ToolCalls, said_in, whole_characters
from pytest_llmbench.generation.client.visible_text import VisibleText
from pytest_llmbench.models.reasoning import split_reasoning

_LEAST_ERROR = 400  # the statuses of HTTP, which some servers repeat in an event of a stream that has begun well
_NO_REASON = ("", "null", "none")


class BrokenAnswerError(Exception):
    """The server's answer is not what the protocol allows."""


class ReportedError(BrokenAnswerError):
    """The server says in its answer that it failed."""


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
        untouched = answer == self.content.strip()
        return whole_characters((self.content if untouched else answer) or self.calls.text)

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
