"""Chunks of documents, as retrieval systems store them, and the facts that each of them tells."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pytest_llmbench.core.documents import MOST_FAULTS, Faults
from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.core.languages import told_language
from pytest_llmbench.datasets.near_duplicates import bare
from pytest_llmbench.datasets.phrasing import Phrasing
from pytest_llmbench.datasets.record_files import Progress, no_progress, read_records

TEXT_KEYS = ("text", "content", "page_content", "chunk", "body", "texte", "contenu")
TITLE_KEYS = ("title", "titre", "name", "nom", "application", "app_name")
SECTION_KEYS = ("section", "heading", "rubrique")
METADATA_KEYS = ("metadata", "meta")
SUMMARY_KEYS = ("description", "summary", "résumé", "resume")

_LONGEST_ANSWER = 500  # characters of a definition
_LONGEST_VALUE = 60  # characters behind a colon; more are prose
_FEW_WORDS = 3  # behind a colon; more that end as a sentence are prose
_MARKED = re.compile(r"[ \t]*[-*•#]")  # a bullet, a heading or a bold key
_SENTENCE_END = re.compile(r"[.!?…](?:\s|$)")
_SENTENCE = re.compile(r".+?(?:[.!?…](?=\s|$)|$)", re.DOTALL)
_PAIR = re.compile(
    r"^[ \t]*[-*•#]*[ \t]*\**([^:\n*]{2,40}?)\**[ \t]*:(?!//)[ \t]*\**[ \t]*(\S.*?)[ \t.]*$", re.MULTILINE
)


@dataclasses.dataclass(frozen=True, slots=True)
class Chunk:
    """One chunk. `fields` holds what it tells in so many words, keyed by bare names; `title` is what it is about.

    `language` is the one that it names itself.
    """

    line: int
    title: str | None
    text: str
    section: str | None
    summary: str | None
    fields: Mapping[str, str | bool]
    language: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Fact:
    """One thing to be learnt: questions that ask for it, the plainest first, and the answer to each."""

    questions: tuple[str, ...]
    answer: str


def is_chunk(record: Any) -> bool:
    """Whether a record has the text of a chunk."""
    return isinstance(record, dict) and any(isinstance(record.get(key), str) for key in TEXT_KEYS)


def read_chunks(path: Path | str, progress: Progress = no_progress) -> Iterator[Chunk]:
    """The chunks of a `.jsonl`, `.csv` or `.json` file; the accepted keys are the constants of this module.

    Raises:
        UsageError: the file is unreadable or empty, or a record has no text; one `file:line: ...` for each fault.
    """
    faults, wrong, empty = Faults(), 0, True
    for line, record in read_records(path, faults, progress):
        empty = False
        if is_chunk(record):
            yield _chunk(line, record)
            continue
        faults.at(path, line, f"a chunk is an object with its text under one of: {', '.join(TEXT_KEYS)}")
        wrong += 1
        if wrong == MOST_FAULTS:
            break
    faults.raise_any()
    if empty:
        raise UsageError(f"{path}: the file holds no chunk")


def facts_of(chunk: Chunk, phrasing: Phrasing, *, first: bool) -> Iterator[Fact]:
    """What a chunk with a title tells. Only the `first` one of a title defines it; others answer for their section."""
    if chunk.title is None:
        return
    definition = chunk.summary or _beginning(chunk, phrasing)
    if definition and first:
        yield _fact(chunk, phrasing.definition, definition)
    elif definition and chunk.section:
        yield _fact(chunk, phrasing.section, definition)
    for name, value in chunk.fields.items():
        if field := phrasing.fields.get(name):
            said = phrasing.answers[value] if isinstance(value, bool) else value.rstrip(" .")
            answer = field.answer.format_map({"title": chunk.title, "value": said})
            yield _fact(chunk, field.questions, answer)


def _fact(chunk: Chunk, patterns: tuple[str, ...], answer: str) -> Fact:
    slots = {"title": chunk.title, "section": chunk.section}
    return Fact(tuple(pattern.format_map(slots) for pattern in patterns), answer)


def _chunk(line: int, record: Mapping[str, Any]) -> Chunk:
    metadata: dict[str, Any] = {}
    for key in METADATA_KEYS:
        if isinstance(record.get(key), dict):
            metadata.update(record[key])
    text = _first(record, TEXT_KEYS) or ""
    known = {**metadata, **{key: value for key, value in record.items() if key not in (*TEXT_KEYS, *METADATA_KEYS)}}
    told: dict[str, str | bool] = {bare(key): value for key, value in _PAIR.findall(text)}
    told.update({bare(key): said for key, value in known.items() if (said := _said(value)) != ""})
    return Chunk(
        line=line,
        title=_first(known, TITLE_KEYS),
        text=text,
        section=_first(known, SECTION_KEYS),
        summary=_first(known, SUMMARY_KEYS),
        fields=told,
        language=told_language(known),
    )


def _first(record: Mapping[str, Any], keys: tuple[str, ...]) -> str | None:
    return next((value.strip() for key in keys if isinstance(value := record.get(key), str) and value.strip()), None)


def _said(value: Any) -> str | bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str | int | float):
        return str(value).strip()
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ", ".join(value)
    return ""


def _beginning(chunk: Chunk, phrasing: Phrasing) -> str:
    """The first whole sentences of the text, without its headings and `key: value` lines."""

    def prose(pair: re.Match[str]) -> str:
        is_prose = len(pair[2]) > _LONGEST_VALUE or _is_sentence(pair, chunk.title)
        return pair[0] if is_prose and bare(pair[1]) not in phrasing.fields else ""

    lines = [line.strip() for line in _PAIR.sub(prose, chunk.text).splitlines()]
    headings = {bare(heading) for heading in (chunk.title, chunk.section) if heading}
    running = " ".join(line for line in lines if line and not line.startswith("#") and bare(line) not in headings)
    taken = ""
    for sentence in _SENTENCE.findall(running):
        if len(taken) + len(sentence) > _LONGEST_ANSWER:
            break
        taken += sentence
    return taken.strip()


def _is_sentence(pair: re.Match[str], title: str | None) -> bool:
    """Whether a line with a colon is prose: `JARVIS is simple: it listens.` is, `- Port: 80.` is not."""
    if _MARKED.match(pair[0]) or not _SENTENCE_END.search(pair[0]):
        return False
    words = len(pair[2].split())
    says_of_title = title is not None and bare(pair[1]).startswith(f"{bare(title)} ")
    return words > (1 if says_of_title else _FEW_WORDS)
