"""Baselines: a run cut down to what a comparison needs, small enough to commit and readable as a diff."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_llmbench.core import files
from pytest_llmbench.core.documents import parse_json, read_text
from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.core.locale import words
from pytest_llmbench.core.records import SCHEMA_VERSION, ended_in_thought
from pytest_llmbench.core.text_cells import columns, one_line
from pytest_llmbench.runs.averages import mean
from pytest_llmbench.runs.cached_answers import CachedAnswers, cached_answers
from pytest_llmbench.runs.result_parts import ResultParts
from pytest_llmbench.runs.row_columns import ColumnRows, ComparableRow, GivenAnswers, changed_rows
from pytest_llmbench.runs.storage import BASELINE, is_baseline
from pytest_llmbench.runs.typed import Metadata, run_document

_SCORE_DIGITS = 6
_CUT = {"error", "timeout", "length"}
_HASH_CHARS = 16
_FROM_METADATA = ("timestamp", "base_model", "device", "seed", "epochs", "variants", "vocabulary", "git", "python")
_FROM_BACKEND = ("backend", "base_weights_sha256", "quantization", "dtype", "models")
_HARDWARE = ("platform", "cpu", "memory_bytes", "gpus")
_ASKED = ("prompt", "messages_sha256", "keywords_expected", "tool", "reference")
_ASKED_WITH = ("model", "generation", "server", "metrics")
"""Sections of the settings with which the same model can be asked again."""
_NO_MATTER = {"batch_size", "threads", "cache", "seed", "epochs"}
"""Generation settings that do not change an answer, or are recorded beside them."""


@dataclasses.dataclass(frozen=True, slots=True)
class Comparable:
    """A run or a baseline in the one shape that comparisons read.

    `metadata` has the same keys for both: name, timestamp, base_model, device, seed, epochs, variants, vocabulary, git,
    python, backend, base_weights_sha256, quantization, dtype, models (a server's), adapters (variant -> path and
    weights_sha256), generation, spelling, metrics, asked (settings to ask the same model again), largest_batch (variant
    -> answers in its fullest one), versions, hardware; null or empty where the run did not say. Scores are rounded
    alike, so that a run and its own baseline are equal. `path` is where it was read, None if nowhere.
    `cached` are, by variant, a server's answers that the run took from the cache, `answers` by what all of a run's are
    known again; a baseline tells neither. `limited` says that `benchmark.limit` left cases of the suites out.
    """

    name: str
    metadata: Mapping[str, Any]
    rows: Sequence[ComparableRow]
    path: str | None = None
    cached: Mapping[str, CachedAnswers] = dataclasses.field(default_factory=dict)
    answers: GivenAnswers = dataclasses.field(default_factory=GivenAnswers)
    limited: bool = False

    def largest_batch(self, variants: Iterable[str]) -> int:
        """Answers in the variants' fullest batch; 1 where each was asked alone, or nothing is known of it."""
        known = self.metadata.get("largest_batch") or {}
        return max((known.get(variant, 1) for variant in variants), default=1)

    def only(self, variant: str) -> Comparable:
        """The same with the scores of one variant alone."""

        def alone(row: ComparableRow) -> ComparableRow:
            scores = {metric: {variant: of[variant]} for metric, of in row["scores"].items() if variant in of}
            return {**row, "scores": scores}

        metadata = {**self.metadata, "variants": [variant]}
        return dataclasses.replace(self, metadata=metadata, rows=changed_rows(self.rows, alone))


def comparable(document: Mapping[str, Any], name: str, path: Path | None = None) -> Comparable:
    """A run document or a baseline document in the shape that comparisons read."""
    where, limited = path.as_posix() if path else None, bool(document["metadata"].get("limited"))
    if isinstance(parts := document["results"], ResultParts):
        rows, answers = _columns(parts)
        metadata = {"name": name, **_metadata(document["metadata"]), "largest_batch": answers.largest_batch}
        return Comparable(name, metadata, rows, where, _cached(document), answers, limited)
    reduced = document if is_baseline(document) else baseline_of(document, name)
    metadata = reduced["metadata"]
    cached = {} if reduced is document else _cached(document)
    answers = GivenAnswers(() if reduced is document else document["results"])
    return Comparable(metadata["name"], metadata, reduced["results"], where, cached, answers, limited)


def comparable_columns(parts: ResultParts) -> ColumnRows:
    """What comparisons read of the rows of a large run; found once."""
    return _columns(parts)[0]


def _columns(parts: ResultParts) -> tuple[ColumnRows, GivenAnswers]:
    return parts.once("comparable", lambda: _read(parts))


def _read(parts: ResultParts) -> tuple[ColumnRows, GivenAnswers]:
    """Both in one pass: the parts are read from disk."""
    rows, answers = ColumnRows(), GivenAnswers()
    for row in parts:
        rows.append(_row(row))
        answers.append(row)
    return rows, answers


def _cached(document: Mapping[str, Any]) -> Mapping[str, CachedAnswers]:
    of_server = Metadata.model_validate(document["metadata"]).backend.is_server
    return cached_answers(run_document(document)) if of_server else {}


def baseline_of(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The baseline of a run document: no prompts, no answers, scores to six significant digits."""
    rows = document["results"]
    answers = _columns(rows)[1] if isinstance(rows, ResultParts) else GivenAnswers(rows)
    return {
        "kind": BASELINE,
        "schema_version": SCHEMA_VERSION,
        "metadata": {"name": name, **_metadata(document["metadata"]), "largest_batch": answers.largest_batch},
        "results": [_row(row) for row in rows],
    }


def write_baseline(document: Mapping[str, Any], path: Path, name: str) -> None:
    """Write the baseline of a run document (or a baseline as it is), one result a line.

    Raises:
        NotReadyError: the disk is full or the folder cannot be written; what was at `path` stays whole.
    """
    baseline = document if is_baseline(document) else baseline_of(document, name)
    head = json.dumps({**baseline, "results": []}, ensure_ascii=False, indent=2, allow_nan=False)
    rows = ",\n".join(f"    {json.dumps(row, ensure_ascii=False, allow_nan=False)}" for row in baseline["results"])
    opening = head.removesuffix("[]\n}")
    files.write_text(path, f"{opening}[\n{rows}\n  ]\n}}\n" if rows else f"{head}\n")


def refuse_other_file(path: Path) -> None:
    """See that a baseline may be written there, before a model is asked again for it.

    Raises:
        UsageError: the file that is there is none.
    """
    if not path.is_file() or not path.stat().st_size:
        return
    try:
        there = parse_json(read_text(path), path, 1)
    except UsageError:
        there = None
    if not (isinstance(there, dict) and is_baseline(there)):
        raise UsageError(
            f"{path}: is no baseline, so it is not replaced; delete it, or choose another file", names=("output",)
        )


def baseline_lines(document: Mapping[str, Any]) -> list[str]:
    """What a baseline can show: each variant's mean scores by category and overall."""
    say, lines = words("en"), []
    for variant in document["metadata"]["variants"]:
        scored = dict.fromkeys(metric for row in document["results"] for metric in row["scores"])
        metrics = [
            name for name in scored if any(variant in row["scores"].get(name, {}) for row in document["results"])
        ]
        table = [["category", "n", *metrics]]
        for category in [*dict.fromkeys(row["category"] for row in document["results"]), None]:
            rows = [row for row in document["results"] if category in {None, row["category"]}]
            means = [mean(row["scores"].get(name, {}).get(variant) for row in rows) for name in metrics]
            table.append([category or "all", str(len(rows)), *map(say.number, means)])
        lines += [one_line(variant), *("  ".join(cells).rstrip() for cells in columns(table)), ""]
    return lines[:-1]


def _metadata(run: Mapping[str, Any]) -> dict[str, Any]:
    backend, settings = run.get("backend") or {}, run.get("settings") or {}
    generation, scoring = settings.get("generation") or {}, settings.get("metrics") or {}
    return {
        **{key: run.get(key) for key in _FROM_METADATA},
        **{key: backend.get(key) for key in _FROM_BACKEND},
        "adapters": backend.get("adapters") or {},
        "generation": {key: value for key, value in generation.items() if key not in _NO_MATTER},
        "spelling": {
            key: scoring[key] for key in ("case_sensitive", "accent_sensitive", "call_form") if key in scoring
        },
        "metrics": run.get("metrics") or {},
        "asked": {key: settings[key] for key in _ASKED_WITH if key in settings},
        "versions": run.get("versions") or {},
        "hardware": {key: run[key] for key in _HARDWARE if key in run},
    }


def _row(row: Mapping[str, Any]) -> ComparableRow:
    answers = row.get("completions") or {}
    thought = {name for name, answer in answers.items() if _only_reasoned(answer)}
    scores = {
        metric: {variant: None if variant in thought else _rounded(score) for variant, score in of.items()}
        for metric, of in row["scores"].items()
    }
    unscored = {variant for of in scores.values() for variant, score in of.items() if score is None}
    lost = [name for name, answer in answers.items() if name in unscored and _is_lost(answer)]
    reduced: ComparableRow = {
        "case": row["case"],
        "category": row["category"],
        "epoch": row["epoch"],
        "group": row.get("group"),
        "prompt_sha": prompt_sha(row),
        "scores": scores,
    }
    return {**reduced, "lost": lost} if lost else reduced


def prompt_sha(row: Mapping[str, Any]) -> str:
    """The start of a SHA-256 over what a result's row says was asked and expected."""
    calls = [] if row.get("calls") is None else [row["calls"]]  # rows without any keep the hash of older baselines
    asked = json.dumps([row.get(key) or "" for key in _ASKED] + calls)
    return hashlib.sha256(asked.encode()).hexdigest()[:_HASH_CHARS]


def _is_lost(answer: Mapping[str, Any]) -> bool:
    """Whether there may be no answer to judge: it failed, was cut off, or never left its thinking."""
    return answer["finish"] in _CUT or _only_reasoned(answer)


def _only_reasoned(answer: Mapping[str, Any]) -> bool:
    """Whether it ended in its thinking: older runs scored it all the same, some metrics at their best."""
    return ended_in_thought(answer["text"], answer.get("reasoning"))


def _rounded(score: float | None) -> float | None:
    return None if score is None else float(f"{score:.{_SCORE_DIGITS}g}")
