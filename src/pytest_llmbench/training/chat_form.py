"""That rows and the base's chat template agree, before a training starts; and a plain form for a base without one."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from pytest_llmbench.errors import UsageError
from pytest_llmbench.training.template_checks import template_findings, tokens_of

PLAIN = (
    "{% for message in messages %}{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% else %}{{ '\\n' }}{% endif %}{% endfor %}"
)
"""The form for a base that only continues text: each message on a line of its own, the answer ended by end-of-text."""

logger = logging.getLogger("pytest_llmbench")


def agree_on_template(tokenizer: Any, rows: Sequence[Mapping[str, Any]], *, may_be_plain: bool) -> str:
    """Check the chat template against the roles in the rows: `base`, or `plain` where the plain form was put in.

    Args:
        tokenizer: the base's; it gets the plain form when it has no template and may.
        rows: in the form of `training.rows`.
        may_be_plain: whether the base is known to continue text, so that no template is expected of it.

    Raises:
        UsageError: the template refuses or drops what a role says, or there is none and there should be.
    """
    form = "base"
    if not tokenizer.chat_template and may_be_plain:
        logger.warning("the base has no chat template: rows are written as plain lines, the answer last")
        tokenizer.chat_template = PLAIN
        form = "plain"
    roles = sorted({message["role"] for row in rows for message in (*row["prompt"], *row["completion"])})
    for finding in template_findings(tokenizer, roles):
        if finding.severity == "error":
            raise UsageError(finding.message)
        if finding.severity == "warning":
            logger.warning("%s", finding.message)
    return form


def check_lengths(tokenizer: Any, rows: Sequence[Mapping[str, Any]], limit: int) -> tuple[int, int]:
    """The most tokens that a row has, and that an answer has.

    Raises:
        UsageError: a row has more tokens than `limit`, so it would be cut before its answer ends; or its answer cannot
            be told from its prompt.
    """
    longest = longest_answer = 0
    for number, row in enumerate(rows, start=1):
        tokens, masked = tokens_of(tokenizer, row)
        if tokens > limit:
            raise UsageError(f"row {number} has {tokens} tokens, more than max_length {limit}; raise --max-length")
        if not masked:
            raise UsageError(
                f"row {number}: the base's chat template writes the prompt differently when an answer follows, so the "
                "loss cannot be kept to the answer; take another base or change its template"
            )
        longest = max(longest, tokens)
        longest_answer = max(longest_answer, tokens - len(prompt_tokens(tokenizer, row)))
    return longest, longest_answer


def prompt_tokens(tokenizer: Any, row: Mapping[str, Any]) -> list[int]:
    """What the base reads before it answers."""
    rendered = tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, return_dict=True)
    return list(rendered["input_ids"])
