"""Which cases of the suites are asked, and how often."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmbench.cases.suites import Case, Vocabulary, load_cases
from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.core.starter import present

if TYPE_CHECKING:
    from pytest_llmbench.core.settings import Settings


def chosen_cases(settings: Settings, vocabulary: Vocabulary) -> list[Case]:
    """The cases of the settings' suites that the settings select; starter suites where the project has none.

    Raises:
        UsageError: a suite is wrong, or a wanted category has no case.
    """
    return select(load_cases([present(Path(path)) for path in settings.benchmark.prompts], vocabulary), settings)


def select(cases: Sequence[Case], settings: Settings) -> list[Case]:
    """The cases of the wanted categories, at most `limit`, repeated for each epoch.

    Raises:
        UsageError: a wanted category has no case.
    """
    wanted = settings.benchmark.categories
    known = dict.fromkeys(case.category for case in cases)
    if unknown := [category for category in wanted or () if category not in known]:
        raise UsageError(f"benchmark.categories: no suite is called {unknown[0]!r}; there are {', '.join(known)}")
    chosen = [case for case in cases if wanted is None or case.category in wanted][: settings.benchmark.limit]
    epochs = settings.generation.epochs
    if epochs == 1:
        return chosen
    return [dataclasses.replace(case, epoch=epoch) for case in chosen for epoch in range(epochs)]
