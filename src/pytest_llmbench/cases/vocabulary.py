"""The vocabulary that answers are judged by: the tools a case may be routed to, and the terms that tell of each."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_llmbench.cases.tools import Tool, as_openai, name_of
from pytest_llmbench.cases.validation import VOCABULARY_CHECKS, key_faults, vocabulary_tool
from pytest_llmbench.core.documents import Faults, read_yaml


@dataclasses.dataclass(frozen=True, slots=True)
class Vocabulary:
    """The tools a case may be routed to, and the terms that tell of each, where it has any.

    `schemas` are those of the tools that have a description or parameters: every case gives them to the model, unless
    it brings `tools` of its own.
    """

    tools: Mapping[str, tuple[str, ...]]
    language: str | None = None
    path: Path | None = None
    schemas: tuple[Tool, ...] = ()

    def about(self, tool: str) -> Sequence[str]:
        """What tells of a tool: its terms, or where it has none, its description."""
        described = (one["function"].get("description") for one in self.schemas if name_of(one) == tool)
        return self.tools[tool] or [told for told in described if told]


def load_vocabulary(path: Path | str) -> Vocabulary:
    """Read the tools and their terms (`language: fr`, `tools: {volume_up: [son, volume]}`).

    A tool may be a mapping of `terms`, `description` and `parameters`, and `tools` a list of tools in OpenAI's form.

    Raises:
        UsageError: the file is unreadable or wrong; one `file:line: ...` for each fault.
    """
    document = read_yaml(path)
    faults = Faults()
    data = document.data if isinstance(document.data, dict) else {}
    for where, message in key_faults(data, VOCABULARY_CHECKS):
        faults.at(document.path, document.line(*where), message)
    tools = data.get("tools")
    if "tools" not in data:
        faults.at(document.path, 1, "a vocabulary needs 'tools': a name for each tool, with the list of its terms")
    for tool, given in tools.items() if isinstance(tools, dict) else ():
        if fault := vocabulary_tool(tool, given):
            faults.at(document.path, document.line("tools", tool, *fault[0]), f"tool '{tool}': {fault[1]}")
    faults.raise_any()
    return _vocabulary(data, document.path)


def _vocabulary(data: Mapping[str, Any], path: Path) -> Vocabulary:
    if isinstance(data["tools"], list):
        schemas = tuple(as_openai(tool) for tool in data["tools"])
        return Vocabulary({name_of(tool): () for tool in schemas}, data.get("language"), path, schemas)
    functions = {name: given for name, given in data["tools"].items() if isinstance(given, dict)}
    described = {
        name: {key: value for key, value in given.items() if key != "terms"} for name, given in functions.items()
    }
    return Vocabulary(
        {name: tuple(given.get("terms", ()) if name in functions else given) for name, given in data["tools"].items()},
        data.get("language"),
        path,
        tuple(as_openai({"name": name, **given}) for name, given in described.items() if given),
    )
