"""A benchmark run as sections, the most important first: every format of its report is made of these."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pytest_llmbench.core.locale import Words, words
from pytest_llmbench.reports.blocks import Alert, Depth, Facts, Report, Section, Sentences
from pytest_llmbench.reports.cautions import cautions
from pytest_llmbench.reports.judgement import beside_the_gate, cut_short, opening, verdict_sentences
from pytest_llmbench.reports.recommendations import recommendations
from pytest_llmbench.reports.score_remarks import about_scores, cut_answers
from pytest_llmbench.reports.views import gate as gate_view
from pytest_llmbench.reports.views.cases import every_case, rankings
from pytest_llmbench.reports.views.provenance import provenance, recorded
from pytest_llmbench.reports.views.routing import routing_sections
from pytest_llmbench.reports.views.scores import by_category, overall
from pytest_llmbench.reports.views.timing import timing
from pytest_llmbench.reports.views.trend import trend_section
from pytest_llmbench.runs.typed import RunDocument, RunPoint


def benchmark_report(
    run: RunDocument,
    language: str,
    *,
    history: Sequence[RunPoint] = (),
    added: Sequence[Section] = (),
) -> Report:
    """A run, judged where it was.

    `history` are the saved runs in short and this one, `added` sections of plugins, which stand before what the run
    recorded.

    Raises:
        UsageError: the language is unknown.
    """
    say = words(language)
    sections = [*_sections(run, say, [*_trend(history, say), *added])]
    return Report(say("LLM BENCHMARK ANALYSIS"), language, sections, _alerts(run, say))


def with_paths(report: Report, paths: Mapping[str, Path]) -> Report:
    """The report with the files that it was written to, for a terminal: kind to path."""
    files = Facts([(kind, str(path)) for kind, path in paths.items()], depth=Depth.BRIEF)
    return dataclasses.replace(report, sections=[*report.sections, Section("files", "", [files])])


def _sections(run: RunDocument, say: Words, added: Sequence[Section]) -> Iterator[Section]:
    yield from _verdicts(run, say)
    said = _remarks(run, say)
    yield said
    yield overall(run, say)
    yield by_category(run, say)
    for variant in run.adapters:
        yield from rankings(run, variant, say)
    yield from routing_sections(run, say)
    yield timing(run, say)
    yield from added
    yield provenance(run, say)
    yield _conclusions(run, said, say)
    yield every_case(run, say)
    yield recorded(run, say)


def _trend(history: Sequence[RunPoint], say: Words) -> list[Section]:
    return [trend_section(history, say)] if history else []


def _verdicts(document: RunDocument, say: Words) -> Iterator[Section]:
    """The gate, then the comparison with the base that it did not make; what can be said where there is neither."""
    gate, beside, part = document.gate, beside_the_gate(document), cut_short(document, say)
    if gate is not None:
        yield gate_view.gate_section(gate, say, document)
    if beside is not None:
        yield gate_view.comparison_section(beside, say, document, Depth.BRIEF if gate is None else Depth.SUMMARY)
    elif gate is None:
        yield Section(
            "comparison", say("Verdict"), [Sentences(opening(document, say), listed=False, depth=Depth.BRIEF)]
        )
    elif part is not None:
        yield Section("comparison", "", [Sentences([part], listed=False, depth=Depth.BRIEF)])


def _remarks(document: RunDocument, say: Words) -> Section:
    """What must be known before numbers are believed: where there is little room, only what went wrong."""
    wrong = [*cut_answers(document, say), *cautions(document, say)]
    others = [line for line in about_scores(document, say) if line not in wrong]
    return Section("remarks", "", [Sentences(wrong, depth=Depth.BRIEF), Sentences(others)])


def _conclusions(document: RunDocument, remarks: Section, say: Words) -> Section:
    said = {line for block in remarks.blocks if isinstance(block, Sentences) for line in block.lines}
    lines = [line for line in recommendations(document, say) if line and line not in said]
    return Section("recommendations", say("Recommendations"), [Sentences(lines)])


def _alerts(document: RunDocument, say: Words) -> list[Alert]:
    """The gate's, and the comparison that it did not make as a notice."""
    gate = document.gate
    told = [] if gate is None else gate_view.alerts(gate, say)
    sentences = verdict_sentences(document, say) if beside_the_gate(document) else []
    if sentences:
        told.append(Alert("notice", sentences[0].partition(":")[0].strip(), sentences))
    return told
