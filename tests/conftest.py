"""Which tests come first: a process that is left with a long file alone is what all the others wait for."""

from __future__ import annotations

from pathlib import Path

import pytest

LONG = Path(__file__).parent / "e2e"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Real models, servers and browsers first, after whatever shuffles them."""
    items.sort(key=lambda item: LONG not in item.path.parents)
