"""That rows and the base's chat template agree, before a training starts."""

from __future__ import annotations

import logging
from collections.abc import Collection

from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.datasets.template_checks import NO_TEMPLATE, template_findings
from pytest_llmbench.models.prompt_form import PromptForm

_log = logging.getLogger("pytest_llmbench")


def agree_on_template(form: PromptForm, roles: Collection[str], *, may_be_plain: bool) -> None:
    """Check the form against the roles in a dataset; what is odd and harmless is announced.

    Args:
        form: the base's.
        roles: of system, user and assistant, those that speak.
        may_be_plain: whether the base is known to continue text, so that no template is expected of it.

    Raises:
        UsageError: the template refuses or drops what a role says, or there is none and there should be.
    """
    if form.origin is None:
        if not may_be_plain:
            raise UsageError(NO_TEMPLATE)
        _log.warning("the base has no chat template: rows are written as plain lines, the answer last")
    for finding in template_findings(form, sorted(roles)):
        if finding.severity == "error":
            raise UsageError(finding.message)
        if finding.severity == "warning":
            _log.warning("%s", finding.message)
