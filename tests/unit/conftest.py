"""Models here are tiny."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True, scope="module")
def _models_are_tiny(brief_looks: None) -> None:
    """Nothing is measured longer than it takes to answer."""
