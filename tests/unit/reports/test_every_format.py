"""Every document in every format and language: the same verdicts, numbers and evidence in all of them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from markdown_it import MarkdownIt
from support.context_documents import several_contexts
from support.evaluation_documents import evaluation_document
from support.gates import gate, judged, note, verdict
from support.report_runs import built, full_run
from support.schemas import schema
from support.serving_documents import full_document, several_document
from support.trainings import TRAINED

from pytest_llmbench.autotune.document import typed_limits
from pytest_llmbench.benchmark.evaluation.document import typed_evaluation
from pytest_llmbench.core.locale import words
from pytest_llmbench.core.settings import OutputSettings, Settings
from pytest_llmbench.reports import benchmark_report, write_reports
from pytest_llmbench.reports.blocks import (
    Block,
    Cell,
    Depth,
    Details,
    Facts,
    Heading,
    Quote,
    Report,
    Sentences,
    Table,
    Verdict,
)
from pytest_llmbench.reports.gate_sentences import reason
from pytest_llmbench.reports.html import render_html
from pytest_llmbench.reports.limits import ROOM
from pytest_llmbench.reports.outcomes import COLOURED_SIGNS, SIGNS
from pytest_llmbench.reports.renderers.cells import cell_text
from pytest_llmbench.reports.renderers.html import Html
from pytest_llmbench.reports.renderers.markdown import Markdown
from pytest_llmbench.reports.renderers.terminal import terminal_lines
from pytest_llmbench.reports.renderers.text import Text
from pytest_llmbench.reports.views.autotune import autotune_report
from pytest_llmbench.reports.views.context import context_report
from pytest_llmbench.reports.views.evaluation import evaluation_report
from pytest_llmbench.reports.views.training import training_report
from pytest_llmbench.reports.writing.autotune import write_document
from pytest_llmbench.reports.writing.context import write_context
from pytest_llmbench.reports.writing.evaluation import write_evaluation
from pytest_llmbench.runs.storage import read_document
from pytest_llmbench.runs.typed import GateDocument, run_document

EXAMPLE = Path(__file__).parents[3] / "reports/example/benchmark.json"
LANGUAGES = ("en", "fr")


class Words(HTMLParser):
    """What a page says, without its marks."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.said: list[str] = []
        self._silent = 0
        self.feed(page)

    def handle_starttag(self, tag: str, _attrs: list[tuple[str, str | None]]) -> None:
        self._silent += tag in {"style", "script"}

    def handle_endtag(self, tag: str) -> None:
        self._silent -= tag in {"style", "script"}

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.said.append(data)


def said(text: str) -> str:
    """The words and numbers alone: no box, no mark of a list, no space that a wrapped line adds."""
    return re.sub(r"[\s│┌┐└┘├┤┬┴┼─\u200b]+", "", text)


def page_words(page: str) -> str:
    return said("".join(Words(page).said))


FORMATS: dict[str, tuple[Depth, Callable[[Report], str]]] = {
    "text": (Depth.FULL, lambda report: said(Text().render(report))),
    "markdown": (
        Depth.SUMMARY,
        lambda report: page_words(MarkdownIt("commonmark").enable("table").render(Markdown().render(report))),
    ),
    "html": (Depth.FULL, lambda report: page_words(Html().render(report))),
    "terminal": (Depth.FULL, lambda report: said("\n".join(terminal_lines(report, 400, Depth.FULL)))),
}
REPORTS: dict[str, Callable[[str], Report]] = {
    "benchmark": lambda language: benchmark_report(run_document(read_document(EXAMPLE)), language),
    "gated": lambda language: benchmark_report(
        run_document(
            judged(
                gate(verdict(), verdict("inconclusive", "keywords"), verdict(category="tool_routing"), notes=[note()])
            )
        ),
        language,
    ),
    "evaluation": lambda language: evaluation_report(typed_evaluation(evaluation_document()), language),
    "autotune": lambda language: autotune_report(typed_limits(full_document()), language),
    "servers": lambda language: autotune_report(typed_limits(several_document()), language),
    "context": lambda language: context_report(several_contexts(), language),
    "training": lambda language: training_report(TRAINED, language),  # type: ignore[arg-type]  # one of the two
}


def shown_at(report: Report, depth: Depth) -> Iterator[Block]:
    for section in report.at(depth):
        yield from _flat(section.blocks)


def _flat(blocks: Any) -> Iterator[Block]:
    for block in blocks:
        yield block
        if isinstance(block, Details):
            yield from _flat(block.blocks)


def claims(report: Report, depth: Depth) -> Iterator[str]:
    """Every sentence, fact and cell that a format of this depth has room for; quoted text is cut by room."""
    say = words(report.language)

    def text(cell: Cell) -> str:
        return cell_text(cell, say, ROOM[depth])

    for block in shown_at(report, depth):
        match block:
            case Verdict() | Heading():
                yield block.text
            case Sentences():
                yield from (line.strip() for line in block.lines)
            case Facts():
                yield from (text(cell) for _, cell in block.items if not isinstance(cell, Quote))
            case Table():
                yield from (text(cell) for row in [*block.rows[: ROOM[depth].rows], *block.total] for cell in row)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("name", REPORTS)
def test_every_claim_and_number_of_a_report_is_in_every_format(name: str, format_: str, language: str) -> None:
    report = REPORTS[name](language)
    depth, rendered = FORMATS[format_]
    shown = rendered(report)
    assert [claim for claim in claims(report, depth) if said(claim) not in shown] == []


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", REPORTS)
def test_an_interval_has_one_notation(name: str, language: str) -> None:
    report, number = REPORTS[name](language), r"[-+]?\d+[.,]\d+"
    for depth, rendered in FORMATS.values():
        del depth
        assert not re.search(rf"{number}(\.\.|…|;){number}|\[{number}", rendered(report))


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", ["benchmark", "gated"])
def test_the_page_of_a_run_names_the_verdict_and_evidence_of_its_other_reports(name: str, language: str) -> None:
    document = {"benchmark": read_document(EXAMPLE), "gated": judged(gate(verdict(), verdict("pass", "keywords")))}[
        name
    ]
    report, say = benchmark_report(run_document(document), language), words(language)
    page = page_words(render_html(run_document(document), [], language))
    found = GateDocument.model_validate(document["gate"])
    assert said(reason(found, say)) in page
    for depth, rendered in FORMATS.values():
        del depth
        assert said(reason(found, say)) in rendered(report)
    for one in found.verdicts:
        assert said(say.number(one.effect, signed=True)) in page
        if one.low is not None:
            low, high = (say.number(end, signed=True) for end in (one.low, one.high))
            assert said(say("{low} to {high}", low=low, high=high)) in page


def test_an_older_gate_names_the_evidence_that_it_was_stored_with() -> None:
    """It holds an English sentence alone: each language reads the same verdict out of its table."""
    found = json.loads(Path(__file__).with_name("older_gate.json").read_text(encoding="utf-8"))
    assert "because" not in found
    told = reason(GateDocument.model_validate(found), words("en"))
    assert told.replace("Keywords found (share)", "keywords") == found["reason"]


def test_one_outcome_has_one_sign() -> None:
    assert SIGNS.keys() == COLOURED_SIGNS.keys() == {"pass", "fail", "inconclusive"}
    reports = Path(__file__).parents[3] / "src/pytest_llmbench/reports"
    others = [
        path.name
        for path in reports.rglob("*")
        if path.suffix in {".py", ".j2"}
        and path.name != "outcomes.py"
        and re.search("[✅❌❔]", path.read_text("utf-8"))
    ]
    assert others == []


def test_every_report_has_every_format(tmp_path: Path) -> None:
    output = OutputSettings(report_dir=tmp_path, png=False)
    benchmark = write_reports(built(full_run(cases=1)), output).paths
    autotune = write_document(typed_limits(full_document()), Settings(output=output), tmp_path)
    evaluation = write_evaluation(evaluation_document(), output)
    context = write_context(several_contexts(), output)
    for paths in (benchmark, autotune, evaluation, context):
        assert {"text", "markdown", "html", "json"} == paths.keys()


def test_an_evaluation_shows_why_an_answer_failed_and_writes_alpha_as_its_language_does() -> None:
    document = evaluation_document()
    failed = {"text": "", "finish": "error", "error": "the server closed the connection"}
    document["results"][0]["answers"]["finetuned"] = failed
    told = Text().render(evaluation_report(typed_evaluation(document), "fr"))
    assert "finetuned: the server closed the connection" in told.replace(" :", ":")
    assert "0,05" in told
    assert "0.05" not in told


def test_the_evaluation_of_these_tests_is_one() -> None:
    jsonschema.validate(evaluation_document(), schema("evaluation"))


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_long_table_is_cut_with_its_count_and_its_total_stays(language: str) -> None:
    say = words(language)
    report = benchmark_report(run_document(judged(None, full_run([f"c{place}" for place in range(70)], 1))), language)
    markdown = Markdown().render(report)
    assert say("and {count} more", count=10) in markdown
    assert f"| {say('All')} | 70 |" in markdown
    assert "<code>c59</code>" in markdown
    assert "<code>c60</code> | 1 |" not in markdown
