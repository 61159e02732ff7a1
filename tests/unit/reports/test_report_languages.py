"""Every report of one rich run, in each language: no sentence of the other one in it."""

from __future__ import annotations

import dataclasses
import re
import string
from collections.abc import Mapping
from typing import Any

import pytest
from support.rendered import analysis, markdown
from support.report_runs import completion, full_run, run
from support.tool_runs import shop_run

from pytest_llmbench.core.catalogue import LANGUAGES
from pytest_llmbench.reports.html import render_html
from pytest_llmbench.reports.html import words as page
from pytest_llmbench.runs.averages import in_short
from pytest_llmbench.runs.base_comparison import with_comparison
from pytest_llmbench.runs.baseline import comparable
from pytest_llmbench.runs.document import build_document
from pytest_llmbench.runs.gate import compare_runs

_TELLING = 12  # characters of a sentence's longest fixed part: shorter ones are words that both languages may have
_PAGE = {"en": page.ENGLISH, "fr": page.FRENCH}
_EMBEDDED = re.compile(r"<(script|style)>.*?</\1>", re.DOTALL)


def rich() -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Tools, groups, lost and cut answers, a gate with notes, and a saved run that asked other cases."""
    results = [*full_run(cases=4).results, *shop_run().results]
    results = [dataclasses.replace(one, group=f"g{place // 2}") for place, one in enumerate(results)]
    failed = completion(results[0].case, "finetuned", "", finish="error", error="503")
    unscored = {name: {**of, "finetuned": None} for name, of in results[0].scores.items()}
    results[0] = dataclasses.replace(
        results[0], completions={**results[0].completions, "finetuned": failed}, scores=unscored, outcome="failed"
    )
    cut = completion(results[1].case, "finetuned", "volume", finish="length", batch_size=4)
    results[1] = dataclasses.replace(results[1], completions={**results[1].completions, "finetuned": cut})
    built = build_document(run(*results, seed=1), answer_chars=500)
    before = build_document(
        run(*full_run(cases=5).results, *shop_run().results, python="3.12", timestamp="2026-02-11T10:00:00+00:00"),
        answer_chars=500,
    )
    gate = compare_runs(comparable(before, "accepted"), comparable(built, "run"), kind="regression")
    return dict(with_comparison({**built, "gate": gate})), [in_short("0001_accepted", before)]


def fixed_parts(texts: Mapping[str, str]) -> dict[str, str]:
    """Of each sentence the longest part without placeholders, where it is long enough to be told apart."""
    found = {}
    for key, text in texts.items():
        parts = [part.strip() for part, *_ in string.Formatter().parse(text)]
        longest = max(parts, key=len, default="")
        if len(longest) >= _TELLING and " " in longest:
            found[key] = longest
    return found


@pytest.mark.parametrize(("language", "other"), [("fr", "en"), ("en", "fr")])
def test_no_report_holds_a_sentence_of_the_other_language(language: str, other: str) -> None:
    document, history = rich()
    reports = {
        "text": analysis(document, language),
        "markdown": markdown(document, language),
        "html": _EMBEDDED.sub("", render_html(document, history, language)).replace("&#39;", "'"),
    }
    foreign, own = (fixed_parts({**LANGUAGES[one], **_PAGE[one]}) for one in (other, language))
    shown = {name: " ".join(report.split()) for name, report in reports.items()}
    mixed = [
        (name, key, part)
        for name, report in shown.items()
        for key, part in foreign.items()
        if part in report and part != own.get(key)
    ]
    assert mixed == []
    told = {key for report in shown.values() for key, part in own.items() if part in report}
    assert {"calls_left_out", "routing_note", "noted_missing_in_run", "trend_hollow", "cut_length"} <= told
