"""New scores over stored answers: the metrics of today on a run of yesterday, with no model loaded."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmbench.cases.case import asked_sha256
from pytest_llmbench.cases.suites import Case, Vocabulary
from pytest_llmbench.cases.tools import name_of
from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.core.records import CaseResult, Completion, Run
from pytest_llmbench.generation.completion_store import journal_in, stored_completions
from pytest_llmbench.runs.document import build_document
from pytest_llmbench.runs.metadata import metadata
from pytest_llmbench.runs.typed import CompletionDocument, Result, run_document

if TYPE_CHECKING:
    from pytest_llmbench.core.settings import Settings
    from pytest_llmbench.metrics import MetricRegistry

_COSINE, _CALLS = "cosine_similarity", "call_accuracy"
_ANSWER_CHARS = 500
_SHOWN = 5
_log = logging.getLogger("pytest_llmbench")

_Place = tuple[str, int, str]
"""Case, epoch and variant."""


@dataclass(frozen=True, slots=True)
class Judges:
    """What answers are scored with: metrics, the cases as the suites have them now, and the terms of tools.

    `metrics_from` says where metrics other than the built-in ones came from.
    """

    metrics: MetricRegistry
    cases: Sequence[Case]
    vocabulary: Vocabulary
    settings: Settings
    metrics_from: str | None = None


def rescore(document: Mapping[str, Any], name: str, journal: Path | None, judges: Judges) -> dict[str, Any]:
    """The document of the run `name` with every metric of `judges` scored anew, and the scores of other metrics kept.

    `journal` holds the whole answers and their embeddings; without it the answers of the document, which may be cut,
    are scored, and that is announced. So is every case that the suites do not have any more as it was asked: it is
    judged by what the run recorded of it. The gate's verdict is left out, since it was on the old scores.

    Raises:
        UsageError: a case's tool is not in the vocabulary, or a metric returned something that is not a score.
    """
    known_run = run_document(document)
    rows = known_run.results
    stored = _Answers(rows, journal, _alike(known_run.metadata.recorded))
    known = _matched(rows, judges.cases)
    cases = [replace(known.get(row.case) or _recorded(row), epoch=row.epoch) for row in rows]
    _refuse_unknown_tools(cases, judges.vocabulary)
    results = tuple(_scored(row, case, stored, judges.metrics) for row, case in zip(rows, cases, strict=True))
    stored.announce()
    about = _metadata(document["metadata"], name, judges)
    chars = known_run.metadata.setting("output", "answer_chars") or _ANSWER_CHARS
    return _still_cut(build_document(Run(about, known_run.variants, results), answer_chars=chars), rows, stored)


class _Answers:
    """The answers of a run, whole from its journal where that has them, and what was missing there.

    Adapters that are `alike` share an answer, which the journal has under the name of one of them.
    """

    def __init__(self, rows: Sequence[Result], journal: Path | None, alike: Mapping[str, Sequence[str]]) -> None:
        self._alike = alike
        self._known = {
            (row.case, row.epoch, variant): answer for row in rows for variant, answer in row.completions.items()
        }
        found = [*self._of_this_run(journal)] if journal else []
        found.sort(key=lambda one: one[0][2] == one[1].variant)  # its own before one that it shares
        self._journaled = {place: replace(completion, variant=place[2]) for place, completion in found}
        self._cut = 0
        self.without_embedding = 0

    def of(self, row: Result) -> dict[str, Completion]:
        """Every variant's completion of a row."""
        return {variant: self._one(row, variant, answer) for variant, answer in row.completions.items()}

    def is_whole(self, row: Result, variant: str) -> bool:
        """Whether the answer came from the journal."""
        return (row.case, row.epoch, variant) in self._journaled

    def announce(self) -> None:
        """Say what could only be scored in part."""
        if self._cut:
            _log.warning(
                "%d answers are cut in the run's file and not in a journal: scored as far as they go", self._cut
            )
        if self.without_embedding:
            _log.warning(
                "%d results have no stored embeddings: their %s keeps its old score, or is unscored where it had none",
                self.without_embedding,
                _COSINE,
            )

    def _one(self, row: Result, variant: str, answer: CompletionDocument) -> Completion:
        if found := self._journaled.get((row.case, row.epoch, variant)):
            return found
        self._cut += answer.text_cut
        return Completion.from_json({**answer.json_ready(), "case": row.case, "epoch": row.epoch, "variant": variant})

    def _of_this_run(self, journal: Path) -> Iterator[tuple[_Place, Completion]]:
        """The journal's answers that the run ended with: one that was resumed with other settings holds others too."""
        for completion in stored_completions(journal):
            for variant in self._alike.get(completion.variant, (completion.variant,)):
                place = (completion.case, completion.epoch, variant)
                if place in self._known and _is_whole_of(completion, self._known[place]):
                    yield place, completion


def _alike(about: Mapping[str, Any]) -> dict[str, list[str]]:
    """By adapter those with the same weights and configuration, itself among them; servers tell no hashes."""
    adapters = (about.get("backend") or {}).get("adapters") or {}
    hashes = {name: (one.get("weights_sha256"), one.get("config_sha256")) for name, one in adapters.items()}
    return {
        name: [other for other, its in hashes.items() if its == own] for name, own in hashes.items() if None not in own
    }


def _is_whole_of(completion: Completion, answer: CompletionDocument) -> bool:
    text = completion.text[: len(answer.text)] if answer.text_cut else completion.text
    return (text, completion.finish) == (answer.text, answer.finish)


def _scored(row: Result, case: Case, stored: _Answers, metrics: MetricRegistry) -> CaseResult:
    completions = stored.of(row)
    scores, reasons = metrics.score(case, completions), metrics.reasons(case, completions)
    if scores.get(_COSINE) and any(_lacks_embedding(completion) for completion in completions.values()):
        stored.without_embedding += 1
        scores[_COSINE] = row.scores.get(_COSINE, scores[_COSINE])
    if lost_calls := case.calls is None and _CALLS in row.scores:  # the suites, and so the tools' schemas, are gone
        scores[_CALLS] = row.scores[_CALLS]
    recorded = row.json_ready()
    told = {
        name: of
        for name, of in recorded.get("reasons", {}).items()
        if name not in scores or (lost_calls and name == _CALLS)
    }
    return CaseResult(
        category=row.category,
        prompt_id=row.prompt_id,
        epoch=row.epoch,
        prompt=row.prompt,
        keywords=case.keywords,
        tool=case.tool,
        reference=case.reference,
        group=case.group,
        completions=completions,
        scores={**row.scores, **scores},
        outcome=row.outcome,
        timestamp=row.timestamp,
        messages_sha256=row.messages_sha256,
        calls=case.calls.to_json() if case.calls else recorded.get("calls"),
        reasons={**told, **{name: of for name, of in reasons.items() if name not in told}},
    )


def _lacks_embedding(completion: Completion) -> bool:
    return completion.embedding is None and completion.text != ""


def _matched(rows: Sequence[Result], cases: Sequence[Case]) -> dict[str, Case]:
    """The cases that are still as they were asked; the others are announced."""
    now = {case.name: case for case in cases}
    unlike: dict[str, list[str]] = {}
    for name, row in {row.case: row for row in rows}.items():
        if what := _unlike(row, now.get(name)):
            unlike.setdefault(what, []).append(name)
    for what, names in unlike.items():
        _log.warning("%d cases %s and are judged as the run recorded them: %s", len(names), what, _some(names))
    gone = {name for names in unlike.values() for name in names}
    return {name: case for name, case in now.items() if name not in gone}


def _unlike(row: Result, now: Case | None) -> str | None:
    """What keeps a row's answers from being answers to the case; older runs recorded its prompt alone."""
    if now is None:
        return "are in no suite any more"
    if now.prompt != row.prompt:
        return "have another prompt now"
    if row.messages_sha256 and row.messages_sha256 != asked_sha256(now):
        return "have another system prompt, other turns or other tools now"
    return None


def _recorded(row: Result) -> Case:
    return Case(
        category=row.category,
        id=row.prompt_id,
        prompt=row.prompt,
        messages=({"role": "user", "content": row.prompt},),
        keywords=row.keywords_expected,
        tool=row.tool,
        reference=row.reference,
        group=row.group,
        source="the run's file",
    )


def _refuse_unknown_tools(cases: Sequence[Case], vocabulary: Vocabulary) -> None:
    unknown = dict.fromkeys(
        case.tool
        for case in cases
        if case.tool is not None and case.tool not in (*vocabulary.tools, *map(name_of, case.tools))
    )
    if unknown:
        raise UsageError(
            f"{vocabulary.path}: lacks tools that the run's cases expect ({_some(list(unknown))}); "
            "give the vocabulary that has them",
            names=("vocabulary",),
        )


def _metadata(old: Mapping[str, Any], name: str, judges: Judges) -> dict[str, Any]:
    """The run's own metadata, with what its scores now rest on."""
    now = metadata({}, judges.settings, judges.vocabulary)
    described = {
        metric.name: {"higher_is_better": metric.higher_is_better, "unit": metric.unit}
        for metric in judges.metrics.metrics.values()
    }
    return {
        **old,
        "vocabulary": now["vocabulary"],
        "settings": {**(old.get("settings") or {}), "metrics": now["settings"]["metrics"]},
        "metrics": {**(old.get("metrics") or {}), **described},
        "rescored": {
            "run": name,
            "timestamp": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "metrics": list(described),
            "metrics_from": judges.metrics_from,
        },
    }


def _still_cut(document: dict[str, Any], rows: Sequence[Result], stored: _Answers) -> dict[str, Any]:
    """Mark the answers that were cut before, and of which no more is known."""
    for new, old in zip(document["results"], rows, strict=True):
        for variant, answer in new["completions"].items():
            answer["text_cut"] |= old.completions[variant].text_cut and not stored.is_whole(old, variant)
    return document


def _some(names: Sequence[str]) -> str:
    rest = len(names) - _SHOWN
    return ", ".join([*names[:_SHOWN], *([f"and {rest} more"] if rest > 0 else [])])


def journal_of(run_file: Path | None) -> Path | None:
    """The journal beside a run's file, None where there is none."""
    return journal_in(run_file.parent) if run_file else None
