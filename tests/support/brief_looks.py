"""Tiny models need no second in which the best number of threads is looked for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module")
def brief_looks() -> Iterator[None]:
    """Have every look at the threads take a moment."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("pytest_llmbench.generation.local.calibration._SECONDS", 0.02)
        yield
