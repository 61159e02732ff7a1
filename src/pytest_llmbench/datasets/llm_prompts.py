"""Rows that a language model writes: what it is asked, and how strictly its answers are read."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pytest_llmbench.core.errors import UsageError, located
from pytest_llmbench.core.languages import Language, text_faults
from pytest_llmbench.core.writable import writable

LONGEST_QUESTION = 300
LONGEST_ANSWER = 1500
"""Characters of a question and an answer; longer ones are refused."""

_TOKENS_A_ROW = 200  # a question and a short answer with their keys, in any language
_SPARE_TOKENS = 250  # so that one of the rows may be long
_CHARACTERS_A_TOKEN = 2  # at least, of most languages

_FENCE = re.compile(r"\A```[ \t]*(?:json)?(?=\W)(.*)```\Z", re.DOTALL | re.IGNORECASE)
_NUMBER = re.compile(r"\d{2,}")
_PLACE = re.compile(r"\{(\w+)\}")

_TEXTS: Mapping[str, tuple[str, ...]] = {
    "answer": (),
    "system": (),
    "chunk": ("title", "text", "count"),
    "untitled": ("text", "count"),
    "tool": ("tool", "terms", "count"),
    "row": ("question", "answer", "count"),
    "again": ("series",),
}
"""The texts of a language's `writing`, and what stands in each."""


@dataclasses.dataclass(frozen=True, slots=True)
class Assignment:
    """One request to the model for `count` rows. `ground` is what numbers in the answers must stand in, if anything.

    `said` is the only right answer, where there is one; `ending` follows each answer.
    """

    writing: Writing
    instructions: str
    count: int
    ground: str | None = None
    said: str | None = None
    ending: str = ""

    @property
    def messages(self) -> list[dict[str, str]]:
        """What the model is given."""
        return [
            {"role": "system", "content": self.writing.system},
            {"role": "user", "content": self.instructions},
        ]

    @property
    def most_tokens(self) -> int:
        """As many as so many rows may take; each says its answer again where that is given."""
        said = len(self.said or "") // _CHARACTERS_A_TOKEN
        return _SPARE_TOKENS + self.count * (_TOKENS_A_ROW + said)


@dataclasses.dataclass(frozen=True, slots=True)
class Written:
    """What was read from one answer: questions with their answers, and why others were refused."""

    pairs: tuple[tuple[str, str], ...]
    refused: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Writing:
    """How rows are asked for in a language; `answer` is the key that the model writes an answer under."""

    answer: str
    system: str
    chunk: str
    untitled: str
    tool: str
    row: str
    again: str

    def about_chunk(self, title: str | None, text: str, count: int) -> Assignment:
        """Questions about a chunk, answered from it alone."""
        asked = _filled(self.chunk if title else self.untitled, title=title, text=text, count=count)
        return Assignment(self, asked, count, ground=f"{title} {text}")

    def about_tool(self, tool: str, terms: Sequence[str], count: int) -> Assignment:
        """Requests that call a tool of the vocabulary."""
        asked = _filled(self.tool, tool=tool, terms=", ".join(terms), count=count)
        return Assignment(self, asked, count, ending=f" [{tool}]")

    def like_row(self, question: str, answer: str, count: int) -> Assignment:
        """Other ways to ask what a row asks."""
        asked = _filled(self.row, question=question, answer=answer, count=count)
        return Assignment(self, asked, count, said=answer)


def writing_of(language: Language) -> Writing:
    """How rows are asked for in a language.

    Raises:
        UsageError: its file has no `writing`, or a text there is missing or wrong; with its line.
    """
    texts = language["writing"]
    if not isinstance(texts, dict) or set(texts) != set(_TEXTS):
        where = language.document.line("writing")
        raise UsageError(located(language.path, where, f"'writing' has exactly these keys: {', '.join(_TEXTS)}"))
    for key, places in _TEXTS.items():
        for fault in text_faults(texts[key], places):
            raise UsageError(located(language.path, language.document.line("writing", key), f"{key}: {fault}"))
    return Writing(**texts)


def again(assignment: Assignment, series: int) -> Assignment:
    """The same once more, for other rows than those of the series before."""
    more = _filled(assignment.writing.again, series=series)
    return dataclasses.replace(assignment, instructions=f"{assignment.instructions}\n\n{more}")


def read_answer(text: str, assignment: Assignment) -> Written:
    """The questions and answers that the model wrote; anything that is not exactly what was asked for is refused.

    One code fence around the whole of it is taken off: many models cannot write JSON without.
    """
    fenced = _FENCE.match(text.strip())
    try:
        items = writable(json.loads(fenced[1] if fenced else text))  # an escape may stand for half a character
    except (ValueError, RecursionError):
        return Written((), ("no JSON list",) * assignment.count)
    if not isinstance(items, list):
        return Written((), ("no JSON list",) * assignment.count)
    pairs: list[tuple[str, str]] = []
    refused: list[str] = []
    for item in items:
        if fault := _fault(item, assignment) or ("repeated" if _pair(item, assignment) in pairs else None):
            refused.append(fault)
        else:
            pairs.append(_pair(item, assignment))
    return Written(tuple(pairs), tuple(refused))


def _filled(pattern: str, /, **values: object) -> str:
    """The pattern with its places filled; braces that are no place, as JSON has them, stay."""
    return _PLACE.sub(lambda place: str(values.get(place[1], place[0])), pattern)


def _pair(item: Mapping[str, Any], assignment: Assignment) -> tuple[str, str]:
    return item["question"].strip(), item[assignment.writing.answer].strip() + assignment.ending


def _fault(item: Any, assignment: Assignment) -> str | None:
    key = assignment.writing.answer
    if not isinstance(item, dict) or item.keys() != {"question", key}:
        return f"other keys than question and {key}"
    question, answer = item["question"], item[key]
    if not isinstance(question, str) or not isinstance(answer, str) or not question.strip() or not answer.strip():
        return "empty"
    if len(question) > LONGEST_QUESTION or len(answer) > LONGEST_ANSWER:
        return "too long"
    if assignment.said is not None and answer.strip() != assignment.said.strip():
        return "another answer than the row's"
    if assignment.ground is not None and not set(_NUMBER.findall(answer)) <= set(_NUMBER.findall(assignment.ground)):
        return "a number that the source does not hold"
    return None
