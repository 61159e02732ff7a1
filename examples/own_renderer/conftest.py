"""One more section in every format, and one more format: the outline of a report as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pytest_llmbench.api import blocks


def pytest_llmbench_report_sections(document: Mapping[str, Any], kind: str, language: str) -> list[blocks.Section]:
    if kind != "benchmark":
        return []
    title = {"en": "Length of the prompts", "fr": "Longueur des prompts"}[language]
    longest = max(document["results"], key=lambda row: len(row["prompt"]))
    columns = [blocks.Column("prompt", left=True), blocks.Column("characters")]
    rows = [[blocks.Name(longest["case"]), blocks.Number(len(longest["prompt"]))]]
    return [blocks.Section("prompts", title, [blocks.Table(columns, rows)])]


class Outline:
    """The titles of a report's sections, and its verdicts."""

    name, suffix = "outline", "outline.json"

    def render(self, report: blocks.Report) -> str:
        verdicts = [
            {"outcome": block.outcome, "text": block.text}
            for section in report.sections
            for block in section.blocks
            if isinstance(block, blocks.Verdict)
        ]
        sections = [section.title for section in report.sections]
        return json.dumps({"title": report.title, "sections": sections, "verdicts": verdicts}, ensure_ascii=False)


def pytest_llmbench_report_renderers(registry: Any) -> None:
    registry.add(Outline())
