"""A gate that fails is asked for twice: both sides answer again with fresh seeds, and those answers alone decide."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmbench.benchmark.asking_again import Opener, Questions, ask_again, same_weights, settings_as_asked
from pytest_llmbench.core.errors import LLMBenchError
from pytest_llmbench.runs.baseline import Comparable, comparable
from pytest_llmbench.runs.document import build_document
from pytest_llmbench.runs.folders import RUN_FILE
from pytest_llmbench.runs.gate import gate_of
from pytest_llmbench.runs.gate_notes import noted
from pytest_llmbench.runs.storage import write_json
from pytest_llmbench.stats import Outcome

if TYPE_CHECKING:
    from pytest_llmbench.core.settings import Settings


@dataclasses.dataclass(frozen=True, slots=True)
class Sides:
    """Who is asked again: the session's model, opened as the session did, and the baseline's where there is one.

    `loaded` opens what settings name, whatever plugins answer in the session.
    """

    settings: Settings
    opened: Opener
    loaded: Opener
    baseline: Comparable | None


def needs_confirmation(gate: Mapping[str, Any]) -> bool:
    """Whether the gate fails the session for a fall that it has shown."""
    return bool(gate["failed"] and gate["outcome"] == Outcome.FAIL)


def confirmed(gate: Mapping[str, Any], sides: Sides, questions: Questions, name: str) -> dict[str, Any]:
    """The gate object of fresh answers of both sides, with a note on what the first one said.

    The fresh answers alone decide: they are not chosen for having failed, so that their gate errs at most at alpha, and
    the session fails falsely only where both did. Where they cannot be had the first gate stands, and says so.
    """
    try:
        run, baseline = _asked_again(sides, questions)
    except LLMBenchError as error:
        note = noted("confirmation_failed", "noted_confirmation_failed", error=str(error))
        return {**gate, "notes": [*gate["notes"], note]}
    fresh = gate_of(run, name, sides.settings.gate, baseline)
    kind = "confirmed" if fresh["outcome"] == Outcome.FAIL else "unconfirmed"
    fell = gate["verdicts"][gate["because"]["verdict"]]
    scores = {key: f"{fell[key]:.3g}" for key in ("before", "after")}
    note = noted(kind, f"noted_{kind}", metric=fell["metric"], variant=fell["variant"], **scores)
    return {**fresh, "notes": [note, *fresh["notes"]]}


def _asked_again(sides: Sides, questions: Questions) -> tuple[dict[str, Any], Comparable | None]:
    run = _document(sides.settings, questions, "again", sides.opened)
    before = sides.baseline
    if before is None:
        return run, None
    known = {row["case"] for row in before.rows}
    shared = dataclasses.replace(questions, cases=[case for case in questions.cases if case.name in known])
    settings = settings_as_asked(before.metadata, before.name, sides.settings)
    document = _document(settings, shared, "baseline-again", same_weights(before.metadata, before.name, sides.loaded))
    about = {**comparable(document, before.name).metadata, "git": before.metadata.get("git")}
    return run, dataclasses.replace(comparable(document, before.name), metadata=about, path=before.path)


def _document(settings: Settings, questions: Questions, folder: str, opened: Opener) -> dict[str, Any]:
    """The answers' document, also written beside the run that was judged first."""
    place: Path = questions.folder / folder
    answered = ask_again(settings, dataclasses.replace(questions, folder=place), opened)
    document = build_document(answered, answer_chars=settings.output.answer_chars)
    write_json(document, place / RUN_FILE)
    return document
