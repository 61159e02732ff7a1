"""Rows in forms that training cannot take as they are, and how to convert them: the end of an error message."""

from __future__ import annotations

from collections.abc import Iterable

_QUESTIONS = ("instruction", "prompt", "question", "query", "input", "user", "human", "problem")
_CONVERSATIONS = ("conversation", "dialog", "dialogue", "chat", "turns", "messages_list")
_ANSWERS = ("output", "completion", "answer", "response", "reply", "solution", "assistant", "target", "label")


def how_to_convert(keys: Iterable[str], known: Iterable[str]) -> str | None:
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
        return _renaming(question, answer)
    if "text" in folded:
        return (
            "'text' alone does not say what is asked and what is answered: write them as 'prompt' and 'completion', "
            "or as 'messages'"
        )
    return None


def _renaming(question: str, answer: str) -> str:
    targets = ("instruction", "output") if question == "instruction" else ("prompt", "completion")
    pairs = {old: new for old, new in zip((question, answer), targets, strict=True) if old != new}
    renamed = " and ".join(f"{old!r} to {new!r}" for old, new in pairs.items())
    return f"rename {renamed} (rename_columns({pairs}) of datasets)"
