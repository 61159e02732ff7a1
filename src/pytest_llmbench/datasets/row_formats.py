"""The forms that people write training rows in, and the one form that training takes.

| form | keys |
| --- | --- |
| messages | `messages`: a list of `{"role", "content"}`, the last one the assistant's; `system` if wanted |
| conversations | `conversations`: ShareGPT's list of `{"from", "value"}`, or of messages; `system` if wanted |
| prompt | `prompt` and `completion`: two texts, or two lists of messages; `system` if wanted |
| instruction | `instruction` and `output`, with an optional `input`, `history` and `system` |

Other keys of a row are kept beside it, but for those that would change what is learnt. A key that is null is no key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pytest_llmbench.datasets.messages import FormError, Messages, check_turns, read_messages, read_sharegpt

FORMS: Mapping[str, tuple[str, ...]] = {
    "messages": ("messages",),
    "conversations": ("conversations",),
    "prompt": ("prompt", "completion"),
    "instruction": ("instruction", "output"),
}
"""The keys that tell a form."""

_CHANGING = ("tools", "chat_template_kwargs")
"""Keys of a row that TRL hands to the chat template."""

_NO_TOOLS = "[]"  # LLaMA-Factory writes a row's tools as JSON in text

_SEEN = tuple(f"{kind}{end}" for kind in ("image", "video", "audio") for end in ("", "s"))
"""Keys under which LLaVA, LLaMA-Factory and ms-swift keep what is shown beside the text."""

GOOD = ("label", "kto_tag")
"""Keys that tell a good answer from a bad one where they are true or false: TRL's unpaired preferences, LLaMA-Factory's
KTO."""

_QUESTIONS = ("instruction", "prompt", "question", "query", "input", "user", "human", "problem")
_CONVERSATIONS = ("conversation", "dialog", "dialogue", "chat", "turns", "messages_list")
_BESIDE = {"context": "input", "system_prompt": "system"}  # asked with the question, at Dolly and OpenOrca
_ANSWERS = ("output", "completion", "answer", "response", "reply", "solution", "assistant", "target", "label")


def form_of(record: Any) -> str:
    """The form of a record, a key of FORMS.

    Raises:
        FormError: it has none of them, or keys of two.
    """
    if not isinstance(record, dict):
        raise FormError(f"a row is an object with the keys {_accepted()}, not {record!r:.40}")
    given = {key for key, value in record.items() if value is not None}
    found = [form for form, keys in FORMS.items() if not given.isdisjoint(keys)]
    if len(found) > 1:
        found = [form for form in found if not _repeats_the_question(form, found, record)]
    if len(found) > 1:
        raise FormError(f"the row has keys of two forms ({' and '.join(found)}); keep one")
    if found and given.issuperset(FORMS[found[0]]):
        return found[0]
    raise FormError(_incomplete(given, found))


def to_row(record: Mapping[str, Any], form: str) -> dict[str, Any]:
    """The record in TRL's conversational prompt-completion form: `prompt` and `completion` are lists of messages.

    Raises:
        FormError: a wrong role, an empty text, a conversation that does not end with an answer, or something beside it
            that would change what is learnt.
    """
    for key in (*_CHANGING, *_SEEN):
        if record.get(key) and record[key] != _NO_TOOLS:
            raise FormError(f"the row has '{key}', which would not be learnt; write it into the messages, or drop it")
    if bad := next((key for key in GOOD if record.get(key) is False), None):
        raise FormError(bad_answer(bad))
    prompt, completion, used = _CONVERSIONS[form](record)
    check_turns(prompt, completion)
    used |= {"prompt", "completion", *_CHANGING, *_SEEN}
    rest = {key: value for key, value in record.items() if key not in used and value is not None}
    return {"prompt": prompt, "completion": completion, **rest}


def bad_answer(key: str) -> str:
    """What is wrong with a row that is false under a key of GOOD."""
    told = f"the row's answer is a bad one ('{key}' is false) and would be learnt"
    return f"{told}; leave such rows out, or rename the key if it means something else"


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
    return "'messages', or 'conversations', or 'prompt' and 'completion', or 'instruction' and 'output'"


def _incomplete(given: set[str], found: list[str]) -> str:
    hint = _how_to_convert(given, [key for keys in FORMS.values() for key in keys])
    if not found:
        what = f"a row has the keys {_accepted()}, not {', '.join(map(repr, sorted(given)))[:80] or 'none'}"
        return f"{what}; {hint}" if hint else what
    missing = next(key for key in FORMS[found[0]] if key not in given)
    return f"the row has no '{missing}'; {hint or f'a row has the keys {_accepted()}'}"


def _repeats_the_question(form: str, found: list[str], record: Mapping[str, Any]) -> bool:
    """Whether the row has a `prompt` only to show what its messages ask, as UltraChat's have."""
    if form != "prompt" or record.get("completion") is not None or found[0] not in {"messages", "conversations"}:
        return False
    messages = record[found[0]]
    said = [message.values() for message in messages if isinstance(message, dict)] if isinstance(messages, list) else []
    return any(record["prompt"] in values for values in said)


def _from_messages(record: Mapping[str, Any]) -> tuple[Messages, Messages, set[str]]:
    said = _with_system(record, read_messages(record["messages"], "messages"))
    return *_parted(said), {"messages", "system"}


def _from_conversations(record: Mapping[str, Any]) -> tuple[Messages, Messages, set[str]]:
    said = _with_system(record, read_sharegpt(record["conversations"], "conversations"))
    return *_parted(said), {"conversations", "system"}


def _with_system(record: Mapping[str, Any], messages: Messages) -> Messages:
    system = _text(record, "system")
    if not system:
        return messages
    if messages[0]["role"] != "system":
        return [{"role": "system", "content": system}, *messages]
    if messages[0]["content"] == system:
        return messages
    raise FormError("the row's 'system' is not the system prompt of its messages; keep one")


def _parted(messages: Messages) -> tuple[Messages, Messages]:
    if messages[-1]["role"] != "assistant":
        raise FormError(f"the last message is the {messages[-1]['role']}'s; it must be the assistant's, to be learnt")
    return messages[:-1], messages[-1:]


def _from_prompt(record: Mapping[str, Any]) -> tuple[Messages, Messages, set[str]]:
    prompt, completion = record["prompt"], record["completion"]
    if isinstance(prompt, str) != isinstance(completion, str):
        raise FormError("'prompt' must be a list of messages as 'completion' is, or both must be text")
    if isinstance(prompt, str):
        row = new_row(prompt, completion, _text(record, "system"))
        return row["prompt"], row["completion"], {"system"}
    asked = _with_system(record, read_messages(prompt, "prompt"))
    return asked, read_messages(completion, "completion"), {"system"}


def _from_instruction(record: Mapping[str, Any]) -> tuple[Messages, Messages, set[str]]:
    instruction, output = _text(record, "instruction") or "", _text(record, "output") or ""
    given = _text(record, "input")
    row = new_row(f"{instruction}\n\n{given}" if given else instruction, output, _text(record, "system"))
    if not instruction.strip():
        raise FormError("'instruction' is empty; write the question, or drop the row")
    system, asked = row["prompt"][:-1], row["prompt"][-1:]
    return (
        [*system, *_history(record), *asked],
        row["completion"],
        {"instruction", "input", "output", "system", "history"},
    )


def _history(record: Mapping[str, Any]) -> Messages:
    """The turns before, in LLaMA-Factory's form: pairs of what was asked and answered."""
    turns: Messages = []
    history = record.get("history") or ()
    if not isinstance(history, list | tuple):
        raise FormError(f"'history' must be a list of pairs, a question and its answer, not {history!r:.40}")
    for pair in history:
        match pair:
            case [str(asked), str(said)]:
                turns += [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]
            case _:
                raise FormError(f"'history' must be a list of pairs, a question and its answer, not {pair!r:.40}")
    return turns


_CONVERSIONS: Mapping[str, Callable[[Mapping[str, Any]], tuple[Messages, Messages, set[str]]]] = {
    "messages": _from_messages,
    "conversations": _from_conversations,
    "prompt": _from_prompt,
    "instruction": _from_instruction,
}


def _text(record: Mapping[str, Any], key: str) -> str | None:
    value = record.get(key)
    if value is not None and not isinstance(value, str):
        raise FormError(f"'{key}' must be text, not {value!r:.40}")
    return value or None


def _how_to_convert(keys: Iterable[str], known: Iterable[str]) -> str | None:
    """What to do with a row of these keys, or None where they tell nothing. `known` are the keys of the forms."""
    folded = {key.casefold().strip(): key for key in keys}
    if {"chosen", "rejected"} <= folded.keys():
        return (
            "these are preferences: only answers are learnt here, so keep 'chosen' as the 'messages' or the "
            "'completion', and leave 'rejected' out"
        )
    if spelt := {key: folded[key] for key in known if folded.get(key, key) != key}:
        right, wrong = next(iter(spelt.items()))
        return f"write '{right}' for {wrong!r}: names of keys are in small letters"
    if chat := next((folded[name] for name in _CONVERSATIONS if name in folded), None):
        return f"rename {chat!r} to 'conversations' where it is a list of messages"
    question = next((folded[name] for name in _QUESTIONS if name in folded), None)
    answer = next((folded[name] for name in _ANSWERS if name in folded), None)
    if question and answer:
        return _renaming(question, answer, folded)
    if "text" in folded:
        return (
            "'text' alone does not say what is asked and what is answered: write them as 'prompt' and 'completion', "
            "or as 'messages'"
        )
    return None


def _renaming(question: str, answer: str, given: Mapping[str, str]) -> str:
    """How to call them, and what is to be asked with them, which would be lost under its own name."""
    takes_more = question == "instruction" or not given.keys().isdisjoint({"history", "context"})
    targets = ("instruction", "output") if takes_more else ("prompt", "completion")
    pairs = {old: new for old, new in zip((question, answer), targets, strict=True) if old != new}
    pairs |= {
        given[old]: new for old, new in _BESIDE.items() if old in given and (new not in given or given[new] in pairs)
    }
    renamed = " and ".join(", ".join(f"{old!r} to {new!r}" for old, new in pairs.items()).rsplit(", ", 1))
    return f"rename {renamed} (rename_columns({pairs}) of datasets)"
