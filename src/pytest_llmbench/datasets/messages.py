"""The messages of a training row: what may stand in one, and in which order they may be said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_llmbench.core.documents import suggestion

ROLES = ("system", "user", "assistant")

Messages = list[dict[str, str]]

_SPOKEN = frozenset({"role", "content"})

_UNSPOKEN = frozenset(
    {"name", "id", "uuid", "timestamp", "time", "date", "created_at", "model", "lang", "language", "source"}
)
"""Keys that tell who, which and when, and are written nowhere: they are left out, as LLaMA-Factory does."""

_LEARNING = frozenset({"weight", "train", "loss"})
"""Keys that keep a message from being learnt, at OpenAI, in Axolotl and in ms-swift, where they are 0 or false."""

_SPEAKERS: Mapping[str, str] = {
    "human": "user",
    "prompter": "user",
    **dict.fromkeys(("gpt", "chatgpt", "bing", "bard", "model", "bot"), "assistant"),
}
"""What ShareGPT and those who took up its form call the roles."""


class FormError(ValueError):
    """What is wrong with one record, as the end of a `file:line: ` message."""


def read_messages(value: Any, part: str) -> Messages:
    """A list of messages with a role and a content each; `part` is the key it stands under.

    Raises:
        FormError: it is none, a message holds more than that, which would be neither asked nor learnt, or the answer
            at the end, which alone is learnt, is not to be.
    """
    if not isinstance(value, list) or not value:
        raise FormError(f"'{part}' must be a list of messages, each with a role ({', '.join(ROLES)}) and a content")
    messages: Messages = []
    for number, given in enumerate(value, start=1):
        message = given if _is_plain(given) else _bare(given)
        if fault := _fault(message):
            raise FormError(f"'{part}' must be a list of messages; message {number} {fault}")
        messages.append({"role": message["role"], "content": message["content"]})
    unlearnt = _unlearnt(value[-1]) if messages[-1]["role"] == "assistant" else None
    if unlearnt:
        told = f"message {len(messages)} has '{unlearnt}', which keeps it from being learnt, and only it would be"
        raise FormError(f"'{part}': {told}; drop the row, or the key")
    return messages


def read_sharegpt(value: Any, part: str) -> Messages:
    """A list of messages with `from` and `value` (ShareGPT), or with `role` and `content`, under either's roles.

    Raises:
        FormError: as `read_messages`.
    """
    return read_messages([_renamed(given) for given in value] if isinstance(value, list) else value, part)


def check_turns(prompt: Messages, completion: Messages) -> None:
    """Raise FormError unless the turns alternate, from the user's to the assistant's, and none is empty."""
    if any(message["role"] != "assistant" for message in completion):
        raise FormError("the completion holds a message that is not the assistant's; only answers are learnt")
    expected = "user"
    for number, message in enumerate([*prompt, *completion], start=1):
        role = message["role"]
        if not message["content"].strip():
            raise FormError(f"message {number}, the {role}'s, is empty; write it, or drop the row")
        if role == "system" and number == 1:
            continue
        if role != expected:
            raise FormError(f"message {number} is the {role}'s where the {expected}'s is due; turns alternate")
        expected = "assistant" if role == "user" else "user"


def _renamed(message: Any) -> Any:
    if not isinstance(message, dict):
        return message
    keys = {"from": "role", "value": "content"} if {"from", "value"} & message.keys() else {}
    renamed = {keys.get(key, key): value for key, value in message.items()}
    role = renamed.get("role")
    return {**renamed, "role": _SPEAKERS.get(role.casefold(), role)} if isinstance(role, str) else renamed


def _is_plain(message: Any) -> bool:
    return isinstance(message, dict) and message.keys() == _SPOKEN and isinstance(message["content"], str)


def _bare(message: Any) -> Any:
    """The message without keys that hold nothing or are written nowhere; a single part of text is the content."""
    if not isinstance(message, dict):
        return message
    kept = {key: value for key, value in message.items() if key in _SPOKEN or _says(key, value)}
    match kept.get("content"):
        case [{"type": "text", "text": str(text)}]:
            return {**kept, "content": text}
    return kept


def _says(key: str, value: Any) -> bool:
    """Whether the key holds text, which a template may write."""
    return not isinstance(value, int | float) and key not in _UNSPOKEN and bool(value)


def _unlearnt(message: Mapping[str, Any]) -> str | None:
    """The key that keeps the message from being learnt, if it has one."""
    return next((key for key in message if key in _LEARNING and message[key] in (0, False)), None)


def _fault(message: Any) -> str | None:
    if not isinstance(message, dict) or not message.keys() >= _SPOKEN:
        return f"must have a 'role' and a 'content' and nothing else, each with a role ({', '.join(ROLES)})"
    if more := message.keys() - _SPOKEN:
        what = f"has '{min(more)}' beside its 'role' and 'content', which would be neither asked nor learnt"
        return f"{what}; write it into the content as the model is to see it, or drop the key"
    if message["role"] not in ROLES:
        return f"has the unknown role {message['role']!r:.40}; {suggestion(str(message['role']), ROLES)}"
    return None if isinstance(message["content"], str) else "has a content that is not text"
