"""What an evaluation asks: the rows of a test set, the same with passages to read, and questions of general knowledge.

Each becomes a case, so that they are answered in the same batches, by the same planner, as the main job's.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import logging
import random
import re
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_llmbench.benchmark.evaluation.retrieval import Passage
from pytest_llmbench.cases.suites import Case, load_vocabulary
from pytest_llmbench.core.errors import UsageError, located, naming
from pytest_llmbench.core.files import locked
from pytest_llmbench.core.languages import find_language, languages, no_sentences, recognised, told_language
from pytest_llmbench.datasets.record_files import read_records
from pytest_llmbench.datasets.row_formats import answer_text
from pytest_llmbench.datasets.rows import NumberedRow, stream_rows
from pytest_llmbench.generation.completion_store import drop_journal, journal_in, remove_journal
from pytest_llmbench.models.reasoning import split_reasoning

TEST, RETRIEVAL, GENERAL = "test", "retrieval", "general"
"""The categories of the cases."""

WORDLESS = "{passages}\n\n{question}"
"""What the retrieval variants are asked in a language that there are no words for."""

PLACES = ("passages", "question")
"""What stands in the text that the retrieval variants are asked."""
_PLACE = re.compile(rf"\{{({'|'.join(PLACES)})\}}")

GENERAL_FILE = Path("data/general.jsonl")

_PASSAGE_CHARS = 1200  # so that a few passages and the question fit a context of 2,048 tokens

_EVERY_BASES = "en"  # what a base of any language was trained on most, and what a fine-tune may forget

_log = logging.getLogger("pytest_llmbench")

_FOLDER = ".evaluation"


@dataclasses.dataclass(frozen=True, slots=True)
class General:
    """What a base could do before: `texts` it found likely, and `questions` that it answered."""

    texts: tuple[str, ...]
    questions: tuple[Case, ...]


def read_test_set(path: Path) -> list[Case]:
    """A case for each row of a dataset in any form.

    The last user turn is the question, the assistant's answer to it the reference, without what it thinks before.

    Raises:
        UsageError: the file is unreadable, or a row is wrong; with its line.
    """
    ids = _Ids()
    return [_case(path, numbered, ids.of(numbered.line)) for numbered in stream_rows(path)]


def drawn(cases: list[Case], limit: int | None, seed: int) -> list[Case]:
    """At most `limit` of them, drawn with `seed`, in their order."""
    if limit is None or limit >= len(cases):
        return cases
    return [cases[place] for place in sorted(random.Random(seed).sample(range(len(cases)), limit))]  # noqa: S311


def with_passages(case: Case, passages: Sequence[Passage], template: str) -> Case:
    """The same question, to be answered from the passages."""
    shown = "\n\n".join(f"[{number}] {_cut(passage.text)}" for number, passage in enumerate(passages, start=1))
    said = {"passages": shown or "-", "question": case.prompt}
    content = _PLACE.sub(lambda place: said[place[1]], template)  # at once: a passage may hold such a place itself
    messages = (*case.messages[:-1], {**case.messages[-1], "content": content})
    return dataclasses.replace(case, category=RETRIEVAL, prompt=content, messages=messages)


def check_template(template: str) -> None:
    """Raise UsageError unless the passages and the question have their places in the template."""
    if missing := [f"{{{place}}}" for place in PLACES if f"{{{place}}}" not in template]:
        told = f"the context prompt has no {missing[0]}; it needs both {{passages}} and {{question}}"
        raise UsageError(told, names=("context_prompt",))


def read_general(path: Path, only: Collection[str] = ()) -> General:
    """Rows with a `text`, for perplexity, or with a `question`, to be answered.

    Where `only` names languages, rows of another one are left out, as long as a text is left.

    Raises:
        UsageError: the file is unreadable, a row has neither, or there is no text at all.
    """
    rows = list(read_records(path))
    for line, record in rows:
        if not isinstance(record, dict) or not (_said(record.get("text")) or _said(record.get("question"))):
            raise UsageError(located(path, line, "a row has a 'text' for perplexity, or a 'question' to be answered"))
    found = _general(path, [(line, row) for line, row in rows if not only or told_language(row) in (None, *only)])
    found = found if found.texts else _general(path, rows)
    if not found.texts:
        raise UsageError(f"{path}: there is no row with a 'text', so no perplexity can be told")
    return found


def _general(path: Path, rows: Iterable[tuple[int, Mapping[str, Any]]]) -> General:
    texts, questions, ids = [], [], _Ids()
    for line, row in rows:
        if _said(row.get("text")):
            texts.append(row["text"])
        else:
            questions.append(_general_case(path, line, row, ids.of(line)))
    return General(tuple(texts), tuple(questions))


class _Ids:
    """Names rows by their lines; rows of a JSON file may share one, and answers are told apart by these names."""

    def __init__(self) -> None:
        self._seen: collections.Counter[int] = collections.Counter()

    def of(self, line: int) -> str:
        """The line, with a number behind it from its second row on."""
        self._seen[line] += 1
        return str(line) if self._seen[line] == 1 else f"{line}-{self._seen[line]}"


def _case(path: Path, numbered: NumberedRow, name: str) -> Case:
    row = numbered.row
    tool = row.get("tool")
    return Case(
        TEST,
        name,
        row["prompt"][-1]["content"],
        tuple(row["prompt"]),
        tool=tool if isinstance(tool, str) else None,
        reference=split_reasoning(answer_text(row)).answer,
        language=told_language(row),
        source=f"{path}:{numbered.line}",
    )


def _general_case(path: Path, line: int, record: Mapping[str, Any], name: str) -> Case:
    question = record["question"]
    message = {"role": "user", "content": question}
    return Case(GENERAL, name, question, (message,), language=record.get("language"), source=f"{path}:{line}")


def _said(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _cut(text: str) -> str:
    return text if len(text) <= _PASSAGE_CHARS else text[:_PASSAGE_CHARS].rsplit(" ", 1)[0] + " …"


class RowLanguage:
    """The language of each case: what its row names, else what the rows are in, else that of the vocabulary.

    Args:
        cases: the test set.
        vocabulary: the project's own; what it names counts last.

    Raises:
        UsageError: a language file or the vocabulary is wrong.
    """

    def __init__(self, cases: Sequence[Case], vocabulary: Path) -> None:
        self._known = languages()
        texts = [text for case in cases for text in (case.prompt, case.reference or "")]
        self._unnamed = recognised(texts, self._known)
        if self._unnamed is None and vocabulary.exists():
            self._unnamed = load_vocabulary(vocabulary).language
        self._cases = cases

    def general(self) -> frozenset[str]:
        """The languages whose general texts and questions are looked at; none for all of them."""
        named = {self._of(case) for case in self._cases}
        codes = {found.code for told in named if told and (found := find_language(told, self._known))}
        return frozenset({*codes, *(told for told in named if told), _EVERY_BASES}) if any(named) else frozenset()

    def context_prompts(self) -> list[str]:
        """What stands around the passages of each case; without words, which is announced, where there are none.

        Raises:
            UsageError: a language file has no `retrieval`, or no place for passages or question in it.
        """
        told = {language: self._context_prompt(language) for language in {self._of(case) for case in self._cases}}
        return [told[self._of(case)] for case in self._cases]

    def _of(self, case: Case) -> str | None:
        return case.language or self._unnamed

    def _context_prompt(self, told: str | None) -> str:
        found = find_language(told, self._known) if told else None
        if found:
            return found.text("retrieval", PLACES)
        why = no_sentences(told, self._known) if told else "nothing says in which language the rows are"
        told = "passages stand before the questions without a word: %s, or give a context prompt"
        _log.warning(told, why, extra=naming("context_prompt"))
        return WORDLESS


@contextlib.contextmanager
def answers_folder(report_dir: Path, *, resume: bool) -> Iterator[Path]:
    """A folder for the journal, kept from other evaluations while the block runs.

    It goes when the block ends well; else it stays for a later `resume`, if an answer is in it.

    Raises:
        UsageError: another evaluation is under way there.
        NotReadyError: the folder cannot be written.
    """
    folder = report_dir / _FOLDER
    in_use = f"{report_dir} is in use: another evaluation is writing there; wait for it, or choose another folder"
    with locked(folder / ".lock", in_use=in_use, names=("output.report_dir",)):
        try:
            if not resume:
                drop_journal(folder)
            yield folder
            remove_journal(folder)
        finally:
            if journal_in(folder) is None:
                shutil.rmtree(folder, ignore_errors=True)
