"""Reports of context runs: the answer is their first sentence, and says which limit binds and how sure that is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.context_documents import Known, document, limit, limits, several_contexts, target

from pytest_llmbench.core.settings import OutputSettings
from pytest_llmbench.reports.blocks import Depth
from pytest_llmbench.reports.renderers import github
from pytest_llmbench.reports.renderers.html import Html
from pytest_llmbench.reports.renderers.markdown import Markdown
from pytest_llmbench.reports.renderers.terminal import terminal_lines
from pytest_llmbench.reports.renderers.text import Text
from pytest_llmbench.reports.views.context import context_report
from pytest_llmbench.reports.writing.context import write_context
from pytest_llmbench.runs.context_document import ContextTarget
from pytest_llmbench.runs.context_runs import read_context

ANSWER = (
    "6,680 tokens (95 % interval 4,096 to 6,760) is the longest context at which qwen3-4b-instruct still answers in "
    "time and still finds what is in it: what binds is the time it takes."
)


def first_line(one: ContextTarget) -> str:
    report = context_report(document(one), "en")
    return " ".join(terminal_lines(report, 400, Depth.BRIEF)[:1])


def test_the_answer_is_the_first_sentence_of_every_format() -> None:
    report = context_report(document(target(probes=())), "en")
    text = " ".join(Text().render(report).partition("===\n\n")[2].split())
    assert text.startswith(ANSWER)
    assert Markdown().render(report).startswith(f"### ✅ {ANSWER}")
    assert first_line(target(probes=())).startswith(ANSWER)
    page = Html().render(report).partition("<main")[2]
    assert re.search(r'<p class="stamp">.*?</span>(.*?)</p>', page, re.DOTALL)[1] == ANSWER  # type: ignore[index]
    (notice,) = github.annotations(report)
    assert notice == f"::notice title=llmbench%3A Context of qwen3-4b-instruct::{ANSWER.replace('%', '%25')}"


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"in_time": None, "right": None}, "of {} as far as it was measured. Not measured: In time, Facts"),
        ({"in_time": limit(512, 512, None, "end_of_range")}, "and {} still answers in time and still finds what is"),
        ({"in_time": limit(8191, 8191, None, "not_accepted")}, "what binds is how much it accepts."),
        ({"right": limit(3000, 2900, 3100, "fewer_found")}, "what binds is what it still finds."),
        ({"in_time": limit(8191, 0, None, "not_accepted")}, "This is not settled yet: more prompts would narrow"),
        ({"right": limit(3000, 256, 8000, "fewer_found")}, "This is not settled yet: more prompts would narrow"),
        ({"accepted": limit(0, 0, 0, "never", length=256)}, "not even a prompt of 256 tokens is accepted."),
        ({"in_time": limit(0, 0, 0, "never", seconds=3.5, promised_s=2.0)}, "even the shortest prompt takes 3.5 s"),
        (
            {"in_time": limit(0, 0, 0, "never", share_timed_out=0.2, promised_s=2.0)},
            "20 % of the prompts timed out, even among the shortest; 2.0 s are promised",
        ),
        ({"right": limit(0, 0, 0, "never", share=0.2, length=256)}, "even in 256 tokens only 20 % of the facts"),
    ],
)
def test_the_answer_says_which_limit_binds(changed: dict[str, object], told: str) -> None:
    found = limits(Known(), **changed)  # type: ignore[arg-type]
    assert told.format("qwen3-4b-instruct") in first_line(target(probes=(), limits=found))


def test_several_servers_stand_in_one_report(tmp_path: Path) -> None:
    found = several_contexts()
    text = Text().render(context_report(found, "en"))
    for one in found.targets:
        assert f"{one.name}: The three limits" in text
    paths = write_context(found, OutputSettings(report_dir=tmp_path, html=False, text=False, png=False))
    assert {path.name for path in paths.values()} == {"context.json", "context.md"}
    assert read_context(paths["json"]) == found


def test_the_figure_stands_in_the_markdown_beside_it(tmp_path: Path) -> None:
    paths = write_context(document(target(analysis=None)), OutputSettings(report_dir=tmp_path, html=False, text=False))
    assert paths["png"].read_bytes().startswith(b"\x89PNG")
    assert "![Context](context.png)" in paths["markdown"].read_text(encoding="utf-8")


def test_a_page_has_each_chart_as_a_drawing_of_its_own() -> None:
    page = Html().render(context_report(document(target()), "en"))
    charts = re.findall(r'<svg class="chart"[^>]*aria-label="([^"]*)"', page)
    assert [chart.partition(":")[0] for chart in charts] == [
        "Time to the first token by length",
        "Tokens per second by length",
        "Facts found by depth and length",
    ]
    ids = re.findall(r' id="(chart\d-\d+)"', page)
    assert len(ids) == len(set(ids)) > 3
    assert "10/10" in page.partition("Facts found by depth and length")[2]
