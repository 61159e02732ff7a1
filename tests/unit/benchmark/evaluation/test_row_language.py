"""Passages and general knowledge are put in the language of the test set."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from pytest_llmbench.benchmark.evaluation.questions import (
    WORDLESS,
    RowLanguage,
    read_general,
    read_test_set,
    with_passages,
)
from pytest_llmbench.benchmark.evaluation.retrieval import Passage
from pytest_llmbench.cases.suites import Case
from pytest_llmbench.core.errors import named_in

ENGLISH = "Answer the question with the help of the extracts"
FRENCH = "Réponds à la question à l'aide des extraits"
GENERAL = Path(__file__).parents[4] / "data/general.jsonl"


def _cases(tmp_path: Path, *rows: dict[str, str]) -> list[Case]:
    path = tmp_path / "test.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return read_test_set(path)


def _row(prompt: str, **more: str) -> dict[str, str]:
    return {"prompt": prompt, "completion": "GIDAF.", **more}


@pytest.fixture
def vocabulary(tmp_path: Path) -> Path:
    return tmp_path / "tools.yaml"


def test_each_row_is_asked_in_its_language_and_others_as_they_read(tmp_path: Path, vocabulary: Path) -> None:
    cases = _cases(tmp_path, _row("What is the weather?"), _row("42", language="fr"), _row("this is 43"))
    english, french, read = RowLanguage(cases, vocabulary).context_prompts()
    assert english == read
    assert english.startswith(ENGLISH)
    assert french.startswith(FRENCH)


def test_the_vocabulary_tells_what_the_rows_do_not(tmp_path: Path, vocabulary: Path) -> None:
    vocabulary.write_text("language: fr\ntools: {a: [b]}\n", encoding="utf-8")
    assert RowLanguage(_cases(tmp_path, _row("42"), _row("43")), vocabulary).context_prompts()[0].startswith(FRENCH)


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"language": "de"}, "there are sentences in en, fr, none in 'de'; copy"),
        ({}, "nothing says in which language the rows are"),
    ],
)
def test_without_words_passages_stand_alone_which_is_announced(
    tmp_path: Path, vocabulary: Path, caplog: pytest.LogCaptureFixture, more: dict[str, str], why: str
) -> None:
    with caplog.at_level(logging.WARNING, "pytest_llmbench"):
        prompts = RowLanguage(_cases(tmp_path, _row("42", **more), _row("43", **more)), vocabulary).context_prompts()
    assert prompts == [WORDLESS] * 2
    assert why in caplog.text
    assert "give a context prompt" in caplog.text
    assert {named_in(record) for record in caplog.records} == {("context_prompt",)}


def test_an_english_test_set_looks_at_no_french_knowledge(tmp_path: Path, vocabulary: Path) -> None:
    english = RowLanguage(_cases(tmp_path, _row("What is the weather?"), _row("who are you")), vocabulary).general()
    french = RowLanguage(_cases(tmp_path, _row("monte le son"), _row("qui est-ce")), vocabulary).general()
    assert [len(part) for part in _counts(english)] == [20, 4]
    assert all("capitale" not in case.prompt for case in read_general(GENERAL, english).questions)
    assert [len(part) for part in _counts(french)] == [40, 8]
    assert len(read_general(GENERAL, {"de"}).texts) == 40  # better other knowledge than none


def _counts(only: frozenset[str]) -> tuple[tuple[str, ...], tuple[Case, ...]]:
    general = read_general(GENERAL, only)
    return general.texts, general.questions


def test_rows_that_share_a_line_are_cases_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "test.json"
    path.write_text(json.dumps([_row(f"question {number}") for number in range(3)]), encoding="utf-8")
    assert [(case.id, case.prompt) for case in read_test_set(path)] == [
        ("1", "question 0"),
        ("1-2", "question 1"),
        ("1-3", "question 2"),
    ]
    path.write_text(json.dumps([{"text": "a"}, {"question": "b"}, {"question": "c"}]), encoding="utf-8")
    assert [case.id for case in read_general(path).questions] == ["1", "1-2"]


def test_a_passage_may_hold_the_places_of_a_template_itself(tmp_path: Path) -> None:
    case, _ = _cases(tmp_path, _row("what?"), _row("why?"))
    told = with_passages(case, [Passage("needs {passages} and {question}", "a:1")], "{passages}\n{question} {x}")
    assert told.prompt == "[1] needs {passages} and {question}\nwhat? {x}"
