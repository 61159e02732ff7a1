"""Making datasets: from chunks, from a dataset of any form, from templates or a vocabulary; by rule or by a model."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pytest_llmbench.cases import Case, load_vocabulary
from pytest_llmbench.datasets.by_model import write
from pytest_llmbench.documents import read_yaml
from pytest_llmbench.errors import UsageError
from pytest_llmbench.training.chunks import Chunk, facts_of, is_chunk, read_chunks
from pytest_llmbench.training.contamination import CaseTexts, contamination
from pytest_llmbench.training.dataset import KINDS, generate, reserved_prompts
from pytest_llmbench.training.drafts import Source, draw, fact_source, row_source
from pytest_llmbench.training.overlap import bare
from pytest_llmbench.training.phrasing import Phrasing
from pytest_llmbench.training.record_files import read_records
from pytest_llmbench.training.row_forms import user_text
from pytest_llmbench.training.rows import read_rows
from pytest_llmbench.training.templates import load_templates

Method = Literal["simple", "augmented", "llm"]
Origin = Literal["chunks", "rows", "templates", "vocabulary"]

_YAML = {".yaml", ".yml"}


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
    """What is to be made. `count` None makes all the rows that the source holds. No row comes near to a case."""

    source: Path
    method: Method
    phrasing: Phrasing
    cases: Sequence[Case] = ()
    vocabulary: Path = Path("prompts/tools.yaml")
    count: int | None = None
    rows_of_a_kind: int = 36
    system: str | None = None
    seed: int = 42
    writer: Writer | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Made:
    """The rows, in a random order; `heldout` only from templates. `notes` tell what was left out and why."""

    origin: Origin
    rows: list[dict[str, Any]]
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
    return "chunks" if is_chunk(first) else "rows"


def make(order: Order, on_answer: Callable[[int, int], None] = lambda _done, _of: None) -> Made:
    """Make the rows that are ordered; the same order gives the same rows.

    `on_answer` is told how many of how many questions the model has answered.

    Raises:
        UsageError: the source is wrong, or gives no row.
        ServerError: the server of the method `llm` is gone; its answers so far are in the journal.
    """
    origin = origin_of(order.source)
    if order.method == "llm":
        made = _finished(order, origin, *write(order, origin, on_answer))
    elif origin in ("templates", "vocabulary"):
        made = _from_templates(order, origin)
    else:
        made = _drawn(order, origin)
    if not made.rows:
        raise UsageError("; ".join([f"{order.source}: no row could be made", *made.notes]))
    return made


def _from_templates(order: Order, origin: Origin) -> Made:
    if origin == "vocabulary":
        raise UsageError(
            f"{order.source} is a vocabulary, which holds no sentences; give the templates instead "
            "(data/templates.yaml), or --method llm and a --server that writes them"
        )
    kinds = KINDS if order.method == "augmented" else KINDS[:2]
    vocabulary = load_vocabulary(order.vocabulary)
    templates = load_templates(order.source, vocabulary)
    rows_of_a_kind = order.rows_of_a_kind
    if order.count is not None:
        rows_of_a_kind = math.ceil(order.count / (len(vocabulary.tools) * len(kinds)))
    per_tool = dict.fromkeys(kinds, rows_of_a_kind)
    made = generate(templates, reserved_prompts(order.cases), per_tool=per_tool, seed=order.seed)
    notes = []
    if made.dropped:
        notes.append(f"{made.dropped} left out for being too near to a prompt of the suites or to a held-out row")
    rows = [row.to_json(made.system) for row in made.train[: order.count]]
    return Made(origin, rows, [row.to_json(made.system) for row in made.heldout], tuple(notes + _short(rows, order)))


def _drawn(order: Order, origin: Origin) -> Made:
    if origin == "chunks":
        sources, notes = _fact_sources(order)
    else:
        sources, notes = [row_source(row) for row in read_rows(order.source)], []
    method: Literal["simple", "augmented"] = "simple" if order.method == "simple" else "augmented"
    drawn = draw(sources, method, order.phrasing, count=order.count, seed=order.seed, refused=_refusing(order.cases))
    if drawn.repeated:
        notes.append(f"{drawn.repeated} left out that another row asks already")
    return Made(origin, drawn.rows, [], tuple(notes + _near(drawn.refused) + _short(drawn.rows, order)))


def _finished(order: Order, origin: Origin, rows: list[dict[str, Any]], notes: list[str]) -> Made:
    """What a model wrote, without what comes near to a case, in a random order."""
    taken = {match.row for match in contamination(rows, order.cases)}
    kept = [row for place, row in enumerate(rows) if place not in taken]
    random.Random(f"{order.seed}/order").shuffle(kept)  # noqa: S311 - reproducible on purpose, nothing secret
    kept = kept[: order.count]
    return Made(origin, kept, [], tuple(notes + _near(len(taken)) + _short(kept, order)))


def _refusing(cases: Sequence[Case]) -> Callable[[Mapping[str, Any]], bool]:
    """Whether a row comes near to a case."""
    reserved = CaseTexts(cases)
    return lambda row: bool(reserved.matches([(0, user_text(row))]))


def _fact_sources(order: Order) -> tuple[list[Source], list[str]]:
    sources: list[Source] = []
    titles: set[str] = set()
    untitled: list[Chunk] = []
    silent = 0
    for chunk in read_chunks(order.source):
        if chunk.title is None:
            untitled.append(dataclasses.replace(chunk, text=""))
            continue
        facts = list(facts_of(chunk, order.phrasing, first=bare(chunk.title) not in titles))
        titles.add(bare(chunk.title))
        silent += not facts
        sources += [fact_source(fact, order.system) for fact in facts]
    notes = []
    if untitled:
        notes.append(f"{len(untitled)} chunks have no title to ask about (first on line {untitled[0].line}), left out")
    if silent:
        notes.append(f"{silent} chunks tell nothing that a question is known for, left out (--method llm asks a model)")
    return sources, notes


def _near(count: int) -> list[str]:
    return [f"{count} left out for being too near to a prompt of the suites"] if count else []


def _short(rows: Sequence[Any], order: Order) -> list[str]:
    if order.count is None or len(rows) >= order.count:
        return []
    more = {"simple": "; --method augmented makes more of the same", "augmented": "", "llm": ""}[order.method]
    return [f"the source gives {len(rows)} rows, not {order.count}{more}"]
