"""Rows that ask what the cases ask are found, in whatever dress; others are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_llmbench.cases.suites import Case, load_cases, load_vocabulary
from pytest_llmbench.datasets.contamination import contamination, contamination_sentence
from pytest_llmbench.datasets.row_formats import new_row
from pytest_llmbench.datasets.rows import read_rows

ROOT = Path(__file__).parents[3]


def _case(prompt: str, reference: str | None = None) -> Case:
    return Case("c", "1", prompt, ({"role": "user", "content": prompt},), reference=reference, source="c.yaml:3")


CASE = _case("allume la lumière de la cuisine")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Allume la LUMIERE de la cuisine !", "same"),
        ("allumes la lumière dans la cuisine", "near"),
        ("dis-moi jarvis, est-ce que tu peux s'il te plaît allume la lumière de la cuisine", "part"),
        ("la lumière de", "part"),
    ],
)
def test_the_same_question_in_another_dress_is_found(text: str, kind: str) -> None:
    (match,) = contamination([new_row("mets un minuteur", "Oui."), new_row(text, "Oui.")], [CASE])
    assert (match.row, match.kind, match.case, match.source) == (1, kind, "c/1", "c.yaml:3")
    assert (match.similarity == 1) == (kind == "same")
    assert (match.similarity >= 0.8) == (kind != "part")


@pytest.mark.parametrize("text", ["éteins tout dans la cuisine", "allume le four", "lumière", "", "?"])
def test_another_question_is_not(text: str) -> None:
    assert contamination([new_row(text, "Oui.")], [CASE, _case("?")]) == []


def test_a_question_that_another_sign_makes_another_is_near_and_not_the_same() -> None:
    matches = contamination([new_row("What is 3*4 ?", "12.")], [_case("What is 3+4?"), _case("what is 3 * 4")])
    assert [(match.kind, match.asked) for match in matches] == [("same", "what is 3 * 4")]
    (match,) = contamination([new_row("What is 3/4?", "0.75.")], [_case("What is 3+4?")])
    assert (match.kind, match.similarity < 1) == ("near", True)


def test_an_earlier_turn_and_a_reference_count_too() -> None:
    row = new_row("et maintenant ?", "Oui.")
    row["prompt"] = [
        {"role": "user", "content": "monte le son"},
        {"role": "assistant", "content": "Fait."},
        *row["prompt"],
    ]
    (match,) = contamination([row], [_case("monte le sont", reference="monte le son")])
    assert (match.kind, match.asked) == ("same", "monte le son")


def test_what_is_told_names_the_nearest_row() -> None:
    matches = contamination(
        [new_row("allumes la lumière dans la cuisine", "Oui."), new_row(CASE.prompt, "Oui.")], [CASE]
    )
    told = contamination_sentence(matches, "my.jsonl")
    assert told.startswith("2 rows of my.jsonl ask what the cases ask")
    assert told.endswith("'allume la lumière de la cuisine' and c/1 (100%)")


def test_without_cases_nothing_is_contaminated() -> None:
    assert contamination([new_row("monte le son", "Oui.")], []) == []


def test_the_demo_dataset_is_clean() -> None:
    cases = load_cases([ROOT / "prompts"], load_vocabulary(ROOT / "prompts/tools.yaml"))
    for file in ("train.jsonl", "heldout.jsonl"):
        assert contamination(read_rows(ROOT / "data" / file), cases) == []
