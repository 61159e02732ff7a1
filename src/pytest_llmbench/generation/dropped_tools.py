"""Tools that a model or a server drops without a word: found out before the first case is asked, and announced."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from pytest_llmbench.cases.suites import Case

if TYPE_CHECKING:
    from pytest_llmbench.generation.backend import Backend

_log = logging.getLogger("pytest_llmbench")


@runtime_checkable
class KnowsTools(Protocol):
    """A backend that can tell whether the tools of a case reach its model."""

    def tools_left_out(self, case: Case, variant: str) -> str | None:
        """Why they do not; None where they do."""
        ...


def tell_tools_left_out(backend: Backend, cases: Sequence[Case]) -> None:
    """Announce for which cases a variant is not told of the tools, and why: their calls stay unscored."""
    if not isinstance(backend, KnowsTools):
        return
    with_tools = [case for case in cases if case.tools and case.epoch == 0]
    for variant in backend.variants:
        lost = [why for case in with_tools if (why := backend.tools_left_out(case, variant))]
        if lost:
            _log.warning("%s: %d cases with tools are unscored in their calls: %s", variant, len(lost), lost[0])
