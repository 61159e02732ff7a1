"""Rendering the page: the template with its style and scripts inside, and the cases as data for the script."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pytest_llmbench.core import files
from pytest_llmbench.core.locale import N_, Words, words
from pytest_llmbench.core.records import BASE
from pytest_llmbench.reports.blocks import Cell, Number, Report, Section
from pytest_llmbench.reports.call_faults import call_summaries
from pytest_llmbench.reports.gate_sentences import confidence
from pytest_llmbench.reports.html.cases import case_data
from pytest_llmbench.reports.html.differences import difference_plots
from pytest_llmbench.reports.html.facts import headline_facts, provenance_groups
from pytest_llmbench.reports.html.routing import routing_view
from pytest_llmbench.reports.html.scores import metric_cards
from pytest_llmbench.reports.html.trend import runs_of_trend, trend_view, variants_of
from pytest_llmbench.reports.html.verdict import gate_views
from pytest_llmbench.reports.judgement import cut_short, opening
from pytest_llmbench.reports.outcomes import SIGNS
from pytest_llmbench.reports.pairing import verdicts_against_base
from pytest_llmbench.reports.phases import phases
from pytest_llmbench.reports.recommendations import recommendations
from pytest_llmbench.reports.renderers.html import Html
from pytest_llmbench.reports.renderers.templates import asset, template
from pytest_llmbench.reports.score_remarks import about_scores, batched_speed, cosine_meanings
from pytest_llmbench.reports.views.timing import answer_rows, answer_titles, timing_note
from pytest_llmbench.runs.typed import RunDocument, RunPoint, run_document

_CHANGE_SIGNS = {"better": "▲", "same": "=", "worse": "▼"}
_CHANGES = {
    "better": N_("improved"),
    "same": N_("unchanged"),
    "worse": N_("worse"),
}
_OUTCOMES = {
    "pass": N_("Pass"),
    "fail": N_("Fail"),
    "inconclusive": N_("Inconclusive"),
}
_ADAPTER_LOOKS = 5
_SCRIPTS = ("word_diff.js", "case_rows.js", "case_view.js", "case_table.js", "theme.js", "start.js")


def write_html(document: RunDocument, history: Sequence[RunPoint], path: Path, language: str) -> None:
    """Write the page, replacing `path` in one step.

    Raises:
        NotReadyError: the disk is full or the folder cannot be written.
        UsageError: the language is unknown.
    """
    files.write_text(path, render_html(document, history, language))


def render_html(
    document: RunDocument,
    history: Sequence[RunPoint],
    language: str,
    added: Sequence[Section] = (),
) -> str:
    """The whole page of a run document, as built or as read back from disk.

    `history` holds the saved runs, oldest first: `name`, `timestamp`, `outcome` and `variants` (variant -> metric ->
    mean). The same input gives the same page. `added` are sections of plugins.

    Raises:
        UsageError: the language is unknown.
    """
    say, timed = words(language), run_document(document)
    views, runs = gate_views(document, say), runs_of_trend(document, history, say)
    looks = _looks(variants_of(document, runs))
    page = template("html", "report.html.j2").render(
        say=say,
        language=language,
        heading=_heading(document.variants, say),
        looks=looks,
        symbols=SIGNS,
        signs=_CHANGE_SIGNS,
        changes=_CHANGES,
        outcomes=_OUTCOMES,
        views=views,
        opening=opening(document, say),
        part=cut_short(document, say),
        compared=bool(document.adapters),
        confidence=_confidence(document, say),
        advice=[line for line in recommendations(document, say) if line],
        beside_scores=[*about_scores(document, say), *cosine_meanings(document, say)],
        beside_speed=list(batched_speed(document, say)),
        phases=list(phases(document, say)),
        facts=headline_facts(document, say),
        cards=metric_cards(document, say),
        plots=difference_plots(document, say),
        routing=routing_view(document, say),
        calls=list(call_summaries(document, say)),
        trend=trend_view(runs, looks, say),
        answer_titles=answer_titles(timed, say),
        answers=[(variant, [_cell(one, say) for one in cells]) for variant, cells in answer_rows(timed)],
        timing_note=timing_note(timed, say),
        provenance=provenance_groups(document, say),
        style=asset("report.css"),
        scripts="\n".join(asset(name) for name in _SCRIPTS),
        early_script=asset("early.js"),
        added=Html().sections(Report("", language, added)),
        data=_embedded(case_data(document, say)),
    )
    return page.encode("utf-8", "replace").decode("utf-8")  # a hand-edited run may hold lone surrogates


def _cell(cell: Cell, say: Words) -> str:
    if isinstance(cell, Number):
        return say.count(cell.value) if isinstance(cell.value, int) else say.number(cell.value)
    return str(cell)


def _confidence(document: RunDocument, say: Words) -> str | None:
    """That of the intervals of adapter minus base; None where there are none."""
    gate = document.paired_with_base
    return confidence(gate, say) if gate is not None and verdicts_against_base(document) else None


def _heading(variants: Sequence[str], say: Words) -> str:
    others = [name for name in variants if name != BASE]
    if BASE in variants and others:
        return say("{variants} against {base}", variants=", ".join(others), base=BASE)
    return ", ".join(variants)


def _looks(variants: Sequence[str]) -> dict[str, int]:
    """Each variant's colour and shape by number: the base has its own, adapters share the others in turn."""
    others = [name for name in variants if name != BASE]
    return {BASE: 0} | {name: 1 + place % _ADAPTER_LOOKS for place, name in enumerate(others)}


def _embedded(data: dict[str, Any]) -> str:
    """JSON that no content can end early: without `<` there is no `</script>` and no `<!--`."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")
