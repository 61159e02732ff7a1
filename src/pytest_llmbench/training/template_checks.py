"""Whether a base's chat template says all that the rows say, and masks the answer where it begins."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

Severity = Literal["error", "warning", "note"]


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """What a check found: how bad, which check, in words, on how many rows, and the first of them (`file:line`)."""

    severity: Severity
    check: str
    message: str
    count: int = 1
    where: tuple[str, ...] = ()


_SAID: Mapping[str, str] = {"system": "llmbench-un", "user": "llmbench-deux", "assistant": "llmbench-trois"}


def template_findings(tokenizer: Any, roles: Sequence[str]) -> Iterator[Finding]:
    """What the tokenizer's chat template does to a conversation of these roles (of system, user and assistant)."""
    if not tokenizer.chat_template:
        message = "the base has no chat template: its tokenizer cannot tell who speaks; take an instruct model"
        yield Finding("error", "template", message)
        return
    messages = [{"role": role, "content": said} for role, said in _SAID.items() if role in roles]
    rendered = render(tokenizer, messages)
    if isinstance(rendered, Finding):
        yield rendered
        return
    for dropped in (message["role"] for message in messages if message["content"] not in rendered):
        message = f"the base's chat template drops what the {dropped} says: it would be neither read nor learnt"
        yield Finding("error", "template", message)
    yield from _default_system(tokenizer, messages)


def render(tokenizer: Any, messages: Sequence[Mapping[str, str]]) -> str | Finding:
    """The conversation as the template writes it, or why it cannot."""
    from jinja2 import TemplateError

    try:
        return str(tokenizer.apply_chat_template(list(messages), tokenize=False))
    except (TemplateError, TypeError, ValueError) as error:
        roles = ", ".join(message["role"] for message in messages)
        return Finding("error", "template", f"the base's chat template refuses these roles ({roles}): {error}")


def tokens_of(tokenizer: Any, row: Mapping[str, Any]) -> tuple[list[int], list[int]]:
    """The tokens of a row as the base reads it, and those of its prompt alone, which the base answers.

    Where the prompt's are not the first of the row's, the trainer cannot tell where the answer begins.
    """
    whole = tokenizer.apply_chat_template([*row["prompt"], *row["completion"]], return_dict=True)["input_ids"]
    prompt = tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, return_dict=True)["input_ids"]
    return list(whole), list(prompt)


def _default_system(tokenizer: Any, messages: Sequence[Mapping[str, str]]) -> Iterator[Finding]:
    """What stands before a first user turn and not before a second one is the template's own system prompt."""
    if messages[0]["role"] == "system":
        return
    again = [{"role": "user", "content": "llmbench-quatre"}]
    rendered = render(tokenizer, [*messages, *again])
    if isinstance(rendered, Finding):
        return
    opening, _, rest = rendered.partition(_SAID["user"])
    between = rest.partition(_SAID["assistant"])[2].partition(again[0]["content"])[0]
    common = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(opening[::-1], between[::-1], strict=False))
    own = opening[: len(opening) - len(list(common))]
    own = own.removeprefix(tokenizer.bos_token or "").strip()
    if " " in own:
        message = f"the rows have no system prompt, and the base's chat template writes its own: {own!r:.120}"
        yield Finding("note", "template", message)
