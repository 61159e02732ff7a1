"""What arrived of one answer of an OpenAI-compatible server, event by event."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping
from typing import Any

from pytest_llmbench.generation.message_parts import ToolCalls, said_in
from pytest_llmbench.generation.reasoning import split_reasoning
from pytest_llmbench.generation.visible_text import VisibleText


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
    ends; `left_open` tells that it kept the stream open after that.
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
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    fingerprint: str | None = None
    visible: VisibleText = dataclasses.field(default_factory=VisibleText, repr=False, compare=False)

    @property
    def text(self) -> str:
        """The answer without what was thought before it; its tool calls where they are all there is."""
        answer = split_reasoning(self.content).answer
        untouched = answer == self.content.strip()
        return (self.content if untouched else answer) or self.calls.text

    @property
    def reasoning(self) -> str | None:
        """What was thought, in fields of its own or inside the content; None where nothing was."""
        thoughts = (self.thoughts.strip(), split_reasoning(self.content).reasoning)
        return "\n\n".join(filter(None, thoughts)) or None

    @property
    def complete(self) -> bool:
        """Whether the server said that the answer ends here."""
        return self.done or self.finish_reason is not None

    @property
    def deltas(self) -> int:
        """How many events carried text."""
        return len(self.token_times)

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
        """The first choice of an event whose other facts are kept; None when there is none."""
        if event.get("error") or event.get("object") == "error":
            raise ReportedError(f"the server reports: {error_text(event)}")
        if isinstance(usage := event.get("usage"), dict):
            self.prompt_tokens = _count(usage.get("prompt_tokens"), self.prompt_tokens)
            self.completion_tokens = _count(usage.get("completion_tokens"), self.completion_tokens)
        self.fingerprint = event.get("system_fingerprint") or self.fingerprint
        choices = event.get("choices")
        if not choices:
            return None
        if not isinstance(choices, list) or not isinstance(choices[0], dict):
            raise _no_completion(event)
        choice: dict[str, Any] = choices[0]
        return choice

    def _take_in(self, choice: Mapping[str, Any], key: str, event: Mapping[str, Any]) -> bool:
        """Keep what a choice says; whether it says anything."""
        try:
            said = said_in(choice.get(key) or {})
        except (AttributeError, TypeError) as error:
            raise _no_completion(event) from error
        if finish_reason := choice.get("finish_reason"):
            self.finish_reason = finish_reason
        text, thought, calls = said
        if text:
            self.content += text
            if piece := self.visible.add(text, self.content):
                self.show(piece)
        if thought:
            self.thoughts += thought
        if calls:
            self.calls.add(calls)
        return bool(text or thought or calls)


def error_text(body: object) -> str:
    """The human part of an error body, in the forms that OpenAI, vLLM, llama.cpp and FastAPI give it."""
    while isinstance(body, dict):
        body = body.get("error") or body.get("message") or body.get("detail") or json.dumps(body)
    return str(body)[:300]


def _no_completion(event: Mapping[str, Any]) -> BrokenAnswerError:
    return BrokenAnswerError(f"not a chat completion: {json.dumps(event)[:200]}")


def _count(told: object, known: int | None) -> int | None:
    return told if isinstance(told, int) else known
