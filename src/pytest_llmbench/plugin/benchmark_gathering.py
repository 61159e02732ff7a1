"""The end of a session, in the process that people see: records from every process become one run and its reports."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llmbench.core.errors import LLMBenchError, UsageError
from pytest_llmbench.core.records import CaseResult, Run
from pytest_llmbench.plugin import options
from pytest_llmbench.plugin.benchmark_session import BENCHMARK
from pytest_llmbench.plugin.gathering import REPORTER, Gathering
from pytest_llmbench.plugin.session import SESSION

if TYPE_CHECKING:
    from pytest_llmbench.reports import Reports
    from pytest_llmbench.runs.drift_document import Monitored, NoBand
    from pytest_llmbench.runs.result_parts import ResultParts
    from pytest_llmbench.runs.typed import RunPoint

RESULT = "llmbench_result"
"""The attribute of a test report that carries its case's record."""
PLANNED = "llmbench_planned"
"""The attribute of a report that tells which case, or chunk of cases, the item stands for, and how many.

A setup's report has it, and that of a test that asked for no answer.
"""
SKIPPED = "llmbench_skipped"
"""The attribute of a chunk's report that names the cases that were skipped before they asked for an answer."""
TOKEN = "llmbench_token"  # noqa: S105  # names a run's folder, no secret

_COMMIT_CHARS = 8
_JUNIT_WIDTH = 120
_TREND_RUNS = 30
_MONITORED_RUNS = 100  # every session reads them all; more are for `llmbench monitor`
_GATE, _SUMMARY = "llmbench gate", "llmbench"
_THIS_RUN = "this run"


class BenchmarkGathering(Gathering):
    """Takes in what test reports and worker processes bring, and ends the session with the run and its reports."""

    worker_output = "llmbench"

    def __init__(self, config: pytest.Config, token: str) -> None:
        super().__init__(config, _GATE, _SUMMARY)
        self._token = token
        self._ours, self._session = config.stash[SESSION], config.stash[BENCHMARK]
        self._results: dict[tuple[str, int], CaseResult] = {}
        self._places: dict[str, tuple[str, int]] = {}
        self._skipped: dict[tuple[str, int], int] = {}
        self._skipped_inside: dict[tuple[str, int], set[str]] = {}
        self._running: dict[tuple[str, int], set[str]] = {}
        self._namesakes: tuple[CaseResult, CaseResult] | None = None
        self._started = time.monotonic()
        self._held, self._at_work = False, contextlib.ExitStack()

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Let every worker of pytest-xdist journal into one folder; it is made with the first answer."""
        node.workerinput[TOKEN] = self._token

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the record that a report carries; a failure in any phase of any test of the case fails the case.

        A case whose items were all skipped before they asked, or are not to be run, is none that the run should have.
        """
        if planned := getattr(report, PLANNED, None):
            name, epoch, cases = planned
            running = self._running.setdefault((name, epoch), set())
            if report.skipped and not hasattr(report, RESULT):
                self._skipped[name, epoch] = cases
                running.discard(report.nodeid)
            else:
                running.add(report.nodeid)
        for name, epoch in getattr(report, SKIPPED, ()):
            self._skipped_inside.setdefault((name, epoch), set()).add(report.nodeid)
        if data := getattr(report, RESULT, None):
            result = CaseResult.from_json(data)
            place = self._places[report.nodeid] = (result.case, result.epoch)
            known = self._results.setdefault(place, result)
            if known.messages_sha256 != result.messages_sha256:  # of two processes: one refuses them itself
                self._namesakes = known, result
        if report.failed and report.nodeid in self._places:
            place = self._places[report.nodeid]
            self._results[place] = dataclasses.replace(self._results[place], outcome="failed")
        if self._running and not self._held and self._session.folder.exists():
            self._hold()

    @pytest.hookimpl(trylast=True)
    def pytest_keyboard_interrupt(self) -> None:
        """Show what ended the session without the names of pytest's and pytest-xdist's own exceptions before it."""
        messages = [one["fault"]["message"] for one in self._processes if one.get("fault")]
        message = self._ours.ended_saying or next(filter(None, messages), "")
        shown = getattr(self._config.pluginmanager.get_plugin(REPORTER), "_keyboardinterrupt_memo", None)
        if message and shown is not None:
            shown.reprcrash.message = message

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """As of all sessions; nobody else goes on with the run before it has its number."""
        with self._at_work:
            super().pytest_sessionfinish(session, exitstatus)

    def _refuse_namesakes(self) -> None:
        if self._namesakes:
            from pytest_llmbench.cases.case import namesakes

            first, second = (f"{one.prompt!r:.60}" for one in self._namesakes)
            raise namesakes(self._namesakes[0].case, self._namesakes[0].epoch, first, second)

    def _hold(self) -> None:
        """Have the run for this session till its end, which comes after that of the processes that answer."""
        self._held = True
        with contextlib.suppress(LLMBenchError):  # a process that is to answer is refused, and says why
            self._at_work.enter_context(self._session.at_work("gathering"))

    def _closed(self) -> Mapping[str, Any]:
        return self._session.close()

    def _language(self) -> str:
        return self._ours.settings.output.language

    def _report(self, session: pytest.Session, *, ended_by_itself: bool) -> None:
        asked = [one for one in self._processes if one.get("backend")]
        if not asked:
            if self._results:  # every worker crashed
                self._tell_of_kept_answers(self._session.folder)
            return
        self._refuse_namesakes()
        from pytest_llmbench.plugin.gathering import renderers_of, sections_of
        from pytest_llmbench.reports import write_reports
        from pytest_llmbench.reports.renderers.terminal import terminal_lines
        from pytest_llmbench.reports.views.benchmark import with_paths
        from pytest_llmbench.runs.history import trend
        from pytest_llmbench.runs.result_parts import CaseResults

        self.lines[_SUMMARY] += self._notes(_announced(asked).values(), self._ours.settings.output.language)
        folder = Path(asked[0]["folder"])
        parts = self._settled(asked[0]["variants"], folder)
        planned = max(one["planned"] for one in asked) - self._left_out(session)
        if not self._results and parts is None:
            if folder.exists():
                self._tell_of_kept_answers(folder)
            if planned:
                self._tell_of_no_gate(session)
            return
        found = len(self._results) if parts is None else len(parts)
        whole = ended_by_itself and found >= planned
        results = tuple(self._in_order_of_suites()) if parts is None else CaseResults(parts)
        run = Run(self._about(asked, None if whole else (found, planned)), tuple(asked[0]["variants"]), results)
        run, document = self._judged(run, folder, parts, whole=whole)
        if not whole:
            self._tell_of_kept_answers(folder)
        output = self._ours.settings.output
        earlier = trend(output.report_dir, _TREND_RUNS)
        monitored = self._monitored(document, earlier) if output.png else None
        reports = write_reports(
            document,
            output,
            run_dir=folder,
            earlier=earlier,
            monitored=monitored,
            renderers=renderers_of(self._config),
            sections=sections_of(self._config, "benchmark", output.language),
        )
        paths = dict(reports.paths)
        if whole:
            numbered = self._numbered(run, folder)
            paths["run"] = numbered / "run.json"
            if parts is not None:
                parts.moved(numbered)
        self._tell_of_gate(session, reports)
        self.lines[_SUMMARY] += terminal_lines(with_paths(reports.report.without("gate"), paths), self._width())
        if whole:
            self._config.hook.pytest_llmbench_report(run=run, report_dir=Path(output.report_dir))

    def _left_out(self, session: pytest.Session) -> int:
        """How many of the planned cases were skipped by every test that asked for them.

        None of a session that `-x` or `--sw` stopped: nobody knows what the tests that were left would have asked.
        """
        if session.shouldfail or session.shouldstop:
            return 0
        asked = self._results.keys() | {place for place, items in self._running.items() if items}
        whole = sum(cases for place, cases in self._skipped.items() if place not in asked)
        return whole + sum(
            place not in asked and not any(nodes & items and items - nodes for items in self._running.values())
            for place, nodes in self._skipped_inside.items()  # of chunks, each run by one item of every test
        )

    def _settled(self, variants: Sequence[str], folder: Path) -> ResultParts | None:
        """The results that chunks have brought, with those of other tests; None where no test had chunks."""
        from pytest_llmbench.runs.document import result_row
        from pytest_llmbench.runs.result_parts import add_others, settle

        brought = self._session.parts_in(folder)
        if not brought.is_dir():
            return None
        chars = self._ours.settings.output.answer_chars
        add_others(brought, [result_row(one, variants, chars) for one in self._results.values()])
        return settle(brought, folder)

    def _about(self, asked: list[Mapping[str, Any]], cut_short: tuple[int, int] | None) -> dict[str, Any]:
        """What the run says of itself; `cut_short` is how many results it has and should have, where some miss."""
        from pytest_llmbench.core.provenance import provenance
        from pytest_llmbench.runs.metadata import metadata

        first = asked[0]
        timings = {
            "total_s": round(time.monotonic() - self._started, 2),
            "load_s": round(max(one["load_s"] for one in asked), 2),
            "generation_s": round(max(one["tally"]["busy_s"] for one in asked), 2),
            "scoring_s": round(max(one["scoring_s"] for one in asked), 2),
        }
        parts = timings["load_s"] + timings["generation_s"] + timings["scoring_s"]
        timings["other_s"] = round(max(0.0, timings["total_s"] - parts), 2)
        return {
            **metadata(first["backend"], self._ours.settings, self._ours.vocabulary),
            "metrics": first["metrics"],
            **provenance(answered_here=first["backend"].get("backend") != "server"),
            "timings": timings,
            **_passes(asked),
            **_unrelated([one["cosine_between_cases"] for one in asked]),
            "processes": len(asked),
            **({} if self._ours.settings.benchmark.limit is None else {"limited": self._ours.is_limited}),
            **({"cut_short": dict(zip(("results", "planned"), cut_short, strict=True))} if cut_short else {}),
            "announcements": list(_announced(asked).values()),
        }

    def _judged(self, run: Run, folder: Path, parts: ResultParts | None, *, whole: bool) -> tuple[Run, dict[str, Any]]:
        """The run and its document with the gate, if the run is whole and one is wanted, and each fine-tune's base."""
        from pytest_llmbench.runs.base_comparison import base_comparison
        from pytest_llmbench.runs.document import build_document, judged, large_document

        chars = self._ours.settings.output.answer_chars
        document = build_document(run, answer_chars=chars) if parts is None else large_document(run, parts)
        gate = self._gate(document, folder) if whole else None
        comparison = base_comparison({**document, "gate": gate})
        return dataclasses.replace(run, gate=gate, comparison=comparison), judged(document, gate, comparison)

    def _gate(self, document: Mapping[str, Any], folder: Path) -> Mapping[str, Any] | None:
        settings = self._ours.settings.gate
        if settings.kind == "off" and settings.baseline is None:
            return None
        from pytest_llmbench.runs.gate import gate_of

        gate = gate_of(document, _THIS_RUN, settings, self._session.baseline)
        return self._session.confirmed(gate, set(self._results), _THIS_RUN, folder)

    def _monitored(self, document: Mapping[str, Any], earlier: list[RunPoint]) -> Monitored | NoBand | None:
        """The drift of all runs since the baseline, and of this one, or why it is not told; None without a baseline.

        Its bounds hold at every look: not if the trend's newest runs alone were looked at, each time from the start.
        """
        baseline, settings = self._session.baseline, self._ours.settings
        if baseline is None or not earlier:
            return None
        from pytest_llmbench.reports.writing.benchmark import this_run
        from pytest_llmbench.runs.baseline import comparable
        from pytest_llmbench.runs.drift_document import NoBand
        from pytest_llmbench.runs.history import read_in_turn, saved_since
        from pytest_llmbench.runs.monitoring import monitor

        since = saved_since(baseline, settings.output.report_dir)
        if len(since) > _MONITORED_RUNS:
            return NoBand(baseline=baseline.name, count=len(since))
        this = comparable(document, this_run(settings.output.language))
        gate = settings.gate
        try:
            margins, looked_at = gate.margins_of(gate.metrics), itertools.chain(read_in_turn(since), [this])
            found = monitor(baseline, looked_at, metrics=gate.metrics, margins=margins, alpha=gate.alpha)
        except UsageError:
            return NoBand(baseline=baseline.name)
        return found if found.series else NoBand(baseline=baseline.name)

    def _tell_of_gate(self, session: pytest.Session, reports: Reports) -> None:
        from pytest_llmbench.core.locale import words
        from pytest_llmbench.plugin.gate_item import github_lines, record_verdict, report_gate, write_github_summary
        from pytest_llmbench.reports.judgement import opening
        from pytest_llmbench.reports.renderers.terminal import terminal_lines

        run, report = reports.run, reports.report
        say = words(report.language)
        record_verdict(self._config, opening(run, say))
        annotated = github_lines(report)
        if gate := run.gate:
            told = report.only("gate")
            self.lines[_GATE] += [*terminal_lines(told, self._width()), *annotated]
            if gate.kind != "compare":
                report_gate(session, gate, terminal_lines(told, _JUNIT_WIDTH), report.language)
        else:
            self.lines[_SUMMARY] += annotated
            self._tell_of_no_gate(session)
        write_github_summary(report)

    def _tell_of_no_gate(self, session: pytest.Session) -> None:
        """A gate that is wanted and could not judge never leaves a session green."""
        from pytest_llmbench.core.locale import words
        from pytest_llmbench.reports.judgement import unjudged

        settings = self._ours.settings
        if settings.gate.kind == "off":
            return
        self.lines[_GATE].append(unjudged(words(settings.output.language)))
        if session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _kept(self) -> Sequence[str]:
        folder = self._session.folder
        return [self._kept_in(folder)] if folder.exists() else []  # it has its number else

    def _tell_of_kept_answers(self, folder: Path) -> None:
        self.lines[_SUMMARY].append(self._kept_in(folder))

    def _kept_in(self, folder: Path) -> str:
        from pytest_llmbench.core.locale import words
        from pytest_llmbench.reports.judgement import kept_answers

        return kept_answers(folder, "--llmbench-resume", words(self._ours.settings.output.language))

    def _in_order_of_suites(self) -> list[CaseResult]:
        """A case that no suite holds, since a user's own fixture made it, comes last."""
        position = {case.name: index for index, case in enumerate(self._ours.cases)}
        return sorted(
            self._results.values(),
            key=lambda result: (position.get(result.case, len(position)), result.case, result.epoch),
        )

    def _numbered(self, run: Run, folder: Path) -> Path:
        from pytest_llmbench.runs.history import finish

        saved = options.chosen(self._config, options.SAVE)
        commit = (run.metadata.get("git") or {}).get("commit")
        return finish(folder, saved[0] if saved else str(commit or "run")[:_COMMIT_CHARS])


def _announced(asked: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """What any process announced, once, by what it said."""
    return {one["said"]: one for process in asked for one in process["announcements"]}


def _unrelated(of_processes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """How alike answers to different cases are: of all pairs that any process compared."""
    found: dict[str, Any] = {}
    for variant, measured in (told for one in of_processes for told in one.items()):
        known = found.setdefault(variant, {"mean": 0.0, "pairs": 0})
        pairs = known["pairs"] + measured["pairs"]
        total = known["mean"] * known["pairs"] + measured["mean"] * measured["pairs"]
        found[variant] = {"mean": round(total / pairs, 6), "pairs": pairs}
    return {"cosine_between_cases": found} if found else {}


def _passes(asked: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What each variant's answers took, or all answers where variants are asked together and share every second.

    Processes work side by side, so the slowest one's seconds count.
    """
    tallies = [one["tally"] for one in asked]
    if any(one["together"] for one in asked):
        fresh = sum(tally["answered"] - tally["cached"] for tally in tallies)
        seconds = round(max(tally["busy_s"] for tally in tallies), 3)
        tokens = sum(tally["tokens"] for tally in tallies)
        return {"shared_pass": {"answers": fresh, "tokens": tokens, "seconds": seconds}}
    found: dict[str, Any] = {}
    for variant, spent in (told for tally in tallies for told in tally["passes"].items()):
        known = found.setdefault(variant, {"answers": 0, "tokens": 0, "seconds": 0.0})
        known["answers"] += spent["answers"]
        known["tokens"] += spent["tokens"]
        known["seconds"] = max(known["seconds"], round(spent["seconds"], 3))
    return {"passes": found}
