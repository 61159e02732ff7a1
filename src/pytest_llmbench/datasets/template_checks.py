"""Whether a base's chat template says all that the rows say, and masks the answer where it begins."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from pytest_llmbench.models.prompt_form import PromptError, PromptForm

Severity = Literal["error", "warning", "note"]


@dataclasses.dataclass(frozen=True, slots=True)
class RowFinding:
    """What a check found: how bad, which check, in words, on how many rows, and the first of them (`file:line`)."""

    severity: Severity
    check: str
    message: str
    count: int = 1
    where: tuple[str, ...] = ()


NO_TEMPLATE = "the base has no chat template: its tokenizer cannot tell who speaks; take an instruct model"

_SAID: Mapping[str, str] = {"system": "llmbench-one", "user": "llmbench-two", "assistant": "llmbench-three"}


def template_findings(form: PromptForm, roles: Sequence[str]) -> Iterator[RowFinding]:
    """What the base's chat template does to a conversation of these roles (of system, user and assistant)."""
    messages = [{"role": role, "content": said} for role, said in _SAID.items() if role in roles]
    try:
        rendered = form.write(messages, answer_follows=False)
    except PromptError as error:
        yield RowFinding("error", "template", f"a conversation of {', '.join(roles)}: {error}")
        return
    for dropped in (message["role"] for message in messages if message["content"] not in rendered):
        message = f"the base's chat template drops what the {dropped} says: it would be neither read nor learnt"
        yield RowFinding("error", "template", message)
    if not form.writes_an_end:
        message = (
            "the base's chat template writes nothing after an answer: the fine-tune would never learn to end, and its "
            "answers run to their limit; have the template write {{ eos_token }} after what the assistant says"
        )
        yield RowFinding("warning", "template", message)
    yield from _default_system(form, messages)


def _default_system(form: PromptForm, messages: Sequence[Mapping[str, str]]) -> Iterator[RowFinding]:
    """What stands before a first user turn and not before a second one is the template's own system prompt."""
    if messages[0]["role"] == "system":
        return
    again = [{"role": "user", "content": "llmbench-four"}]
    try:
        rendered = form.write([*messages, *again], answer_follows=False)
    except PromptError:
        return
    opening, _, rest = rendered.partition(_SAID["user"])
    between = rest.partition(_SAID["assistant"])[2].partition(again[0]["content"])[0]
    common = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(opening[::-1], between[::-1], strict=False))
    own = opening[: len(opening) - len(list(common))]
    own = own.removeprefix(form.tokenizer.bos_token or "").strip()
    if " " in own:
        message = f"the rows have no system prompt, and the base's chat template writes its own: {own!r:.120}"
        yield RowFinding("note", "template", message)
