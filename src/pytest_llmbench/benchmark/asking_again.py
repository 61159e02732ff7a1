"""A measured model asked the same cases again with a fresh seed: no verdict should rest on the luck of one sampling.

A gate that fails is asked for twice: both sides answer again with fresh seeds, and those answers alone decide.
"""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmbench.benchmark.main_job import Benchmark, case_result
from pytest_llmbench.cases.case import asked_sha256
from pytest_llmbench.cases.suites import Case, Vocabulary
from pytest_llmbench.core.errors import AdapterError, LLMBenchError, UsageError
from pytest_llmbench.core.provenance import provenance
from pytest_llmbench.core.records import Run
from pytest_llmbench.generation.completion_store import CompletionJournal
from pytest_llmbench.runs.baseline import Comparable, comparable, prompt_sha
from pytest_llmbench.runs.document import build_document
from pytest_llmbench.runs.folders import RUN_FILE
from pytest_llmbench.runs.gate import gate_of
from pytest_llmbench.runs.gate_notes import gate_note
from pytest_llmbench.runs.metadata import metadata
from pytest_llmbench.runs.row_columns import ComparableRow
from pytest_llmbench.runs.storage import write_json
from pytest_llmbench.stats import Outcome

if TYPE_CHECKING:
    from pytest_llmbench.core.settings import GenerationSettings, Settings
    from pytest_llmbench.generation.backend import Backend
    from pytest_llmbench.generation.planner import AnswerProgress
    from pytest_llmbench.metrics import MetricRegistry


_SEEDS = 2**31
_ANSWERING = ("transformers", "llamacpp", "vllm", "server")
_AS_ASKED = ("model", "generation", "server", "metrics")

Opener = Callable[["Settings"], "Backend"]
"""Loads the model, or reaches the server, that settings name."""


@dataclasses.dataclass(frozen=True, slots=True)
class Questions:
    """What is asked, by what it is scored, and where the answers are journaled.

    `limited` says that `benchmark.limit` left cases out.
    """

    cases: Sequence[Case]
    registry: MetricRegistry
    vocabulary: Vocabulary
    folder: Path
    progress: AnswerProgress
    limited: bool = False


def is_greedy(generation: GenerationSettings) -> bool:
    """Whether answers have no randomness that another seed would change."""
    return not generation.do_sample or generation.temperature == 0


def ask_again(settings: Settings, questions: Questions, opened: Opener) -> Run:
    """The answers of the settings' model to the questions, sampled with a seed of their own and not from the cache.

    Raises:
        LLMBenchError: the model cannot be loaded, the server not be reached.
    """
    generation = settings.generation.model_copy(update={"seed": secrets.randbelow(_SEEDS), "cache": False})
    fresh = settings.model_copy(update={"generation": generation})
    benchmark = Benchmark(
        fresh,
        opened(fresh),
        questions.cases,
        questions.registry,
        journal=CompletionJournal(questions.folder),
        cache=None,
        progress=questions.progress,
    )
    try:
        results = tuple(case_result(benchmark.answers(case)) for case in questions.cases)
        backend = benchmark.backend.describe()
        about = {
            **metadata(backend, fresh, questions.vocabulary),
            "metrics": benchmark.metrics_described(),
            **provenance(answered_here=backend.get("backend") != "server"),
        }
        return Run(about, benchmark.backend.variants, results)
    finally:
        benchmark.close()


def settings_as_asked(about: Mapping[str, Any], name: str, now: Settings) -> Settings:
    """The settings that the run or baseline `name` was asked with, its adapters found again; other settings as `now`.

    `about` is its metadata as a `Comparable` has it. Headers of requests, which no file holds, are those of `now`.

    Raises:
        UsageError: it does not say how it was asked, its answers came from a plugin, or an adapter is gone or changed.
    """
    if about.get("backend") not in _ANSWERING:
        raise UsageError(f"{name} was answered by a plugin's backend, which cannot be asked again from here")
    asked = about.get("asked") or {}
    if not asked:
        raise UsageError(f"{name} does not say how its model was asked; make it again with this version")
    found = {key: _section(key, asked[key], name, now) for key in _AS_ASKED if key in asked}
    if "server" in found:
        found["server"] = found["server"].model_copy(update={"headers": now.server.headers})
    settings = now.model_copy(update=found)
    if about["backend"] == "server":
        return settings
    adapters = _adapters(about.get("adapters") or {}, name, settings)
    return settings.model_copy(update={"model": settings.model.model_copy(update={"adapter": adapters})})


def _section(key: str, asked: Any, name: str, now: Settings) -> Any:
    from pydantic import ValidationError

    try:
        return type(getattr(now, key)).model_validate(asked)
    except ValidationError as error:
        unknown = dict.fromkeys(".".join(map(str, (key, *one["loc"][:1]))) for one in error.errors())
        raise UsageError(
            f"{name} was asked with settings or values that this version does not know ({', '.join(unknown)}); make it "
            "again with this version, or ask with the one that made it"
        ) from error


def cases_as_asked(rows: Sequence[ComparableRow], name: str, suites: Sequence[Case]) -> list[Case]:
    """The cases of a run's rows, as the suites have them, one for each epoch.

    Raises:
        UsageError: the suites lack a case, or ask or expect something else.
    """
    known = {case.name: case for case in suites}
    unlike = [row["case"] for row in rows if row["case"] not in known or row["prompt_sha"] != _sha(known[row["case"]])]
    if unlike:
        raise UsageError(
            f"{len(dict.fromkeys(unlike))} cases of {name} are not in the suites as they were asked, the first being "
            f"{unlike[0]}; measure the model on the new suites, and save that run",
            names=("save",),
        )
    return [dataclasses.replace(known[row["case"]], epoch=row["epoch"]) for row in rows]


def _sha(case: Case) -> str:
    asked = {"prompt": case.prompt, "messages_sha256": asked_sha256(case), "tool": case.tool}
    expected = {"reference": case.reference, "calls": case.calls and case.calls.to_json()}
    return prompt_sha({**asked, **expected, "keywords_expected": list(case.keywords)})


def same_weights(about: Mapping[str, Any], name: str, opened: Opener) -> Opener:
    """Opens like `opened`, and refuses a base whose weights are not those of the run or baseline `name`."""

    def checked(settings: Settings) -> Backend:
        backend = opened(settings)
        before, now = about.get("base_weights_sha256"), backend.describe().get("base_weights_sha256")
        if before is not None and before != now:
            backend.close()
            raise UsageError(
                f"{settings.model.base} has other weights than when {name} was measured; set model.revision, or "
                "measure the base anew with `pytest -m benchmark`"
            )
        return backend

    return checked


def _adapters(recorded: Mapping[str, Mapping[str, Any]], name: str, settings: Settings) -> str | tuple[str, ...]:
    if not recorded:
        return "none"
    paths = tuple(_found_again(variant, about, name, settings) for variant, about in recorded.items())
    return paths[0] if len(paths) == 1 else paths


def _found_again(variant: str, about: Mapping[str, Any], name: str, settings: Settings) -> str:
    """The folder of an adapter, where it was or under the folder of adapters here, its files unchanged."""
    from pytest_llmbench.core.starter import present
    from pytest_llmbench.models.adapters import read_adapter

    recorded = Path(str(about.get("path")))
    places = dict.fromkeys([recorded.expanduser(), present(settings.model.adapters_dir) / recorded.name])
    there = [place for place in places if place.is_dir()]
    for place in there:
        adapter = read_adapter(place)
        known = {"weights_sha256": adapter.weights_hash, "config_sha256": adapter.config_hash}
        if all(about.get(key) in (None, value) for key, value in known.items()):
            return str(place)
    seen = f"{there[0]} has other weights or another configuration by now" if there else f"{recorded} is not there"
    raise AdapterError(
        f"{variant} of {name} cannot be asked again, as {seen}; keep what was measured in a folder of its own"
    )


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
        note = gate_note("confirmation_failed", "noted_confirmation_failed", error=str(error))
        return {**gate, "notes": [*gate["notes"], note]}
    fresh = gate_of(run, name, sides.settings.gate, baseline)
    return {**fresh, "notes": [_note_of_both(gate, fresh), *fresh["notes"]]}


def _note_of_both(gate: Mapping[str, Any], fresh: Mapping[str, Any]) -> dict[str, Any]:
    """Whether a fall that failed the first gate came again; another in the fresh answers does not confirm it."""
    failed = [_named(one) for one in fresh["verdicts"] if one["outcome"] == Outcome.FAIL]
    worst = gate["verdicts"][gate["because"]["verdict"]]
    fallen = [worst, *(one for one in gate["verdicts"] if one["outcome"] == Outcome.FAIL)]
    again = next((one for one in fallen if _named(one) in failed), None)
    fell = worst if again is None else again
    told = {**_named(fell), **{key: f"{fell[key]:.3g}" for key in ("before", "after")}}
    if again is not None:
        return gate_note("confirmed", "noted_confirmed", **told)
    if failed:
        other = _named(fresh["verdicts"][fresh["because"]["verdict"]])
        return gate_note("unconfirmed", "noted_other_fall", **told, other=other)
    return gate_note("unconfirmed", "noted_unconfirmed", **told)


def _named(verdict: Mapping[str, Any]) -> dict[str, Any]:
    return {key: verdict[key] for key in ("metric", "variant", "category")}


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
    answered = dataclasses.replace(answered, metadata={**answered.metadata, "limited": questions.limited})
    document = build_document(answered, answer_chars=settings.output.answer_chars)
    write_json(document, place / RUN_FILE)
    return document
