"""Reads an uploaded file in a process of its own, whose memory and time end with it. One JSON document comes out.

A file of ten kilobytes can ask for gigabytes or hours (lists in lists, a quote that is never closed). The library's own
reader refuses most of that; what it does not, the studio ends together with this process.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from pytest_llmbench.core.errors import LLMBenchError, UsageError
from pytest_llmbench.datasets.summary import Summary, summarise_rows

SHOWN_ROWS = 20
_SHOWN_CHARACTERS = 2_000
_SHOWN_MATCHES = 50
_LANGUAGE_ROWS = 400
_AT_ONCE = 20  # texts that tell a language together; one alone is often too short
_UNKNOWN = "unknown"


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True)


class Message(_Document):
    """One turn of a row; a long one is cut."""

    role: str
    content: str


class Row(_Document):
    """A row as training takes it, with the line where it begins."""

    line: int
    prompt: tuple[Message, ...]
    completion: tuple[Message, ...]


class Contents(_Document):
    """What was read of a dataset. `languages` are those of its first rows, by how many are in each."""

    statistics: Summary
    languages: dict[str, int]
    preview: tuple[Row, ...]


class Finding(_Document):
    """What a check found: how bad, which check, in words, on how many rows, and the first of them."""

    severity: Literal["error", "warning", "note"]
    check: str
    message: str
    count: int
    where: tuple[str, ...]


class NearCase(_Document):
    """A row that asks what a case of the suites asks; `row` counts from 0, `similarity` is 0 to 1."""

    row: int
    text: str
    case: str
    asked: str
    similarity: float
    kind: Literal["same", "near", "part"]


class Check(_Document):
    """Near-duplicates and what else a check found, and the rows that come near to a case, the nearest ones shown."""

    rows: int
    cases: int
    findings: tuple[Finding, ...]
    contaminated: int
    nearest: tuple[NearCase, ...]


def contents(path: Path, most_rows: int) -> Contents:
    """Read a whole dataset.

    Raises:
        UsageError: a row is wrong, or there are more than `most_rows`.
    """
    from pytest_llmbench.datasets.rows import NumberedRow, stream_rows

    first: list[NumberedRow] = []

    def watched() -> Iterator[NumberedRow]:
        for count, numbered in enumerate(stream_rows(path), start=1):
            if count > most_rows:
                raise UsageError(
                    f"{path}:{numbered.line}: more than {most_rows} rows; split the file, or allow more",
                    names=("studio.rows",),
                )
            if count <= _LANGUAGE_ROWS:
                first.append(numbered)
            yield numbered

    return Contents(
        statistics=summarise_rows(watched()),
        languages=_languages(numbered.row for numbered in first),
        preview=tuple(_shown(numbered) for numbered in first[:SHOWN_ROWS]),
    )


def check(path: Path, suites: Iterable[Path], vocabulary: Path) -> Check:
    """Compare the rows with each other and with the cases.

    Raises:
        UsageError: the dataset or a suite is wrong.
    """
    from pytest_llmbench.cases.suites import load_cases, load_vocabulary
    from pytest_llmbench.datasets.files import check_dataset

    cases = load_cases(suites, load_vocabulary(vocabulary))
    found = check_dataset(path, cases=cases)
    nearest = sorted(found.contaminated, key=lambda match: -match.similarity)[:_SHOWN_MATCHES]
    return Check(
        rows=found.rows,
        cases=len(cases),
        findings=tuple(
            Finding.model_validate(
                {**dataclasses.asdict(finding), "where": [text.replace(f"{path}:", "line ") for text in finding.where]}
            )
            for finding in found.findings
        ),
        contaminated=len(found.contaminated),
        nearest=tuple(
            NearCase(
                row=match.row,
                text=_cut(match.text),
                case=match.case,
                asked=_cut(match.asked),
                similarity=match.similarity,
                kind=match.kind,
            )
            for match in nearest
        ),
    )


def _languages(rows: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    from pytest_llmbench.core.languages import languages, recognised
    from pytest_llmbench.datasets.row_formats import answer_text, user_text

    known, found, rest = languages(), Counter[str](), iter(rows)
    while group := list(itertools.islice(rest, _AT_ONCE)):
        texts = [text for row in group for text in (user_text(row), answer_text(row))]
        found[recognised(texts, known) or _UNKNOWN] += len(group)
    return dict(found.most_common())


def _shown(numbered: Any) -> Row:
    row = numbered.row
    return Row(line=numbered.line, prompt=_messages(row["prompt"]), completion=_messages(row["completion"]))


def _messages(said: Iterable[Mapping[str, str]]) -> tuple[Message, ...]:
    return tuple(Message(role=one["role"], content=_cut(one["content"])) for one in said)


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]} …"


def main(words: list[str]) -> None:
    """`contents PATH ROWS`, or `check PATH VOCABULARY SUITE...`: a JSON document, or the error, on standard output."""
    os.nice(5)  # the studio and a training go before
    what, path, *rest = words
    try:
        if what == "contents":
            made: BaseModel = contents(Path(path), int(rest[0]))
        else:
            made = check(Path(path), map(Path, rest[1:]), Path(rest[0]))
    except LLMBenchError as error:
        told = {"error": {"code": error.code, "message": str(error), "names": error.names}}
        sys.stdout.write(json.dumps(told))
        return
    sys.stdout.write(made.model_dump_json())


if __name__ == "__main__":
    main(sys.argv[1:])
