"""That rows and the base's chat template agree, before a training starts; and a plain form for a base without one."""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Any

from pytest_llmbench.errors import UsageError
from pytest_llmbench.training.template_checks import template_findings

PLAIN = (
    "{% for message in messages %}{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% else %}{{ '\\n' }}{% endif %}{% endfor %}"
)
"""The form for a base that only continues text: each message on a line of its own, the answer ended by end-of-text."""

logger = logging.getLogger("pytest_llmbench")


def agree_on_template(tokenizer: Any, roles: Collection[str], *, may_be_plain: bool) -> str:
    """Check the chat template against the roles in a dataset: `base`, or `plain` where the plain form was put in.

    Args:
        tokenizer: the base's; it gets the plain form when it has no template and may.
        roles: of system, user and assistant, those that speak.
        may_be_plain: whether the base is known to continue text, so that no template is expected of it.

    Raises:
        UsageError: the template refuses or drops what a role says, or there is none and there should be.
    """
    form = "base"
    if not tokenizer.chat_template and may_be_plain:
        logger.warning("the base has no chat template: rows are written as plain lines, the answer last")
        tokenizer.chat_template = PLAIN
        form = "plain"
    for finding in template_findings(tokenizer, sorted(roles)):
        if finding.severity == "error":
            raise UsageError(finding.message)
        if finding.severity == "warning":
            logger.warning("%s", finding.message)
    return form
