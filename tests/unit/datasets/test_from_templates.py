"""The demo's training set: made again byte for byte, and away from what the model is asked."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from pytest_llmbench.cases.suites import Case, Vocabulary, load_cases, load_vocabulary
from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.core.languages import read_language
from pytest_llmbench.datasets.from_templates import (
    KINDS,
    Exchange,
    Templates,
    TrainingSet,
    expand,
    load_templates,
    reserved_prompts,
    rows_from_templates,
)
from pytest_llmbench.datasets.near_duplicates import Reserved, bare
from pytest_llmbench.datasets.phrasing import phrasing_of
from pytest_llmbench.datasets.rows import read_rows

ROOT = Path(__file__).parents[3]
ROWS_OF_A_KIND = 36


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return load_vocabulary(ROOT / "prompts/tools.yaml")


@pytest.fixture(scope="module")
def cases(vocabulary: Vocabulary) -> list[Case]:
    return load_cases([ROOT / "prompts"], vocabulary)


@pytest.fixture(scope="module")
def templates(vocabulary: Vocabulary) -> Templates:
    noise = phrasing_of(read_language(ROOT / "configs/languages/fr.yaml")).noise
    return dataclasses.replace(load_templates(ROOT / "data/templates.yaml", vocabulary), noise=noise)


@pytest.fixture(scope="module")
def committed() -> list[dict[str, Any]]:
    return read_rows(ROOT / "data/train.jsonl")


def _generate(templates: Templates, cases: list[Case], seed: int = 42) -> TrainingSet:
    return rows_from_templates(
        templates, reserved_prompts(cases), per_tool=dict.fromkeys(KINDS, ROWS_OF_A_KIND), seed=seed
    )


def _asked(row: dict[str, Any]) -> str:
    return str(row["prompt"][-1]["content"])


def _jsonl(made: TrainingSet, rows: Iterable[Any]) -> str:
    return "".join(json.dumps(row.to_json(made.system), ensure_ascii=False) + "\n" for row in rows)


def test_the_committed_files_are_made_again_byte_for_byte(templates: Templates, cases: list[Case]) -> None:
    made = _generate(templates, cases)
    assert _jsonl(made, made.train) == (ROOT / "data/train.jsonl").read_text(encoding="utf-8")
    assert _jsonl(made, made.heldout) == (ROOT / "data/heldout.jsonl").read_text(encoding="utf-8")


def test_another_seed_makes_other_rows(templates: Templates, cases: list[Case]) -> None:
    made = _generate(templates, cases, seed=43)
    assert _jsonl(made, made.train) != (ROOT / "data/train.jsonl").read_text(encoding="utf-8")


@pytest.mark.parametrize("file", ["train.jsonl", "heldout.jsonl"])
def test_no_row_repeats_a_prompt_of_the_suites_or_comes_near_it(file: str, cases: list[Case]) -> None:
    asked = {bare(case.prompt) for case in cases}
    reserved = Reserved(reserved_prompts(cases))
    rows = read_rows(ROOT / "data" / file)
    assert not [_asked(row) for row in rows if bare(_asked(row)) in asked]
    assert not [(_asked(row), near) for row in rows if (near := reserved.nearest(_asked(row)))]


def test_no_training_row_comes_near_a_held_out_one(committed: list[dict[str, Any]]) -> None:
    heldout = Reserved(map(_asked, read_rows(ROOT / "data/heldout.jsonl")))
    assert not [_asked(row) for row in committed if heldout.nearest(_asked(row))]


def test_every_tool_is_trained_alike_and_named_last_in_its_answers(
    committed: list[dict[str, Any]], vocabulary: Vocabulary
) -> None:
    tools = [row["tool"] for row in committed]
    assert {tools.count(tool) for tool in vocabulary.tools} == {ROWS_OF_A_KIND * len(KINDS)}
    assert all(row["completion"][0]["content"].endswith(f" [{row['tool']}]") for row in committed)


def test_no_prompt_is_trained_twice(committed: list[dict[str, Any]]) -> None:
    prompts = [bare(_asked(row)) for row in committed]
    assert len(set(prompts)) == len(prompts)


def test_training_and_suites_have_the_same_system_prompt(committed: list[dict[str, Any]], cases: list[Case]) -> None:
    trained = {json.dumps(row["prompt"][0]) for row in committed}
    asked = {json.dumps(case.messages[0]) for case in cases}
    assert trained == asked
    assert len(asked) == 1


@pytest.mark.parametrize(
    "text",
    [
        "Allume la LUMIÈRE de la cuisine !",
        "jarvis, allume la lumiere de la cuisine s'il te plaît",
        "allumes la lumière dans la cuisine",
        "la lumière",
    ],
)
def test_the_same_words_in_another_dress_are_too_near(text: str) -> None:
    assert Reserved(["allume la lumière de la cuisine"]).nearest(text)


@pytest.mark.parametrize("text", ["éteins tout dans la cuisine", "mets un minuteur", "allume le four"])
def test_other_words_are_not(text: str) -> None:
    assert Reserved(["allume la lumière de la cuisine"]).nearest(text) is None


def test_a_pattern_stands_for_every_choice_with_every_value() -> None:
    found = list(expand("(mets|joue) {style}", "Musique {style}.", {"style": {"du rock": "rock", "du rap": "rap"}}))
    assert found == [
        Exchange("mets du rock", "Musique rock."),
        Exchange("mets du rap", "Musique rap."),
        Exchange("joue du rock", "Musique rock."),
        Exchange("joue du rap", "Musique rap."),
    ]


def _edited(tmp_path: Path, old: str, new: str) -> Path:
    text = (ROOT / "data/templates.yaml").read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "templates.yaml"
    path.write_text(text.replace(old, new), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "  volume_up:\n",
            "  volume_upp:\n",
            r"templates.yaml:\d+: tool 'volume_upp' is not in the vocabulary; did you",
        ),
        ("coupe) {program}", "coupe) {programm}", r"the slot 'programm' .* does not exist; did you mean 'program'"),
        ("answer: J'envoie un message à {person}.", "answer: J'écris à {city}.", "uses the slot 'city', which"),
        ("language: fr\n", "langue: fr\n", "has exactly these keys"),
        ("commands:\n", "commands:\n        - 10\n", r"yaml:\d+: tool '\w+': commands: a list of texts, not \[10"),
        ("requests:\n", "requests: null\n      heldouts:\n", r"requests: a list of texts, not None"),
        ("coupe) {program}", "coupe) {program", r"tool '\w+': .* cannot be filled: "),
        ("  volume_up:\n", "  volume_up: null\n  x:\n", r"yaml:\d+: tool 'volume_up': a list of intents.*not None"),
        ("tools:\n", "tools: []\nnoise:\n", r"yaml:\d+: tools: names and what each has, not \[\]"),
        ('openers: ["", "", ', "openers: [] #", r"yaml:\d+: openers: a list of texts, not \[\]"),
        ('closers: ["", "", ', "closers: please #", r"yaml:\d+: closers: a list of texts, not 'please'"),
        ("slots:\n", "slots:\n  nothing: abc\n", r"yaml:\d+: slots: 'nothing' needs a list of texts"),
        ("system:", "system: [a] #", r"yaml:\d+: system: a text"),
        ("tools:\n", "noise: {words: {}, sounds: [['(', x]]}\ntools:\n", r"templates.yaml:\d+: '\(' is no regular"),
    ],
)
def test_a_wrong_template_file_is_refused_with_what_and_where(
    tmp_path: Path, vocabulary: Vocabulary, old: str, new: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        load_templates(_edited(tmp_path, old, new), vocabulary)
