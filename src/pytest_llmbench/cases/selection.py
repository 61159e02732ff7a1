"""Which cases of the suites are asked, and how often."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmbench.cases.case_list import CaseView, categories_of
from pytest_llmbench.cases.suites import Case, Vocabulary, read_cases
from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.core.starter import present

if TYPE_CHECKING:
    from pytest_llmbench.core.settings import Settings


def chosen_cases(settings: Settings, vocabulary: Vocabulary) -> Sequence[Case]:
    """The cases of the settings' suites that the settings select; starter suites where the project has none.

    Raises:
        UsageError: a suite is wrong, or a wanted category has no case.
    """
    return select(every_case(settings, vocabulary), settings)


def every_case(settings: Settings, vocabulary: Vocabulary) -> Sequence[Case]:
    """The cases of the settings' suites, before any is selected; starter suites where the project has none.

    Raises:
        UsageError: a suite is wrong.
    """
    return read_cases([present(Path(path)) for path in settings.benchmark.prompts], vocabulary)


def select(cases: Sequence[Case], settings: Settings) -> Sequence[Case]:
    """The cases of the wanted categories, at most `limit`, repeated for each epoch.

    Raises:
        UsageError: a wanted category has no case.
    """
    chosen = CaseView(cases, _wanted(cases, settings)[: settings.benchmark.limit], settings.generation.epochs)
    return [*chosen] if isinstance(cases, list) else chosen


def is_limited(cases: Sequence[Case], settings: Settings) -> bool:
    """Whether `limit` leaves out any of the cases of the wanted categories. Raises what `select` does."""
    limit = settings.benchmark.limit
    return limit is not None and len(_wanted(cases, settings)) > limit


def _wanted(cases: Sequence[Case], settings: Settings) -> Sequence[int]:
    """The places of the cases of the wanted categories."""
    wanted = settings.benchmark.categories
    known = dict.fromkeys(categories_of(cases))
    if unknown := [category for category in wanted or () if category not in known]:
        raise UsageError(f"benchmark.categories: no suite is called {unknown[0]!r}; there are {', '.join(known)}")
    if wanted is None:
        return range(len(cases))
    return array("Q", (place for place, category in enumerate(categories_of(cases)) if category in wanted))
