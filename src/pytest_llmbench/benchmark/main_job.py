"""The main job: each case answered by the base and by its fine-tune, and both answers scored."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import hashlib
import heapq
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_llmbench.benchmark.preflight import METRIC_ALIASES, check_expectations
from pytest_llmbench.benchmark.stored import Stored, embeds, question, tell_known
from pytest_llmbench.cases.case import asked_sha256
from pytest_llmbench.cases.suites import Case
from pytest_llmbench.core.errors import UsageError, naming
from pytest_llmbench.core.locale import N_
from pytest_llmbench.core.records import BASE, FINETUNED, CaseResult, Completion, Reasons, Run, Scores
from pytest_llmbench.core.starter import present
from pytest_llmbench.generation.backend import mixes_variants, tell_tools_left_out
from pytest_llmbench.generation.completion_store import CompletionCache, CompletionJournal
from pytest_llmbench.generation.planner import AnswerProgress, Planner
from pytest_llmbench.metrics.call_faults import told_reason

if TYPE_CHECKING:
    from pytest_llmbench.benchmark.engines import Pair
    from pytest_llmbench.core.settings import Settings
    from pytest_llmbench.generation.backend import Backend
    from pytest_llmbench.metrics import MetricRegistry

_SAMPLED = 256
"""Answers to so many cases are held until the end, with their embeddings: those that a hash of their names draws."""
_log = logging.getLogger("pytest_llmbench")


class ExpectationError(AssertionError):
    """An answer that does not reach what its case expects."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What every variant answered to one case, and the scores. `answers["base"]` is a `Completion`.

    `lower_is_better` names the metrics, such as `latency_s`, whose `expect` is the most that is allowed. `reasons` say
    what is wrong with an answer, metric -> variant -> one object a fault.
    """

    case: Case
    completions: Mapping[str, Completion]
    scores: Scores
    lower_is_better: frozenset[str] = frozenset()
    reasons: Reasons = dataclasses.field(default_factory=dict)

    def __getitem__(self, variant: str) -> Completion:
        return self.completions[variant]

    @property
    def base(self) -> Completion:
        """The base's completion."""
        return self.completions[BASE]

    @property
    def finetuned(self) -> Completion:
        """The fine-tune's completion. Raises UsageError when no adapter was compared, or several were."""
        __tracebackhide__ = True
        if FINETUNED not in self.completions:
            if len(self.completions) > 1:
                raise UsageError(
                    f"several adapters answered: write answers[name], one of {', '.join(self.completions)}"
                )
            raise UsageError(
                "there is no fine-tuned answer: no adapter was given (model.adapter) or none was found",
                names=("model.adapter",),
            )
        return self.completions[FINETUNED]

    def check(self) -> None:
        """Hold what is judged, every fine-tune's answer or else the base's, against the case's `expect`.

        Raises:
            ExpectationError: a score is not what was expected, or a variant could not answer at all.
        """
        __tracebackhide__ = True
        failed = [completion for completion in self.completions.values() if completion.finish == "error"]
        if failed:
            reasons = "\n".join(f"  {completion.variant}: {completion.error}" for completion in failed)
            raise ExpectationError(f"{self.case.name}: no answer\n{reasons}")
        judged = [variant for variant in self.completions if variant != BASE] or list(self.completions)
        misses = [self._miss(name, wanted, one) for name, wanted in self.case.expect.items() for one in judged]
        if any(misses):
            raise ExpectationError(self._explain([miss for miss in misses if miss]))

    def _miss(self, name: str, wanted: float, variant: str) -> str | None:
        metric = name if name in self.scores else METRIC_ALIASES.get(name, name)
        score, at_most = self.scores[metric].get(variant), metric in self.lower_is_better
        if score is not None and (score <= wanted if at_most else score >= wanted):
            return None
        found, sought = ("unscored", f"{float(wanted):.3g}") if score is None else _told_apart(score, float(wanted))
        return f"{metric} of {variant} is {found}, expected at {'most' if at_most else 'least'} {sought}"

    def _explain(self, misses: Sequence[str]) -> str:
        lines = [f"{self.case.name}: {'; '.join(misses)}", f"  prompt: {self.case.prompt}"]
        if self.case.tool:
            lines.append(f"  tool expected: {self.case.tool}")
        if self.case.calls is not None:
            lines.append(f"  calls expected: {json.dumps(self.case.calls.to_json(), ensure_ascii=False)}")
        for variant, completion in self.completions.items():
            lines.append(f"  {variant} answered: {completion.text!r} ({completion.finish})")
            if completion.tool_calls:
                lines.append(f"    calls: {json.dumps(completion.tool_calls, ensure_ascii=False)}")
            scores = [f"{name}={of[variant]:.3g}" for name, of in self.scores.items() if of.get(variant) is not None]
            lines.append(f"    scores: {', '.join(scores) or 'none'}")
            lines += [f"    {name}: {told}" for name, told in self._told(variant)]
        return "\n".join([*lines, f"  written at {self.case.source}"])

    def _told(self, variant: str) -> list[tuple[str, str]]:
        """Each metric's reasons against a variant's answer, as sentences."""
        found = ((name, reason) for name, of in self.reasons.items() for reason in of.get(variant, ()))
        return [(name, told_reason(reason)) for name, reason in found]


def _told_apart(one: float, other: float) -> tuple[str, str]:
    """Two numbers that differ, with three digits or as many as show it."""
    for digits in range(3, 17):
        told = f"{one:.{digits}g}", f"{other:.{digits}g}"
        if told[0] != told[1]:
            return told
    return repr(one), repr(other)


class Benchmark:
    """One session's questions and answers.

    Args:
        settings: the session's settings.
        backend: who answers.
        cases: every selected case; the planner batches over them.
        metrics: how answers are scored.
        journal: where the answers of this run are kept; it is closed with this.
        cache: where answers of earlier runs are looked up, or None.
        progress: told of every completion.
        processes: how many answer the cases between them (pytest-xdist).
    """

    def __init__(  # what a session has
        self,
        settings: Settings,
        backend: Backend,
        cases: Sequence[Case],
        metrics: MetricRegistry,
        *,
        journal: CompletionJournal,
        cache: CompletionCache | None,
        progress: AnswerProgress,
        processes: int = 1,
    ) -> None:
        check_expectations(cases, metrics.metrics)
        self._settings, self._metrics, self._cache = settings, metrics, cache
        self._lower_is_better = frozenset(
            name for name, metric in metrics.metrics.items() if not metric.higher_is_better
        )
        self.backend = backend
        self.scoring_s = 0.0
        self._sample: dict[tuple[str, int], Answers] = {}
        self._drawn: list[tuple[int, tuple[str, int]]] = []
        tell_tools_left_out(backend, cases)
        self._journal = journal
        self._planner = Planner(
            backend,
            cases,
            self._journal,
            cache,
            question=functools.partial(question, settings),
            embed=embeds(settings, backend),
            progress=progress,
            processes=processes,
        )

    def plan(self, cases: Sequence[Case]) -> None:
        """The cases that will be asked for next, in place of those planned before."""
        self._planner.plan(cases)

    def answers(self, case: Case) -> Answers:
        """Every variant's answer to the case, scored; the first case of a batch waits for the whole batch."""
        completions = self._planner.answers(case)
        started = time.monotonic()
        scores, reasons = self._metrics.score(case, completions), self._metrics.reasons(case, completions)
        self.scoring_s += time.monotonic() - started
        answers = Answers(case, completions, scores, self._lower_is_better, reasons)
        self._draw(answers)
        return answers

    def cosine_between_cases(self) -> dict[str, dict[str, Any]]:
        """How alike answers to different cases are, by adapter, of some hundred cases: records have no embeddings.

        Which they are depends on what was asked, not on its order. `mean` is their cosine similarity, `pairs` how many
        it is of; empty where there are no two with embeddings.
        """
        from pytest_llmbench.metrics.similarity import cosine_between_cases

        in_order = [self._sample[place] for place in sorted(self._sample)]
        results = [dataclasses.replace(case_result(one), completions=one.completions) for one in in_order]
        return cosine_between_cases(Run({}, self.backend.variants, results))

    @property
    def asks_together(self) -> bool:
        """Whether several variants answer in the same batches, so that no second is one variant's alone."""
        return len(self.backend.variants) > 1 and mixes_variants(self.backend)

    def _draw(self, answers: Answers) -> None:
        """Hold the answers if they are of the cases whose hashes are the smallest so far."""
        place = answers.case.name, answers.case.epoch
        if place not in self._sample:
            number = int.from_bytes(hashlib.sha256(repr(place).encode()).digest()[:8])
            heapq.heappush(self._drawn, (-number, place))
        self._sample[place] = answers
        if len(self._drawn) > _SAMPLED:
            _, largest = heapq.heappop(self._drawn)
            del self._sample[largest]

    def metrics_described(self) -> dict[str, dict[str, Any]]:
        """What a reader of scores must know of each metric: which way is better, and the unit."""
        return {
            name: {"higher_is_better": metric.higher_is_better, "unit": metric.unit}
            for name, metric in self._metrics.metrics.items()
        }

    def close(self) -> None:
        """Free the model and close the cache."""
        self.backend.close()
        self._journal.close()
        if self._cache is not None:
            self._cache.close()


def case_result(answers: Answers, outcome: str = "passed") -> CaseResult:
    """The record of one case; embeddings have served their metric and are left to the journal."""
    case = answers.case
    return CaseResult(
        category=case.category,
        prompt_id=case.id,
        epoch=case.epoch,
        prompt=case.prompt,
        keywords=case.keywords,
        tool=case.tool,
        reference=case.reference,
        group=case.group,
        completions={name: dataclasses.replace(done, embedding=None) for name, done in answers.completions.items()},
        scores=answers.scores,
        messages_sha256=asked_sha256(case),
        calls=case.calls and case.calls.to_json(),
        reasons=answers.reasons,
        outcome=outcome,
        timestamp=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )


def open_backend(  # what is asked, and of how many
    settings: Settings,
    cases: Sequence[Case] = (),
    *,
    besides: Sequence[Case] = (),
    stored: Stored | None = None,
    engines: int | None = None,
    hear_variants: Callable[[Sequence[str]], object] | None = None,
) -> Backend:
    """Load the pair, or reach the server, that the settings name, and prove it sound.

    The `cases`, and those that are asked `besides`, decide how long a context is reserved. Adapters that were trained
    on the `cases` are announced, with `benchmark.strict` refused, before the base is loaded. Where every answer is
    `stored` already, and the pair was loaded and proven before, it is not loaded again before it has to answer. With
    `ray.address` each actor of a cluster does this for itself, and they answer; whether all is stored, every machine is
    asked. Who has one question opens no more `engines` than one there. `hear_variants` is told who will answer before a
    model of this machine is loaded, and may refuse.

    Raises:
        LLMBenchError: the model, adapter or server cannot be used; the message says what to do.
    """
    if settings.ray.address:
        return _open_on_ray(settings, cases, besides, stored, engines)
    if settings.server.url:
        from pytest_llmbench.generation.client.backend import ServerBackend

        if settings.benchmark.strict and cases:
            told = N_("benchmark.strict: a server does not tell what its adapters were trained on; nothing is refused")
            _log.warning(told, extra=naming("benchmark.strict"))
        return ServerBackend(settings, tools=next((case.tools for case in cases if case.tools), ()))
    return _open_local(settings, cases, besides, stored, hear_variants)


def _open_on_ray(
    settings: Settings, cases: Sequence[Case], besides: Sequence[Case], stored: Stored | None, engines: int | None
) -> Backend:
    from pytest_llmbench.generation.local.remembered import RememberedPair
    from pytest_llmbench.generation.ray.backend import RayBackend
    from pytest_llmbench.generation.ray.recalling import Recall

    opener = functools.partial(open_backend, besides=besides)
    load = functools.partial(RayBackend.opened, settings, cases, opener, most=engines)
    if stored is None or not stored.cache.path.exists():
        return load()
    there, asked = stored, _all_asked(cases, besides)

    def holds(kept: Mapping[str, Any]) -> bool:
        return there.holds_all(asked, RememberedPair(kept, load, {}), settings)

    def made(kept: Mapping[str, Any]) -> Backend:
        return tell_known(RememberedPair(kept, load, {}), kept, settings)

    return load(recall=Recall(_recollected, holds, made))


def _recollected(settings: Settings, cases: Sequence[Case]) -> Mapping[str, Any] | None:
    """What the last loading on this machine found; None where the pair was never loaded here.

    A base that must be downloaded or converted first was not: that is left to the engines.
    """
    from pytest_llmbench.generation.local.remembered import pair_key, recalled
    from pytest_llmbench.models.sources import peek

    model = settings.model
    if model.engine != "llamacpp" and peek(model.base, revision=model.revision) is None:
        return None
    pair = _pair_here(settings, cases, cases)
    kept = recalled(pair_key(pair.source, pair.adapters, settings))
    return kept and {**kept, "about": {**kept["about"], "training_rows": pair.training_rows}}


def _open_local(
    settings: Settings,
    cases: Sequence[Case],
    besides: Sequence[Case],
    stored: Stored | None,
    hear_variants: Callable[[Sequence[str]], object] | None,
) -> Backend:
    from pytest_llmbench.generation.local.remembered import pair_key, recalled

    pair = _pair_here(settings, cases, _all_asked(cases, besides))
    if hear_variants:
        hear_variants((BASE, *pair.adapters))
    key = pair_key(pair.source, pair.adapters, settings)
    load = functools.partial(_load_local, settings, pair, key)
    if stored and (kept := recalled(key)):
        known = stored.pair(kept, load, pair.cases, settings, {"training_rows": pair.training_rows})
        return known or load()
    return load()


def _pair_here(settings: Settings, cases: Sequence[Case], asked: Sequence[Case]) -> Pair:
    """The pair as this machine has it, with what its adapters were trained on of the cases."""
    from pytest_llmbench.benchmark.contamination import check_training_rows
    from pytest_llmbench.benchmark.engines import Pair, engine_source
    from pytest_llmbench.models.adapters import find_adapters

    source = engine_source(settings.model)
    adapters = find_adapters(
        settings.model.adapters, present(settings.model.adapters_dir), source, verify=settings.model.verify_adapter
    )
    overlap = check_training_rows(adapters, cases, strict=settings.benchmark.strict) if cases else {}
    return Pair(source, adapters, overlap, asked)


def _all_asked(cases: Sequence[Case], besides: Sequence[Case]) -> Sequence[Case]:
    return [*cases, *besides] if besides else cases  # many cases are read from disk one by one, and no list


def _load_local(settings: Settings, pair: Pair, key: str) -> Backend:
    from pytest_llmbench.benchmark.engines import load_pair
    from pytest_llmbench.generation.local.remembered import remembering

    with remembering(key) as remember:
        backend = load_pair(pair, settings)
        remember(backend)
    return backend
