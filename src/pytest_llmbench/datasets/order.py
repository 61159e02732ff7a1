"""What a person wants of `llmbench dataset generate`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pytest_llmbench.cases.suites import Case

Method = Literal["simple", "augmented", "llm"]


@dataclasses.dataclass(frozen=True, slots=True)
class Writer:
    """The server that writes rows for `llm`. The journal keeps its answers, so that a stopped run goes on."""

    url: str
    journal: Path
    model: str | None = None
    key: str = ""
    concurrency: int = 4


@dataclasses.dataclass(frozen=True, slots=True)
class Order:
    """What is to be made. `count` None makes all the rows that the source holds. No row comes near to a case.

    `language` and `phrasing` (a language file) hold for all rows; where both are None, rows tell their language.
    """

    source: Path
    method: Method
    language: str | None = None
    phrasing: Path | None = None
    cases: Sequence[Case] = ()
    vocabulary: Path = Path("prompts/tools.yaml")
    count: int | None = None
    rows_of_a_kind: int = 36
    system: str | None = None
    seed: int = 42
    writer: Writer | None = None
