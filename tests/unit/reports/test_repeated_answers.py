"""Epochs that are copies of one another are told in every report."""

from __future__ import annotations

from typing import Any

import pytest
from support.rendered import analysis, markdown, summary_lines
from support.report_runs import result, run

from pytest_llmbench.reports.html import render_html
from pytest_llmbench.runs.document import build_document
from pytest_llmbench.runs.typed import run_document

SAMPLED = {"generation": {"temperature": 0.7, "do_sample": True}}
LONG = "Bien sûr, je monte le volume du salon de deux crans."
EN, FR = "The epochs are copies", "Les répétitions sont des copies"


GREEDY = {"generation": {"temperature": 0.7, "do_sample": False}}


def sent(temperature: float | None) -> dict[str, Any]:
    """A server that the fine-tune's requests asked for this temperature, whatever the settings say."""
    return {"backend": "server", "requests": {"finetuned": {"temperature": temperature}}}


def document(
    *,
    cases: int = 6,
    epochs: int = 2,
    text: str = LONG,
    settings: Any = SAMPLED,
    other: str | None = None,
    backend: Any = None,
) -> dict[str, Any]:
    """A run whose fine-tune says the same in each epoch, but `other` in the last case's last; its base never does."""
    rows = []
    for case in range(cases):
        for epoch in range(epochs):
            last = other is not None and (case, epoch) == (cases - 1, epochs - 1)
            texts = {"base": f"{LONG} {epoch}", "finetuned": other if last and other else f"{text} {case}"}
            scores = {"relevance": dict.fromkeys(texts, 0.5)}
            rows.append(result(f"voice/{case}", scores, epoch=epoch, texts=texts))
    return build_document(run(*rows, settings=settings, backend=backend), answer_chars=500)


def test_every_report_tells_it_of_the_variant_that_repeats_itself_in_both_languages() -> None:
    told = document()
    assert EN in " ".join(" ".join(summary_lines(told, {}, 100)).split())
    for language, words in (("en", EN), ("fr", FR)):
        reports = analysis(told, language), markdown(told, language), render_html(run_document(told), [], language)
        for report in reports:
            text = " ".join(report.split())
            assert words in text
            assert "0.7" in text or "0,7" in text
    sentence = next(line for line in analysis(told, "en").split("\n\n") if "same text in every" in line)
    assert "finetuned gave" in sentence
    assert "base gave" not in sentence


def test_what_requests_to_a_server_say_of_temperature_wins() -> None:
    assert "0.9" in next(
        line for line in markdown(document(settings=GREEDY, backend=sent(0.9)), "en").split("\n") if EN in line
    )


@pytest.mark.parametrize(
    "unlike",
    [
        {"other": "Je baisse le volume du salon, comme toujours le soir."},
        {"epochs": 1},
        {"cases": 4},
        {"text": "volume_up"},
        {"settings": GREEDY},
        {"backend": sent(0.0)},
        {"backend": sent(None)},
        {"settings": {"generation": {"temperature": 0.0, "do_sample": True}}},
        {"settings": {}},
    ],
)
def test_what_may_be_chance_or_is_wanted_is_not_told(unlike: dict[str, Any]) -> None:
    told = document(**unlike)
    assert EN not in " ".join(" ".join(summary_lines(told, {}, 100)).split())
    assert EN not in " ".join(markdown(told, "en").split())


def test_epochs_that_begin_alike_and_are_shortened_are_not_taken_for_copies() -> None:
    """The base says something else in each epoch, behind what the document has of it."""
    texts = {"base": "Il était une fois. " * 30, "finetuned": LONG}
    rows = [
        result(f"voice/{case}", {"relevance": dict.fromkeys(texts, 0.5)}, epoch=epoch, texts=texts)
        for case in range(6)
        for epoch in range(2)
    ]
    told = analysis(build_document(run(*rows, settings=SAMPLED), answer_chars=500), "en")
    assert "finetuned gave the same text" in told
    assert "base gave the same text" not in told
