"""Rows are asked in their own language, or in none: never silently in another."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.fake_chat_server import FakeChatServer, whole

from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.datasets.making import Made, make
from pytest_llmbench.datasets.order import Order, Writer

ENGLISH = {"title": "Harbour", "text": "This is the tool that plans the berths of the port.", "critical": True}
FRENCH = {"title": "Port", "text": "C'est l'outil qui planifie les quais du port.", "critique": False}
NOTHING = {"title": "GIDAF", "text": "GIDAF 4."}


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _written(*records: dict[str, Any]) -> Path:
    path = Path("source.jsonl")
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def _made(source: Path, **order: Any) -> Made:
    with make(Order(source, order.pop("method", "simple"), **order)) as made:
        return dataclasses.replace(made, rows=list(made.rows))


def _exchanges(made: Made) -> dict[str, str]:
    return {row["prompt"][-1]["content"]: row["completion"][0]["content"] for row in made.rows}


def test_what_names_no_language_is_asked_in_that_of_its_texts_which_is_told() -> None:
    made = _made(_written(ENGLISH))
    assert _exchanges(made) == {
        "What is Harbour?": ENGLISH["text"],
        "Is Harbour critical?": "Criticality of Harbour: yes.",
    }
    assert made.notes == ("asked in 'en', as the texts of source.jsonl read; another language can be given",)
    assert set(_exchanges(_made(_written(FRENCH)))) == {"Qu'est-ce que Port ?", "Port est-elle critique ?"}


@pytest.mark.parametrize("named", ["en", "en-GB", "EN_us", "English", "eng"])
def test_each_row_is_asked_in_the_language_that_it_names(named: str) -> None:
    made = _made(_written(NOTHING | {"metadata": {"language": named}}, FRENCH | {"lang": "fr"}))
    assert {"What is GIDAF?", "Qu'est-ce que Port ?"} < set(_exchanges(made))
    assert made.notes == ()
    assert {row["language"] for row in made.rows} == {named, "fr"}


def test_an_order_that_names_a_language_holds_for_all_rows() -> None:
    made = _made(_written(FRENCH | {"language": "fr"}, NOTHING), language="english")
    assert set(_exchanges(made)) == {"What is Port?", "What is GIDAF?"}


def test_a_language_that_is_ordered_and_unknown_is_refused_at_once() -> None:
    rows = _written({"prompt": "a", "completion": "b"}, {"prompt": "c", "completion": "d"})
    with pytest.raises(UsageError, match=r"^language: there are sentences in en, fr, none in 'klingon'"):
        _made(rows, language="klingon")


def test_what_cannot_be_recognised_is_asked_in_the_language_of_the_projects_vocabulary() -> None:
    source = _written(NOTHING)
    told = r"nothing says in which language to ask; give the language \(en, fr\), or a file as phrasing"
    with pytest.raises(UsageError, match=told) as raised:
        _made(source)
    assert raised.value.names == ("language", "phrasing")
    Path("prompts").mkdir()
    Path("prompts/tools.yaml").write_text("language: en\ntools: {a: [b]}\n", encoding="utf-8")
    made = _made(source)
    assert list(_exchanges(made)) == ["What is GIDAF?"]
    assert "'en', the language of prompts/tools.yaml" in made.notes[0]


@pytest.mark.parametrize("method", ["simple", "augmented", "llm"])
def test_a_language_without_sentences_is_refused_with_its_line_and_what_to_do(method: str) -> None:
    source = _written(ENGLISH, {"title": "A", "text": "Das ist es.", "language": "de"})
    writer = Writer("http://127.0.0.1:9", Path("journal"))
    with pytest.raises(UsageError, match=r"l:2: there are sentences in en, fr, none in 'de'; copy .*en.yaml"):
        _made(source, method=method, writer=writer)


def test_a_file_adds_a_language_to_the_project(project: Path) -> None:
    folder = project / "configs/languages"
    folder.mkdir(parents=True)
    packaged = (Path(__file__).parents[3] / "configs/languages/en.yaml").read_text(encoding="utf-8")
    german = packaged.replace("language: en", "language: de").replace("What is {title}?", "Was ist {title}?")
    (folder / "de.yaml").write_text(german, encoding="utf-8")
    assert list(_exchanges(_made(_written(NOTHING | {"language": "de"})))) == ["Was ist GIDAF?"]
    (folder / "de.yaml").write_text("language: de\nsmoke: hallo\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"de.yaml:1: no definition, section, .* need the keys"):
        _made(_written(NOTHING | {"language": "de"}))


def test_rows_are_misspelt_as_their_language_is() -> None:
    rows = [{"prompt": f"turn on the light number {n}", "completion": "Yes."} for n in range(30)]
    made = _made(_written(*rows), method="augmented", count=200)
    asked = " ".join(_exchanges(made))
    assert "lite" in asked
    assert "Thanks." in asked
    assert "Merci" not in asked


def test_templates_without_a_language_or_noise_are_not_misspelt_in_another(project: Path) -> None:
    shutil.copyfile(Path(__file__).parents[3] / "data/en/templates.yaml", project / "t.yaml")
    template = Path("t.yaml").read_text(encoding="utf-8")
    Path("t.yaml").write_text(template.replace("language: en\n", ""), encoding="utf-8")
    with pytest.raises(UsageError, match="nothing says in which language"):
        _made(Path("t.yaml"), method="augmented", rows_of_a_kind=1)
    assert len(_made(Path("t.yaml"), rows_of_a_kind=1).rows) == 26
    assert len(_made(Path("t.yaml"), method="augmented", rows_of_a_kind=1, language="en").rows) == 39


@pytest.fixture
def server() -> Iterator[FakeChatServer]:
    said = json.dumps([{"question": "What is Harbour for?", "answer": "Berths."}])
    serving = FakeChatServer(whole(choices=[{"message": {"content": said}, "finish_reason": "stop"}]))
    yield serving
    serving.close()


def test_a_model_is_asked_for_rows_in_their_language(server: FakeChatServer) -> None:
    made = _made(_written(ENGLISH), method="llm", writer=Writer(server.url, Path("journal")))
    assert list(_exchanges(made)) == ["What is Harbour for?"]
    told = " ".join(message["content"] for message in server.bodies[0]["messages"])
    assert "You write training data in English." in told
    assert 'Here is an extract about "Harbour"' in told
    assert '{"question": "...", "answer": "..."}' in told


@pytest.mark.parametrize("language", ["", "language: en\n"])
def test_a_file_of_questions_alone_leaves_the_rest_to_its_language(server: FakeChatServer, language: str) -> None:
    packaged = (Path(__file__).parents[3] / "configs/languages/en.yaml").read_text(encoding="utf-8")
    questions = packaged[packaged.index("definition:") : packaged.index("# What a model is given")]
    Path("mine.yaml").write_text(language + questions.replace("What is {title}?", "Huh, {title}?"), encoding="utf-8")
    own = Path("mine.yaml")
    assert "Huh, Port?" in _exchanges(_made(_written(FRENCH | {"language": "fr"}), phrasing=own))
    source = _written(ENGLISH if not language else FRENCH)
    _made(source, method="llm", phrasing=own, writer=Writer(server.url, Path("journal")))
    told = [message["content"] for message in server.bodies[0]["messages"]]
    assert "in English" in told[0]
