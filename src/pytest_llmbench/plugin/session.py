"""One pytest session's benchmark, made piece by piece as items ask: settings, cases, model, answers.

Nothing here happens in a session that has no item asking for a case.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import os
import time
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llmbench.core.errors import LLMBenchError, MissingRunError, NotReadyError
from pytest_llmbench.plugin import options
from pytest_llmbench.plugin.progress import Announcements, LiveLine, SessionProgress

if TYPE_CHECKING:
    from pytest_llmbench.benchmark.main_job import Answers, Benchmark
    from pytest_llmbench.cases.suites import Case, Vocabulary
    from pytest_llmbench.core.settings import Settings
    from pytest_llmbench.generation.backend import Backend
    from pytest_llmbench.metrics import MetricRegistry
    from pytest_llmbench.runs.baseline import Comparable

_log = logging.getLogger("pytest_llmbench")

SESSION = pytest.StashKey["BenchmarkSession"]()


@contextlib.contextmanager
def ending(session: pytest.Session) -> Iterator[None]:
    """Turns what a user can mend into one message and the exit code that it stands for, and ends the session."""
    try:
        yield
    except LLMBenchError as error:
        session.config.stash[SESSION].fault = session.config.stash[SESSION].ended_by = error
        code = error.exit_code
        if hasattr(session.config, "workerinput"):
            session.shouldstop = str(error)  # how a worker of pytest-xdist tells its controller why it stops
            code = NotReadyError.exit_code  # 2 would say that somebody typed Ctrl-C; the fault has its own code
        pytest.exit(str(error), returncode=code)


class BenchmarkSession:
    """What the fixtures and hooks of one process share.

    `token` names the run's folder, the same in every process of the session. `planned` are the selected cases, known
    after collection.
    """

    def __init__(self, config: pytest.Config, token: str) -> None:
        self._config, self._token = config, token
        self._benchmark: Benchmark | None = None
        self.planned: list[Case] = []
        self.fault: LLMBenchError | None = None
        self.ended_by: LLMBenchError | None = None
        self._loading_s = 0.0

    @property
    def cases_were_read(self) -> bool:
        """Whether any test has asked for a case."""
        return "cases" in self.__dict__

    def plan(self, selected: Iterable[Any]) -> None:
        """Remember each selected case once; several tests may ask for the same one."""
        known = {id(case): case for case in self.cases}
        chosen = {id(case): case for case in selected if id(case) in known}
        self.planned = list(chosen.values())

    @functools.cached_property
    def settings(self) -> Settings:
        """Command line over environment over ini file over settings file over defaults."""
        from pytest_llmbench.core.settings import load_settings
        from pytest_llmbench.core.starter import CONFIG

        given = options.chosen(self._config, options.OPTIONS[0])
        path = Path(given[0]) if given else (CONFIG if CONFIG.is_file() else None)
        return load_settings(path, options.overrides(self._config), os.environ)

    @functools.cached_property
    def vocabulary(self) -> Vocabulary:
        """The tools and their terms."""
        from pytest_llmbench.cases.suites import load_vocabulary
        from pytest_llmbench.core.starter import present

        return load_vocabulary(present(Path(self.settings.benchmark.vocabulary)))

    @functools.cached_property
    def cases(self) -> list[Case]:
        """Every case of the suites, before pytest selects among them."""
        from pytest_llmbench.benchmark.main_job import chosen_cases

        return chosen_cases(self.settings, self.vocabulary)

    @functools.cached_property
    def progress(self) -> SessionProgress:
        """Where completions are counted and shown."""
        return SessionProgress(self.line, gpu=self.settings.logging.show_gpu and _sees_cuda())

    @functools.cached_property
    def line(self) -> LiveLine:
        """Where it is shown what goes on."""
        return LiveLine(self._config, visible=self.settings.logging.progress)

    @functools.cached_property
    def announcements(self) -> Announcements:
        """What the engines have announced; they are listened to from the first look on."""
        handler = Announcements(self.line.say)
        _log.addHandler(handler)
        return handler

    @functools.cached_property
    def baseline(self) -> Comparable | None:
        """The run that this one is compared with, None where none is wanted, or where it is missing and may be."""
        from pytest_llmbench.runs.history import find_run

        gate = self.settings.gate
        if gate.baseline is None:
            return None
        try:
            return find_run(gate.baseline, self.settings.output.report_dir).comparable
        except MissingRunError as error:
            if gate.missing_baseline == "fail":
                raise
            _log.warning("%s; gate.missing_baseline is warn: nothing is compared", error)
            return None

    def check_gate(self) -> None:
        """Refuse a gate that could judge nothing of what was selected.

        Raises:
            UsageError: a metric, the fine-tune or the baseline is not there, or has nothing in common with the cases.
        """
        if not self.planned:
            return
        from pytest_llmbench.benchmark import gate_check

        self.announcements  # noqa: B018  # listening starts before anything is said
        settings = self.settings
        gate_check.refuse_unjudgeable(settings, self.registry.metrics)
        answered_by_plugins = self._config.hook.pytest_llmbench_backend.get_hookimpls()
        if settings.gate.kind != "off" and settings.gate.baseline is None and not answered_by_plugins:
            gate_check.refuse_missing_adapter(settings)
        if self.baseline is not None:
            gate_check.refuse_unmatched(settings, self.baseline, {case.name for case in self.planned})
        if settings.gate.confirm and settings.gate.kind != "off":
            gate_check.refuse_unconfirmable(settings, self.baseline)

    @functools.cached_property
    def folder(self) -> Path:
        """Where this run is journaled."""
        from pytest_llmbench.runs.history import new_folder, unfinished

        report_dir = Path(self.settings.output.report_dir)
        wanted = self._config.getoption(options.RESUME.dest)
        resumed = unfinished(report_dir, wanted or None) if wanted is not None else None
        if wanted is not None and resumed is None:
            _log.warning("nothing to resume in %s: a new run was started", report_dir / "runs")
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

    def check_written(self) -> None:
        """Refuse a base, an adapter or an expectation that is not there, before anything is loaded.

        Raises:
            UsageError: one line for each fault.
        """
        from pytest_llmbench.benchmark.preflight import check_expectations, check_models

        if not self._config.hook.pytest_llmbench_backend.get_hookimpls():  # whoever answers there knows what it needs
            check_models(self.settings)
        check_expectations(self.planned, self.registry.metrics)

    def check_base(self) -> None:
        """Refuse a base that goes by no such name. Raises UsageError."""
        from pytest_llmbench.benchmark.preflight import check_base

        check_base(self.settings)

    @functools.cached_property
    def registry(self) -> MetricRegistry:
        """What answers are scored by: the metrics that are switched on, and those that plugins add."""
        from pytest_llmbench.metrics import default_metrics

        registry = default_metrics(self.settings.metrics, self.vocabulary, self.cases)
        self._config.hook.pytest_llmbench_metrics(registry=registry)
        return registry

    def confirmed(
        self, gate: dict[str, Any], places: Collection[tuple[str, int]], name: str, folder: Path
    ) -> dict[str, Any]:
        """The gate, or that of both sides asked again where it fails and the settings want that confirmed.

        `places` are the cases and epochs that were judged; those that no suite holds are not asked again.
        """
        if not self.settings.gate.confirm:
            return gate
        from pytest_llmbench.benchmark.asking_again import Questions
        from pytest_llmbench.benchmark.confirmation import Sides, confirmed, needs_confirmation
        from pytest_llmbench.benchmark.main_job import open_backend

        if not needs_confirmation(gate):
            return gate
        self.progress.say("the gate fails: asking both sides again, with fresh seeds")
        cases = [case for case in self.cases if (case.name, case.epoch) in places]
        questions = Questions(cases, self.registry, self.vocabulary, folder, self.progress)
        return confirmed(gate, Sides(self.settings, self._opened, open_backend, self.baseline), questions, name)

    def close(self) -> dict[str, Any]:
        """What the session's end needs to know of this process, as plain data; the model is let go of."""
        fault = {"exit_code": self.fault.exit_code, "message": str(self.ended_by or "")} if self.fault else None
        if "announcements" in self.__dict__:
            _log.removeHandler(self.announcements)
        if self._benchmark is None:
            return {"fault": fault} if fault else {}
        described = {
            "fault": fault,
            "backend": dict(self._benchmark.backend.describe()),
            "variants": list(self._benchmark.backend.variants),
            "metrics": self._benchmark.metrics_described(),
            "folder": str(self.folder),
            "planned": len(self.planned),
            "load_s": self._loading_s,
            "scoring_s": self._benchmark.scoring_s,
            "tally": dataclasses.asdict(self.progress.tally),
            "announcements": self.announcements.messages,
        }
        self._benchmark.close()
        self._benchmark = None
        return described

    def _open(self) -> Benchmark:
        from pytest_llmbench.benchmark.gate_check import refuse_base_alone
        from pytest_llmbench.benchmark.main_job import Benchmark
        from pytest_llmbench.core.cache_folder import cache_dir
        from pytest_llmbench.generation.completion_store import CompletionCache, refuse_unwritable

        settings, registry = self.settings, self.registry
        self.announcements  # noqa: B018  # listening starts before loading does
        self.check_gate()  # a worker of pytest-xdist has not done it yet
        refuse_unwritable(self.folder, "--llmbench-report-dir")
        started = time.monotonic()
        backend = self._opened(settings)
        self._loading_s = time.monotonic() - started
        refuse_base_alone(settings, self.baseline, backend.variants)
        cached = settings.generation.cache and not options.is_given(self._config, options.NO_CACHE)
        return Benchmark(
            settings,
            backend,
            self.planned,
            registry,
            folder=self.folder,
            cache=CompletionCache(cache_dir() / "completions.sqlite") if cached else None,
            progress=self.progress,
        )

    def _opened(self, settings: Settings) -> Backend:
        """Who answers: a plugin's backend, else the model or server that the settings name."""
        from pytest_llmbench.benchmark.main_job import open_backend

        backend: Backend | None = self._config.hook.pytest_llmbench_backend(settings=settings)
        if backend is None:
            self.progress.say(_loading(settings))
            backend = open_backend(settings, self.planned)
        return backend


def _loading(settings: Settings) -> str:
    if settings.server.url:
        return f"asking {settings.server.url}"
    adapters = ", ".join(settings.model.adapters)
    return f"loading {settings.model.base} ({settings.model.quantization}), adapter {adapters}"


def _sees_cuda() -> bool:
    import sys

    torch = sys.modules.get("torch")
    return bool(torch is not None and torch.cuda.is_available())
