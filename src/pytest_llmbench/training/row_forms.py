"""The forms that people write training rows in, and the one form that training takes.

| form | keys |
| --- | --- |
| messages | `messages`: a list of `{"role", "content"}`, the last one the assistant's |
| prompt | `prompt` and `completion`: two texts (with an optional `system`), or two lists of messages |
| instruction | `instruction` and `output`, with an optional `input` and `system` |

Other keys of a row are kept beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pytest_llmbench.documents import suggestion

ROLES = ("system", "user", "assistant")

FORMS: Mapping[str, tuple[str, ...]] = {
    "messages": ("messages",),
    "prompt": ("prompt", "completion"),
    "instruction": ("instruction", "output"),
}
"""The keys that tell a form."""

Messages = list[dict[str, str]]


class FormError(ValueError):
    """What is wrong with one record, as the end of a `file:line: ` message."""


def form_of(record: Any) -> str:
    """The form of a record, a key of FORMS.

    Raises:
        FormError: it has none of them, or keys of two.
    """
    if not isinstance(record, dict):
        raise FormError(f"a row is an object with the keys {_accepted()}, not {record!r:.40}")
    found = [form for form, keys in FORMS.items() if any(key in record for key in keys)]
    if not found:
        raise FormError(f"a row has the keys {_accepted()}, not {', '.join(map(repr, record))[:80] or 'none'}")
    if len(found) > 1:
        raise FormError(f"the row has keys of two forms ({' and '.join(found)}); keep one")
    if missing := [key for key in FORMS[found[0]] if key not in record]:
        raise FormError(f"the row has no '{missing[0]}'; a row has the keys {_accepted()}")
    return found[0]


def to_row(record: Mapping[str, Any], form: str) -> dict[str, Any]:
    """The record in TRL's conversational prompt-completion form: `prompt` and `completion` are lists of messages.

    Raises:
        FormError: a wrong role, an empty text, or a conversation that does not end with an answer.
    """
    prompt, completion, used = _CONVERSIONS[form](record)
    _check(prompt, completion)
    rest = {key: value for key, value in record.items() if key not in used}
    return {"prompt": prompt, "completion": completion, **rest}


def user_text(row: Mapping[str, Any]) -> str:
    """What the user says in a row, all turns: what tells one question from another."""
    return " ".join(message["content"] for message in row["prompt"] if message["role"] == "user")


def answer_text(row: Mapping[str, Any]) -> str:
    """What the assistant is to learn to say."""
    return " ".join(message["content"] for message in row["completion"])


def new_row(question: str, answer: str, system: str | None = None, **more: Any) -> dict[str, Any]:
    """A row of one question and its answer."""
    prompt = [{"role": "system", "content": system}] if system else []
    prompt.append({"role": "user", "content": question})
    return {"prompt": prompt, "completion": [{"role": "assistant", "content": answer}], **more}


def _accepted() -> str:
    return "'messages', or 'prompt' and 'completion', or 'instruction' and 'output'"


def _from_messages(record: Mapping[str, Any]) -> tuple[Messages, Messages, set[str]]:
    messages = _messages(record["messages"], "messages")
    if messages[-1]["role"] != "assistant":
        raise FormError(f"the last message is the {messages[-1]['role']}'s; it must be the assistant's, to be learnt")
    return messages[:-1], messages[-1:], {"messages"}


def _from_prompt(record: Mapping[str, Any]) -> tuple[Messages, Messages, set[str]]:
    prompt, completion = record["prompt"], record["completion"]
    if isinstance(prompt, str) != isinstance(completion, str):
        raise FormError("'prompt' must be a list of messages as 'completion' is, or both must be text")
    if isinstance(prompt, str):
        row = new_row(prompt, completion, _text(record, "system"))
        return row["prompt"], row["completion"], {"prompt", "completion", "system"}
    return _messages(prompt, "prompt"), _messages(completion, "completion"), {"prompt", "completion"}


def _from_instruction(record: Mapping[str, Any]) -> tuple[Messages, Messages, set[str]]:
    instruction, output = _text(record, "instruction") or "", _text(record, "output") or ""
    given = _text(record, "input")
    row = new_row(f"{instruction}\n\n{given}" if given else instruction, output, _text(record, "system"))
    if not instruction.strip():
        raise FormError("'instruction' is empty; write the question, or drop the row")
    return row["prompt"], row["completion"], {"instruction", "input", "output", "system"}


_CONVERSIONS: Mapping[str, Callable[[Mapping[str, Any]], tuple[Messages, Messages, set[str]]]] = {
    "messages": _from_messages,
    "prompt": _from_prompt,
    "instruction": _from_instruction,
}


def _text(record: Mapping[str, Any], key: str) -> str | None:
    value = record.get(key)
    if value is not None and not isinstance(value, str):
        raise FormError(f"'{key}' must be text, not {value!r:.40}")
    return value or None


def _messages(value: Any, part: str) -> Messages:
    if not isinstance(value, list) or not value:
        raise FormError(f"'{part}' must be a list of messages, each with a role ({', '.join(ROLES)}) and a content")
    for number, message in enumerate(value, start=1):
        if fault := _message_fault(message):
            raise FormError(f"'{part}' must be a list of messages; message {number} {fault}")
    return [dict(message) for message in value]


def _message_fault(message: Any) -> str | None:
    if not isinstance(message, dict) or message.keys() != {"role", "content"}:
        return f"must have a 'role' and a 'content' and nothing else, each with a role ({', '.join(ROLES)})"
    if message["role"] not in ROLES:
        return f"has the unknown role {message['role']!r:.40}; {suggestion(str(message['role']), ROLES)}"
    return None if isinstance(message["content"], str) else "has a content that is not text"


def _check(prompt: Messages, completion: Messages) -> None:
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
