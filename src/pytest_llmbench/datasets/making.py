"""Making datasets: from chunks, from a dataset of any form, from templates or a vocabulary; by rule or by a model."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pytest_llmbench.cases.suites import Case, load_vocabulary
from pytest_llmbench.core.documents import read_yaml
from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.core.languages import told_language
from pytest_llmbench.core.starter import present
from pytest_llmbench.datasets.augmentation import Refusal, RowSource, draw_rows, fact_source, row_source
from pytest_llmbench.datasets.by_model import write_rows_of_model
from pytest_llmbench.datasets.chunks import Fact, facts_of, is_chunk, read_chunks
from pytest_llmbench.datasets.contamination import CaseTexts, contamination, user_turns
from pytest_llmbench.datasets.disk_sequence import Computed, KnownTexts, spooled
from pytest_llmbench.datasets.from_templates import KINDS, load_templates, reserved_prompts, rows_from_templates
from pytest_llmbench.datasets.messages import FormError
from pytest_llmbench.datasets.near_duplicates import identity
from pytest_llmbench.datasets.order import Order
from pytest_llmbench.datasets.record_files import OnProgress, Progress, read_records, reading
from pytest_llmbench.datasets.row_formats import form_of
from pytest_llmbench.datasets.row_languages import Origin, RowLanguages
from pytest_llmbench.datasets.rows import stream_rows

_YAML = {".yaml", ".yml"}


@dataclasses.dataclass(frozen=True, slots=True)
class Made:
    """The rows, in a random order; `heldout` only from templates. `notes` tell what was left out and why.

    Rows that are drawn from chunks or rows are on disk: a look at one reads it, and going through them needs no memory.
    """

    origin: Origin
    rows: Sequence[dict[str, Any]]
    heldout: list[dict[str, Any]]
    notes: tuple[str, ...]


def origin_of(path: Path) -> Origin:
    """What kind of source a file is, by its ending and its first record.

    Raises:
        UsageError: it is none, or empty.
    """
    if path.suffix.lower() in _YAML:
        data = read_yaml(path).data
        return "templates" if isinstance(data, dict) and "slots" in data else "vocabulary"
    line, first = next(read_records(path), (0, None))
    if not line:
        raise UsageError(f"{path}: the file is empty; it should hold chunks or rows")
    return "chunks" if is_chunk(first) and not _is_row(first) else "rows"


def _is_row(record: Any) -> bool:
    """Whether it has the form of a row, which may hold the same again as one text, as Alpaca's do."""
    try:
        form_of(record)
    except FormError:
        return False
    return True


@contextlib.contextmanager
def make(order: Order, on_progress: OnProgress = lambda _what, _done, _of: None) -> Iterator[Made]:
    """Make the rows that are ordered, to be used while in the `with`; the same order gives the same rows.

    A source of chunks or rows may have any size: it is copied to the temporary folder and read from there.

    Raises:
        UsageError: the source is wrong, or gives no row.
        ServerError: the server of the method `llm` is gone; its answers so far are in the journal.
        NotReadyError: the temporary folder is full.
    """
    origin = origin_of(order.source)
    if order.system is not None and (origin == "rows" or (origin == "templates" and order.method != "llm")):
        told = f"{order.source} has system prompts of its own, or none, and they stay; leave the system prompt out"
        raise UsageError(told, names=("system",))
    languages = RowLanguages(order, origin)
    with contextlib.ExitStack() as disk:
        if order.method == "llm":
            made = _finished(order, origin, *write_rows_of_model(order, origin, languages, on_progress))
        elif origin in ("templates", "vocabulary"):
            made = _from_templates(order, origin, languages)
        else:
            made = disk.enter_context(_drawn(order, origin, languages, on_progress))
        if not made.rows:
            raise UsageError("; ".join([f"{order.source}: no row could be made", *made.notes]))
        yield dataclasses.replace(made, notes=(*languages.notes, *made.notes))


def _from_templates(order: Order, origin: Origin, languages: RowLanguages) -> Made:
    if origin == "vocabulary":
        raise UsageError(
            f"{order.source} is a vocabulary, which holds no sentences; give the templates instead "
            "(data/templates.yaml), or a model that writes them (method llm)",
            names=("method", "server"),
        )
    kinds = KINDS if order.method == "augmented" else KINDS[:2]
    vocabulary = load_vocabulary(present(order.vocabulary))
    templates = load_templates(order.source, vocabulary)
    if templates.noise is None and order.method == "augmented":
        templates = dataclasses.replace(templates, noise=languages.phrasing(templates.language).noise)
    rows_of_a_kind = order.rows_of_a_kind
    if order.count is not None:
        rows_of_a_kind = math.ceil(order.count / (len(vocabulary.tools) * len(kinds)))
    per_tool = dict.fromkeys(kinds, rows_of_a_kind)
    reserved = reserved_prompts(order.cases)
    made = rows_from_templates(templates, reserved, per_tool=per_tool, seed=order.seed, count=order.count)
    notes = []
    if made.dropped:
        notes.append(f"{made.dropped} left out for being too near to a prompt of the suites or to a held-out row")
    rows = [row.to_json(made.system) for row in made.train[: order.count]]
    return Made(origin, rows, [row.to_json(made.system) for row in made.heldout], tuple(notes + _short(rows, order)))


@contextlib.contextmanager
def _drawn(order: Order, origin: Origin, languages: RowLanguages, on_progress: OnProgress) -> Iterator[Made]:
    method: Literal["simple", "augmented"] = "simple" if order.method == "simple" else "augmented"
    with contextlib.ExitStack() as disk:
        with _sources(order, origin, languages, reading(order.source, on_progress)) as (sources, notes):
            drawing = draw_rows(
                sources,
                method,
                languages.phrasing,
                count=order.count,
                seed=order.seed,
                refused=_refusing(order.cases),
                on_row=lambda done: on_progress("making rows", done, order.count),
            )
            drawn = disk.enter_context(drawing)
        if drawn.repeated:
            notes.append(f"{drawn.repeated} left out that another row asks already")
        yield Made(origin, drawn.rows, [], tuple(notes + _near(drawn.refused) + _short(drawn.rows, order)))


@contextlib.contextmanager
def _sources(
    order: Order, origin: Origin, languages: RowLanguages, progress: Progress
) -> Iterator[tuple[Sequence[RowSource], list[str]]]:
    """What the file holds, on disk while in the `with`, and notes on what was left out."""
    if origin == "rows":
        with spooled(_rows_with_sentences(order, languages, progress)) as rows:
            yield Computed(len(rows), lambda place: row_source(rows[place])), []
    else:
        facts = _Facts(order, languages, progress)
        with spooled(facts) as spool:
            yield Computed(len(spool), lambda place: _fact(order.system, *spool[place])), facts.notes()


def _rows_with_sentences(order: Order, languages: RowLanguages, progress: Progress) -> Iterator[dict[str, Any]]:
    """The rows; only plain ones need no sentences. A language without any is told before all else is made."""
    for numbered in stream_rows(order.source, progress):
        if order.method == "augmented":
            languages.phrasing(told_language(numbered.row), numbered.line)
        yield numbered.row


def _finished(order: Order, origin: Origin, rows: list[dict[str, Any]], notes: list[str]) -> Made:
    """What a model wrote, without what comes near to a case, in a random order."""
    taken = {match.row for match in contamination(rows, order.cases)}
    kept = [row for place, row in enumerate(rows) if place not in taken]
    random.Random(f"{order.seed}/order").shuffle(kept)  # noqa: S311 - reproducible on purpose, nothing secret
    kept = kept[: order.count]
    return Made(origin, kept, [], tuple(notes + _near(len(taken)) + _short(kept, order)))


def _fact(system: str | None, questions: list[str], answer: str, language: str | None) -> RowSource:
    return fact_source(Fact(tuple(questions), answer), system, language)


def _refusing(cases: Sequence[Case]) -> Refusal:
    """Which of some rows come near to a case."""
    reserved = CaseTexts(cases)

    def refused(rows: Sequence[Mapping[str, Any]]) -> set[int]:
        return {match.row for match in reserved.matches([*user_turns(rows)])}

    return refused


class _Facts:
    """The facts of a file of chunks in turn (questions, answer, language), and afterwards what was left out."""

    def __init__(self, order: Order, languages: RowLanguages, progress: Progress) -> None:
        self._order = order
        self._languages = languages
        self._progress = progress
        self._untitled = self._silent = self._first_untitled = 0

    def __iter__(self) -> Iterator[tuple[tuple[str, ...], str, str | None]]:
        with KnownTexts() as titles:
            for chunk in read_chunks(self._order.source, self._progress):
                if chunk.title is None:
                    self._untitled += 1
                    self._first_untitled = self._first_untitled or chunk.line
                    continue
                phrasing = self._languages.phrasing(chunk.language, chunk.line)
                facts = list(facts_of(chunk, phrasing, first=titles.add(identity(chunk.title))))
                self._silent += not facts
                yield from ((fact.questions, fact.answer, chunk.language) for fact in facts)

    def notes(self) -> list[str]:
        notes = []
        if self._untitled:
            first = f"first on line {self._first_untitled}"
            notes.append(f"{self._untitled} chunks have no title to ask about ({first}), left out")
        if self._silent:
            silent = f"{self._silent} chunks tell nothing that a question is known for"
            notes.append(f"{silent}, left out (the method llm asks a model)")
        return notes


def _near(count: int) -> list[str]:
    return [f"{count} left out for being too near to a prompt of the suites"] if count else []


def _short(rows: Sequence[Any], order: Order) -> list[str]:
    if order.count is None or len(rows) >= order.count:
        return []
    more = {"simple": "; the method augmented makes more of the same", "augmented": "", "llm": ""}[order.method]
    return [f"the source gives {len(rows)} rows, not {order.count}{more}"]
