"""What a message of a chat completion says, in every form that servers give it: text, thoughts, tool calls."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pytest_llmbench.core.writable import whole_characters, writable

_THOUGHT_KEYS = ("reasoning_content", "reasoning", "thinking")
"""DeepSeek, vLLM, SGLang and llama.cpp; OpenRouter, Ollama and newer vLLM; Ollama's own. Some send the same in two."""

_THOUGHT_TYPES = ("thinking", "reasoning")
_NOTHING: Sequence[Mapping[str, Any]] = ()


class Said(NamedTuple):
    """The visible text of a message or a piece of one, what was thought in it, and its tool calls."""

    text: str
    thought: str
    calls: Sequence[Mapping[str, Any]]


def said_in(message: Mapping[str, Any]) -> Said:
    """Read a `message` or a `delta`.

    Raises:
        TypeError, AttributeError: it has not the protocol's form.
    """
    content, thought = message.get("content"), ""
    if len(message) == 1 and type(content) is str:
        return Said(content, "", _NOTHING)  # nearly every token of a stream
    if isinstance(content, list):
        thought = "".join(_text_of(part) for part in content if _is_thought(part))
        content = "".join(_text_of(part) for part in content if not _is_thought(part))
    elif not isinstance(content, str | None):
        raise TypeError(f"content is {type(content).__name__}")
    thought = next((_text_of(message[key]) for key in _THOUGHT_KEYS if message.get(key)), "") + thought
    calls = message.get("tool_calls") or _NOTHING
    if function := message.get("function_call"):
        calls = [{"function": function}]
    return Said(content or _text_of(message.get("refusal")), thought, calls)


@dataclasses.dataclass(slots=True)
class _Call:
    name: str = ""
    arguments: str = ""
    id: str = ""

    def is_other(self, name: str, told: str, *, placed: bool) -> bool:
        """Whether a piece with this name and id, which tells its place or not, belongs to another call."""
        if told and self.id:
            return told != self.id
        whole = isinstance(self.read, dict) and (bool(self.arguments.strip()) or not placed)
        return bool(name and self.name) and whole

    @property
    def read(self) -> dict[str, Any] | str:
        """The arguments as an object, or as their text where they are none."""
        try:
            value = json.loads(self.arguments.strip() or "{}", strict=False)
        except (ValueError, RecursionError):  # JSON may be nested deeper than Python reads
            value = None
        return writable(value) if isinstance(value, dict) else whole_characters(self.arguments)


class ToolCalls:
    """The tool calls of an answer, whose pieces come one by one, each with the place of its call.

    Servers that send each call whole often give them all the same place, or none: a piece with another id, or with a
    name where the call of its place is complete, begins a new one.
    """

    __slots__ = ("_calls", "_open")

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._open: dict[int, _Call] = {}

    def add(self, pieces: Sequence[Mapping[str, Any]]) -> None:
        """Take in pieces of calls."""
        for place, piece in enumerate(pieces):
            function = piece.get("function") or {}
            name, told = function.get("name") or "", piece.get("id") or ""
            call = self._open.get(key := place if piece.get("index") is None else piece["index"])
            if call is None or call.is_other(name, told, placed=piece.get("index") is not None):
                call = self._open[key] = _Call()
                self._calls.append(call)
            call.id = call.id or told
            call.name += "" if name == call.name else name
            arguments = function.get("arguments")
            if arguments is not None:
                call.arguments += arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)

    @property
    def calls(self) -> tuple[dict[str, Any], ...]:
        """Each call's name and arguments; those that are no JSON object are kept as text."""
        return tuple({"name": whole_characters(call.name), "arguments": call.read} for call in self._calls)

    @property
    def text(self) -> str:
        """One JSON object a line, as models write calls themselves where no server takes them out of the text."""
        return "\n".join(
            f'{{"name": {json.dumps(call.name, ensure_ascii=False)}, "arguments": {call.arguments.strip() or "{}"}}}'
            for call in self._calls
        )


def _is_thought(part: object) -> bool:
    return isinstance(part, Mapping) and part.get("type") in _THOUGHT_TYPES


def _text_of(part: object) -> str:
    """The text of a part, which may itself be a list of parts; nothing of an image or a sound."""
    if isinstance(part, str):
        return part
    if isinstance(part, list):
        return "".join(map(_text_of, part))
    if isinstance(part, Mapping):
        return next((_text_of(part[key]) for key in ("text", "content", *_THOUGHT_TYPES) if part.get(key)), "")
    return ""
