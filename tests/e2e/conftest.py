"""The order of a whole run: files that take longest begin first, so that no worker waits for one at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

LONGEST = ("test_studio_pages.py", "test_documentation.py", "test_recipes.py", "test_examples.py")
"""Each starts further processes that load a model; after them come the other tests of whole systems."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """After the shuffle, which it leaves as it is within files."""
    items.sort(key=lambda item: (item.path.name not in LONGEST, "e2e" not in item.path.parts))
