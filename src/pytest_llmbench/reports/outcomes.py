"""The signs of outcomes: one table for every report, page and figure."""

from __future__ import annotations

SIGNS = {"pass": "✓", "fail": "✗", "inconclusive": "?"}
"""Signs that every font has."""
COLOURED_SIGNS = {"pass": "✅", "fail": "❌", "inconclusive": "❔"}
"""The same as GitHub shows them in colour, where a report can have none of its own."""
