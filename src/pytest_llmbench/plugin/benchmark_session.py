"""One pytest session's benchmark, made piece by piece as items ask: cases, model, answers, gate.

Nothing here happens in a session that has no item asking for a case.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import time
from array import array
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llmbench.core.announcing import NO_BASELINE_YET, NOTHING_TO_RESUME
from pytest_llmbench.core.errors import MissingRunError, UsageError
from pytest_llmbench.plugin import options
from pytest_llmbench.plugin.progress import SessionProgress
from pytest_llmbench.plugin.session import SESSION, Session
from pytest_llmbench.plugin.worker_devices import share_devices

if TYPE_CHECKING:
    from pytest_llmbench.benchmark.main_job import Answers, Benchmark
    from pytest_llmbench.benchmark.stored import Stored
    from pytest_llmbench.cases.case_list import Chunk
    from pytest_llmbench.cases.suites import Case
    from pytest_llmbench.core.records import CaseResult
    from pytest_llmbench.core.settings import Settings
    from pytest_llmbench.generation.backend import Backend
    from pytest_llmbench.metrics import MetricRegistry
    from pytest_llmbench.runs.baseline import Comparable

_log = logging.getLogger("pytest_llmbench")

BENCHMARK = pytest.StashKey["BenchmarkSession"]()


class BenchmarkSession:
    """What the benchmark's fixtures and hooks of one process share.

    `token` names the run's folder, the same in every process of the session. `planned` are the selected cases, known
    after collection.
    """

    def __init__(self, config: pytest.Config, token: str) -> None:
        self._config, self._token = config, token
        self._ours: Session = config.stash[SESSION]
        self._benchmark: Benchmark | None = None
        self.planned: Sequence[Case] = []
        self._loading_s = 0.0
        self._at_work = contextlib.ExitStack()

    def plan(self, selected: Iterable[Any]) -> None:
        """Remember each selected case once; several tests may ask for the same one."""
        if (chunks := self._ours.chunks) is not None:
            self._plan_chunks(chunks, {id(chunk) for chunk in selected})
            return
        known = {id(case): case for case in self._ours.cases}
        chosen = {id(case): case for case in selected if id(case) in known}
        self.planned = list(chosen.values())

    def _plan_chunks(self, chunks: Sequence[Chunk], selected: Collection[int]) -> None:
        from pytest_llmbench.cases.case_list import CaseView

        places = array("Q")
        for chunk in chunks:
            if id(chunk) in selected:
                places.extend(chunk.places)
        self.planned = CaseView(self._ours.cases, places)

    @functools.cached_property
    def progress(self) -> SessionProgress:
        """Where completions are counted and shown."""
        return SessionProgress(
            self._ours.line,
            gpu=self._ours.settings.logging.show_gpu and _sees_cuda(),
            timings=self._ours.settings.logging.show_timings,
        )

    @functools.cached_property
    def baseline(self) -> Comparable | None:
        """The run that this one is compared with, None where none is wanted, or where it is missing and may be."""
        from pytest_llmbench.runs.history import find_run

        gate = self._ours.settings.gate
        if gate.baseline is None:
            return None
        try:
            return find_run(gate.baseline, self._ours.settings.output.report_dir).comparable
        except MissingRunError as error:
            if gate.missing_baseline == "fail":
                raise
            _log.warning(NO_BASELINE_YET, error)
            return None

    def check_gate(self) -> None:
        """Refuse a gate that could judge nothing of what was selected.

        Raises:
            UsageError: a metric, the fine-tune or the baseline is not there, or has nothing in common with the cases.
        """
        if not self.planned:
            return
        from pytest_llmbench.benchmark import gate_check

        self._ours.announcements  # noqa: B018  # listening starts before anything is said
        settings = self._ours.settings
        gate_check.refuse_unjudgeable(settings, self._ours.registry.metrics)
        answered_by_plugins = self._config.hook.pytest_llmbench_backend.get_hookimpls()
        if settings.gate.kind != "off" and settings.gate.baseline is None and not answered_by_plugins:
            gate_check.refuse_missing_adapter(settings)
        if self.baseline is not None:
            gate_check.refuse_unmatched(settings, self.baseline, {case.name for case in self.planned})
        if settings.gate.confirm and settings.gate.kind != "off":
            if self._ours.chunks is not None:
                told = "a gate asks every case again to be confirmed, which chunks of cases are too many for"
                names = ("gate.confirm", "benchmark.chunk")
                raise UsageError(f"{told}; set gate.confirm: false, or benchmark.chunk: off", names=names)
            gate_check.refuse_unconfirmable(settings, self.baseline)

    @functools.cached_property
    def folder(self) -> Path:
        """Where this run is journaled."""
        from pytest_llmbench.runs.history import new_folder, unfinished

        report_dir = Path(self._ours.settings.output.report_dir)
        wanted = self._config.getoption(options.RESUME.dest)
        resumed = unfinished(report_dir, wanted or None) if wanted is not None else None
        if wanted is not None and resumed is None:
            _log.warning(NOTHING_TO_RESUME, report_dir / "runs")
        return resumed or new_folder(report_dir, self._token)

    @property
    def benchmark(self) -> Benchmark:
        """The loaded pair and the plan; the first look loads the model."""
        if self._benchmark is None:
            self._benchmark = self._open()
        return self._benchmark

    def answers(self, case: Case) -> Answers:
        """Every variant's answer to the case, scored."""
        benchmark = self.benchmark
        self.progress.resumed()
        try:
            return benchmark.answers(case)
        finally:
            self.progress.settled()

    def plan_chunk(self, cases: Sequence[Case]) -> None:
        """The cases that are asked for next."""
        self.benchmark.plan(cases)

    def keep_results(self, chunk: Chunk, results: Sequence[CaseResult]) -> None:
        """Write the records of a chunk's cases beside the run's journal. Raises NotReadyError when the disk refuses."""
        if not results:
            return
        from pytest_llmbench.runs.document import result_row
        from pytest_llmbench.runs.result_parts import write_part

        variants, chars = self.benchmark.backend.variants, self._ours.settings.output.answer_chars
        rows = [result_row(result, variants, chars) for result in results]
        write_part(self.parts_in(self.folder), chunk.places[0], rows)

    def parts_in(self, folder: Path) -> Path:
        """Where this session's results lie, in its run's folder, that chunks have brought."""
        return folder / f"results-{self._token}"

    def check_written(self) -> None:
        """Refuse a base, an adapter or an expectation that is not there, before anything is loaded.

        Raises:
            UsageError: one line for each fault.
        """
        from pytest_llmbench.benchmark.preflight import check_expectations, check_models

        if not self._config.hook.pytest_llmbench_backend.get_hookimpls():  # whoever answers there knows what it needs
            check_models(self._ours.settings)
        check_expectations(self.planned, self._ours.registry.metrics)

    def confirmed(
        self, gate: dict[str, Any], places: Collection[tuple[str, int]], name: str, folder: Path
    ) -> dict[str, Any]:
        """The gate, or that of both sides asked again where it fails and the settings want that confirmed.

        `places` are the cases and epochs that were judged; those that no suite holds are not asked again.
        """
        if not self._ours.settings.gate.confirm:
            return gate
        from pytest_llmbench.benchmark.asking_again import Questions, Sides, confirmed, needs_confirmation
        from pytest_llmbench.benchmark.main_job import open_backend

        if not needs_confirmation(gate):
            return gate
        self.progress.say("the gate fails: asking both sides again, with fresh seeds")
        cases = [case for case in self._ours.cases if (case.name, case.epoch) in places]
        ours = self._ours
        questions = Questions(cases, ours.registry, ours.vocabulary, folder, self.progress, limited=ours.is_limited)
        loaded = functools.partial(open_backend, cases=cases)  # so that its context is as long as they need
        return confirmed(gate, Sides(self._ours.settings, self._opened, loaded, self.baseline), questions, name)

    def close(self) -> dict[str, Any]:
        """What the session's end needs to know of this process, as plain data; the model is let go of."""
        fault = self._ours.close()
        with self._at_work:
            if self._benchmark is None:
                return {"fault": fault} if fault else {}
            described = {
                "fault": fault,
                "backend": dict(self._benchmark.backend.describe()),
                "variants": list(self._benchmark.backend.variants),
                "together": self._benchmark.asks_together,
                "metrics": self._benchmark.metrics_described(),
                "folder": str(self.folder),
                "planned": len(self.planned),
                "cosine_between_cases": self._benchmark.cosine_between_cases(),
                "load_s": self._loading_s,
                "scoring_s": self._benchmark.scoring_s,
                "tally": dataclasses.asdict(self.progress.tally),
                "announcements": self._ours.announcements.recorded(),
            }
            self._benchmark.close()
            self._benchmark = None
            return described

    def _open(self) -> Benchmark:
        from pytest_llmbench.generation.completion_store import refuse_unwritable

        settings, registry = self._ours.settings, self._ours.registry
        self._ours.announcements  # noqa: B018  # listening starts before loading does
        self.check_gate()  # a worker of pytest-xdist has not done it yet
        refuse_unwritable(self.folder, "output.report_dir")
        with contextlib.ExitStack() as held:
            held.enter_context(self.at_work(str(self._worker["workerid"]) if self._worker else "alone"))
            benchmark = self._loaded(settings, registry)
            self._at_work = held.pop_all()
        return benchmark

    def at_work(self, process: str) -> contextlib.AbstractContextManager[None]:
        """Inside the block no other session works on this one's run. Raises what `folders.at_work` does."""
        from pytest_llmbench.runs.folders import at_work

        return at_work(self.folder, self._token, process)

    def _loaded(self, settings: Settings, registry: MetricRegistry) -> Benchmark:
        from pytest_llmbench.benchmark.gate_check import refuse_base_alone
        from pytest_llmbench.benchmark.main_job import Benchmark
        from pytest_llmbench.benchmark.stored import Stored
        from pytest_llmbench.core.starter import cache_dir
        from pytest_llmbench.generation.completion_store import CompletionCache, CompletionJournal

        cached = settings.generation.cache and not options.is_given(self._config, options.NO_CACHE)
        cache = CompletionCache(cache_dir() / "completions.sqlite") if cached else None
        journal = CompletionJournal(self.folder, session=self._token)
        started = time.monotonic()
        backend = self._opened(settings, Stored(journal, cache) if cache else None)
        self._loading_s = time.monotonic() - started
        refuse_base_alone(settings, self.baseline, backend.variants)
        return Benchmark(
            settings,
            backend,
            self.planned,
            registry,
            journal=journal,
            cache=cache,
            progress=self.progress,
            processes=int(self._worker["workercount"]) if self._worker else 1,
        )

    @property
    def _worker(self) -> dict[str, Any] | None:
        """What pytest-xdist told this process; None where it is no worker."""
        return getattr(self._config, "workerinput", None)

    def _opened(self, settings: Settings, stored: Stored | None = None) -> Backend:
        """Who answers: a plugin's backend, else the model or server that the settings name."""
        from pytest_llmbench.benchmark.main_job import open_backend
        from pytest_llmbench.generation.local.remembered import RememberedPair

        backend: Backend | None = self._config.hook.pytest_llmbench_backend(settings=settings)
        if backend is None:
            if self._worker:
                share_devices(self._worker, settings)
            self.progress.say(_loading(settings))
            backend = open_backend(settings, self.planned, stored=stored)
            if isinstance(backend, RememberedPair):
                self.progress.say("every answer is stored: no model is loaded")
        return backend


def _loading(settings: Settings) -> str:
    if settings.server.url:
        return f"asking {settings.server.url}"
    adapters = ", ".join(settings.model.adapters)
    where = f" on Ray ({settings.ray.address})" if settings.ray.address else ""
    model = settings.model
    how = model.quantization if model.engine == "transformers" else model.engine
    return f"loading {model.base} ({how}), adapter {adapters}{where}"


def _sees_cuda() -> bool:
    import sys

    torch = sys.modules.get("torch")
    return bool(torch is not None and torch.cuda.is_available())
