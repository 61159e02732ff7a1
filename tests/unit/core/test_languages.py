"""Language files: found by code or name, read strictly, and recognised in texts."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_llmbench.benchmark.evaluation.questions import PLACES
from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.core.languages import KEYS, find_language, languages, read_language, recognised
from pytest_llmbench.datasets.llm_prompts import writing_of
from pytest_llmbench.datasets.phrasing import phrasing_of

CODES = ["en", "fr"]


@pytest.mark.parametrize("code", CODES)
def test_a_packaged_language_has_everything(code: str) -> None:
    language = languages()[code]
    assert set(language.document.data) == set(KEYS)
    assert phrasing_of(language).definition
    assert writing_of(language).again
    assert language.text("retrieval", PLACES)
    assert language.text("smoke")


def test_both_languages_ask_for_the_same_things() -> None:
    fields = [{field.name for field in phrasing_of(languages()[code]).fields.values()} for code in CODES]
    assert fields[0] == fields[1]


@pytest.mark.parametrize(
    ("told", "code"),
    [("en", "en"), (" EN-gb ", "en"), ("fr_CA", "fr"), ("Français", "fr"), ("english", "en"), ("de", None), ("", None)],
)
def test_a_language_is_found_by_its_code_or_name(told: str, code: str | None) -> None:
    found = find_language(told)
    assert (found.code if found else None) == code


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("What is the capital of Peru?", "en"),
        ("turn it up, please", "en"),
        ("monte le son", "fr"),
        ("Qui a inventé l’ampoule ? C'est Edison.", "fr"),
        ("Die Katze schläft auf dem Sofa und träumt von Mäusen in dem Garten des Nachbarn.", None),
        ("¿Cuál es la capital de Perú? La capital de Perú es Lima, en la costa del Pacífico.", None),
        ("Il gatto dorme sul divano e sogna la luna che splende nella notte.", None),
        ("De kat slaapt op de bank en droomt van muizen in het huis.", None),
        ("O gato dorme no sofá e sonha com a lua que brilha.", None),
        ("42 1764", None),
        ("", None),
    ],
)
def test_a_language_is_recognised_or_left_open(text: str, code: str | None) -> None:
    assert recognised([text]) == code


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("languag: de\n", r"de.yaml:1: unknown key 'languag'; did you mean 'language'"),
        ("names: 3\n", r"de.yaml:1: names: a list of words"),
        ("- a\n", r"de.yaml:1: a language file has keys such as language"),
        ("writing: {answer: a}\n", r"de.yaml:1: 'writing' has exactly these keys: answer, system"),
        ("retrieval: '{passages}'\n", r"de.yaml:1: retrieval: the text has no {question}"),
        ("smoke: hallo\n", r"de.yaml: 'retrieval' is missing, which is needed here; see .*en.yaml"),
    ],
)
def test_what_is_wrong_with_a_file_is_told_with_its_line(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "de.yaml"
    path.write_text(content, encoding="utf-8")

    def use() -> None:
        language = read_language(path)
        if "writing" in language.document.data:
            writing_of(language)
        language.text("retrieval", PLACES)

    with pytest.raises(UsageError, match=message):
        use()
