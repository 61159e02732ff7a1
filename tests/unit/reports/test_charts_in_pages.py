"""Charts as pages hold them: in the page's colours, readable without a picture, alone with their ids."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from html import unescape

import pytest
from support.gates import gate, judged, verdict
from support.report_pages import large_document, saved_runs
from support.report_runs import relevance, run
from support.serving_documents import full_document, several_document

from pytest_llmbench.autotune.document import typed_limits
from pytest_llmbench.core.locale import words
from pytest_llmbench.reports.charts.differences import differences, middle_of
from pytest_llmbench.reports.html import render_html
from pytest_llmbench.reports.html.autotune import render_limits_page as render_serving
from pytest_llmbench.runs.base_comparison import with_comparison
from pytest_llmbench.runs.typed import run_document

CHART = re.compile(r'<svg class="chart".*?</svg>', re.DOTALL)
CORNERS = re.compile(r'<(?:use|text) [^>]*?x="([-\d.]+)" y="([-\d.]+)"|[ML]([-\d.]+) ([-\d.]+)')


def _benchmark(cases: int) -> str:
    variants = ("base", "small", "large")
    return render_html(run_document(with_comparison(large_document(cases, variants=variants))), saved_runs(40), "fr")


PAGES: dict[str, Callable[[], str]] = {
    "benchmark": lambda: _benchmark(60),
    "many cases": lambda: _benchmark(3000),
    "search": lambda: render_serving(typed_limits(full_document()), "en"),
    "several searches": lambda: render_serving(typed_limits(several_document()), "fr"),
}


@cache
def page(name: str) -> str:
    return PAGES[name]()


def charts(source: str) -> list[str]:
    return CHART.findall(source)


def titles(source: str) -> list[str]:
    return [unescape(found) for found in re.findall(r"<title>(.*?)</title>", source)]


@pytest.mark.parametrize("name", PAGES)
def test_every_colour_is_one_that_the_page_defines_for_light_dark_and_print(name: str) -> None:
    source = page(name)
    style = source[source.index("<style>") : source.index("</style>")]
    for chart in charts(source):
        paints = re.findall(r"(?:fill|stroke):([^;\"]+)", chart)
        assert {paint for paint in paints if paint != "none" and not re.fullmatch(r"var\(--[\w-]+\)", paint)} == set()
        assert all(f"{paint[4:-1]}: " in style for paint in paints if paint != "none")


@pytest.mark.parametrize("name", PAGES)
def test_every_chart_says_what_it_shows_and_keeps_its_text(name: str) -> None:
    found = charts(page(name))
    assert len(found) >= 5
    for chart in found:
        assert re.match(r'<svg class="chart" viewBox="0 0 [\d.]+ [\d.]+" role="img" aria-label="[^"]{12,}"', chart)
        assert len(re.findall(r"<text [^>]*>[^<]+</text>", chart)) >= 3
        assert "<image" not in chart


@pytest.mark.parametrize("name", PAGES)
def test_no_id_is_there_twice_and_every_mark_is_found(name: str) -> None:
    source = page(name)
    ids = re.findall(r'\sid="([^"]+)"', source[: source.index("<footer")])
    assert len(ids) == len(set(ids))
    assert {name[1:] for chart in charts(source) for name in re.findall(r'href="([^"]+)"', chart)} <= set(ids)


@pytest.mark.parametrize("name", PAGES)
def test_nothing_is_clipped_because_nothing_lies_outside(name: str) -> None:
    for chart in charts(page(name)):
        width, height = (float(side) for side in re.findall(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', chart)[0])
        drawn = re.sub(r"<defs>.*?</defs>", "", chart)
        places = [[float(part) for part in match if part] for match in CORNERS.findall(drawn)]
        assert all(-1 <= x <= width + 1 and -1 <= y <= height + 1 for x, y in places)


def test_the_same_document_gives_the_same_page() -> None:
    assert PAGES["search"]() == page("search")


def test_of_very_many_cases_a_chart_keeps_its_size_and_its_counts() -> None:
    assert max(map(len, charts(page("many cases")))) < 20_000
    scores = [
        row["scores"]["relevance"] for row in large_document(3000, variants=("base", "small", "large"))["results"]
    ]
    better = sum(one["small"] > one["base"] for one in scores if one["small"] is not None and one["base"] is not None)
    assert f"en progrès : {better}, " in page("many cases")


def test_marks_have_titles_for_pointers() -> None:
    few = render_html(
        run_document(judged(None, run(relevance("a/1", 0.25, 1.0), relevance("a/<b>", 0.5, 0.25)))), [], "en"
    )
    assert {"a/1: +0.750", "a/<b>: -0.250"} <= set(titles(few))
    told = titles(page("benchmark"))
    assert "0002_accepted, finetuned: 0,580, indécis" in told
    trials = [trial for one in full_document()["targets"][0]["findings"].values() for trial in one["trials"]]
    valid = [
        f"{trial['good']}/{trial['total']}, {trial['verdict']}" for trial in trials if trial["verdict"] != "invalid"
    ]
    assert sorted(text.split(": ", 1)[1] for text in titles(page("search")) if "/" in text) == sorted(valid)


def test_a_mean_stands_with_its_own_interval_where_lost_answers_count() -> None:
    """Of pairs that are drawn the mean may lie outside: the verdict rests on the lost answers too."""
    some = judged(gate(verdict(effect=-0.2, low=-0.3, high=-0.1, n=40), against="base", baseline=None))
    document = run_document(some)
    found = differences(document, "finetuned", "relevance")
    middle = middle_of(document, "finetuned", found, words("en"))
    assert (middle.mean, middle.interval) == (-0.2, (-0.3, -0.1))
    assert sum(found.values) > 0
    assert "Mean -0.200, 95% interval -0.300 to -0.100, n = 40" in render_html(document, [], "en")
