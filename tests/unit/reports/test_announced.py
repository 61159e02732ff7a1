"""What was announced stands in reports in their language."""

from __future__ import annotations

from typing import Any

from support.report_runs import built, full_run

from pytest_llmbench.core.locale import words
from pytest_llmbench.reports.announced import announced
from pytest_llmbench.reports.html import render_html
from pytest_llmbench.reports.renderers.text import Text
from pytest_llmbench.reports.views.benchmark import benchmark_report
from pytest_llmbench.runs.typed import RunDocument, run_document

PACKED = {
    "said": "tiny stays packed in 4 bits, which is slower: 1.5 GiB are free (--llmbench-hold)",
    "text": "%s stays packed in 4 bits, which is slower: %s",
    "values": ["tiny", "1.5 GiB are free"],
}
EN, FR = words("en"), words("fr")


def run(*announcements: Any) -> RunDocument:
    document = built(full_run())
    return run_document({**document, "metadata": {**document["metadata"], "announcements": [*announcements]}})


def test_a_sentence_is_worded_in_the_reports_language_with_its_options() -> None:
    assert announced(run(PACKED), EN) == [PACKED["said"]]
    [told] = announced(run(PACKED), FR)
    assert told == "tiny reste sur 4 bits, ce qui est plus lent : 1.5 GiB are free (--llmbench-hold)"


def test_what_an_earlier_build_or_a_plugin_announced_stands_as_it_was_said() -> None:
    own = {"said": "mine: 3", "text": "mine: %d", "values": [3]}
    assert announced(run("no CUDA device", own), FR) == ["no CUDA device", "mine: 3"]


def test_page_and_text_tell_it() -> None:
    told = announced(run(PACKED), FR)[0]
    assert told in render_html(run(PACKED), [], "fr")
    report = Text().render(benchmark_report(run(PACKED), "fr"))
    assert "reste sur 4 bits" in " ".join(report.split())


def test_a_sentence_that_another_one_quotes_is_in_the_reports_language_too() -> None:
    why = (
        "the chat template writes no tools: the prompt is the same with and without them; take a base or an adapter "
        "whose template knows tools"
    )
    text = "%s: %d cases with tools are unscored in their calls: %s"
    for values in (["base", 3, why], ["base", 3, f"http://here:8000: {why}"]):
        [told] = announced(run({"said": text % tuple(values), "text": text, "values": values}), FR)
        assert FR.translated(why) in told != text % tuple(values)
        assert FR.translated(why) != why


def test_the_text_report_lists_them_one_by_one() -> None:
    listed = Text().render(benchmark_report(run("no CUDA device", "half a batch is asked"), "en"))
    assert "no CUDA device, half" not in listed
    assert listed.count("no CUDA device") == listed.count("half a batch is asked") == 1


def test_of_values_that_do_not_fit_the_sentence_stands_as_it_was_said() -> None:
    assert announced(run({**PACKED, "values": ["tiny"]}), FR) == [PACKED["said"]]
