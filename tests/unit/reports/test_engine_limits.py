"""What an engine's answers do not promise or lack stands in every report of the run, in its language."""

from __future__ import annotations

from typing import Any

import pytest
from support.rendered import analysis, markdown
from support.report_runs import built, result, run

from pytest_llmbench.core.locale import words
from pytest_llmbench.reports.engine_limits import engine_limits
from pytest_llmbench.reports.html.facts import provenance_groups
from pytest_llmbench.runs.typed import AnsweringBackend, run_document

BACKEND = {"backend": "llamacpp", "engine": "llama.cpp (xllamacpp 1)", "limits": ["rounds_by_batch", "own_noise"]}


@pytest.fixture
def document() -> dict[str, Any]:
    return built(run(result("a/0", {}, texts={"base": "un", "finetuned": "deux"}), backend=BACKEND))


@pytest.mark.parametrize(
    ("language", "title", "sentence"),
    [("en", "Limits of the engine", "How many answers"), ("fr", "Limites du moteur", "Le nombre de réponses")],
)
def test_the_limits_stand_in_every_report(document: dict[str, Any], language: str, title: str, sentence: str) -> None:
    (group,) = [one for one in provenance_groups(run_document(document), words(language)) if one.title == title]
    assert group.facts[0][1].startswith(sentence)
    assert len(group.facts) == 2
    for text in (analysis(document, language), markdown(document, language)):
        assert "llama.cpp (xllamacpp 1)" in text
        assert title in text


def test_a_limit_that_this_version_does_not_know_is_left_out() -> None:
    assert engine_limits(AnsweringBackend(limits=("of_later",)), words("en")) == []
