"""What JUnit XML says of a whole session, whether it has a gate or not."""

from __future__ import annotations

from collections.abc import Sequence

import pytest


def record_verdict(config: pytest.Config, sentences: Sequence[str]) -> None:
    """Properties `llmbench.verdict` of the test suite, where JUnit XML is written; nothing elsewhere."""
    for plugin in config.pluginmanager.get_plugins():
        add = getattr(plugin, "add_global_property", None)  # what pytest's record_testsuite_property calls
        if add is not None:
            for sentence in sentences:
                add("llmbench.verdict", sentence)
