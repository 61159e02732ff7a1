"""Chunks, in the words of various tools, become questions and answers in French."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.core.languages import read_language
from pytest_llmbench.datasets.augmentation import Drawn, Method, RowSource, draw_rows, fact_source, row_source
from pytest_llmbench.datasets.chunks import facts_of, read_chunks
from pytest_llmbench.datasets.phrasing import phrasing_of
from pytest_llmbench.datasets.row_formats import new_row

FRENCH = Path(__file__).parents[3] / "configs/languages/fr.yaml"
PHRASING = phrasing_of(read_language(FRENCH))


def _facts(tmp_path: Path, *chunks: dict[str, Any]) -> dict[str, str]:
    path = tmp_path / "chunks.jsonl"
    path.write_text("".join(json.dumps(chunk) + "\n" for chunk in chunks), encoding="utf-8")
    return {
        fact.questions[0]: fact.answer
        for place, chunk in enumerate(read_chunks(path))
        for fact in facts_of(chunk, PHRASING, first=place == 0)
    }


def test_the_questions_of_the_reference_are_asked(tmp_path: Path) -> None:
    text = "GIDAF\nGIDAF gère les données. Elle est ouverte.\n- Hébergeur : OVH.\n# Suite"
    metadata = {
        "technologies": ["Java", "PHP"],
        "Domaine métier": "eau",
        "nombre_utilisateurs": 120,
        "critique": True,
        "version": "4.2",
        "responsable": "Mme Petit",
        "documentation": "https://doc.example",
        "tokens": 17,
    }
    assert _facts(tmp_path, {"title": "GIDAF", "text": text, "metadata": metadata}) == {
        "Qu'est-ce que GIDAF ?": "GIDAF gère les données. Elle est ouverte.",
        "Qui héberge GIDAF ?": "Hébergement de GIDAF : OVH.",
        "Quelles technologies utilise GIDAF ?": "GIDAF utilise : Java, PHP.",
        "Quel est le domaine de GIDAF ?": "Le domaine de GIDAF est : eau.",
        "Combien d'utilisateurs a GIDAF ?": "Utilisateurs de GIDAF : 120.",
        "GIDAF est-elle critique ?": "Criticité de GIDAF : oui.",
        "Quelle est la version de GIDAF ?": "La version de GIDAF est 4.2.",
        "Qui est le responsable de GIDAF ?": "Responsable de GIDAF : Mme Petit.",
        "Où trouve-t-on la documentation de GIDAF ?": "La documentation de GIDAF se trouve ici : https://doc.example.",
    }


@pytest.mark.parametrize(
    "chunk",
    [
        {"content": "Un outil.", "titre": "6Tzen"},
        {"page_content": "Un outil.", "metadata": {"name": "6Tzen"}},
        {"texte": "# 6Tzen\n6Tzen\nUn outil.", "meta": {"application": "6Tzen"}},
        {"chunk": "bla", "nom": "6Tzen", "description": "Un outil."},
    ],
)
def test_the_field_names_of_other_tools_are_known(tmp_path: Path, chunk: dict[str, Any]) -> None:
    assert _facts(tmp_path, chunk) == {"Qu'est-ce que 6Tzen ?": "Un outil."}


def test_later_chunks_of_a_title_answer_for_their_section_alone(tmp_path: Path) -> None:
    chunks = [
        {"text": "Un.", "title": "A"},
        {"text": "Deux.", "title": "A", "section": "Accès"},
        {"text": "3.", "title": "A"},
    ]
    assert _facts(tmp_path, *chunks) == {
        "Qu'est-ce que A ?": "Un.",
        "Que dit la documentation de A sur « Accès » ?": "Deux.",
    }


@pytest.mark.parametrize(
    "text",
    [
        "JARVIS est un assistant vocal : il écoute des ordres et y répond. Il date de 2019.",
        "JARVIS est simple : il écoute.",
        "Le site de JARVIS est ici.\nhttps://jarvis.example",
    ],
)
def test_prose_with_a_colon_is_no_key_and_value(tmp_path: Path, text: str) -> None:
    text_and_pairs = f"{text}\nLangue d'origine : anglais\nHébergeur : OVH."
    (definition, host) = _facts(tmp_path, {"title": "JARVIS", "text": text_and_pairs}).values()
    assert definition == " ".join(text.splitlines())
    assert host == "Hébergement de JARVIS : OVH."


def test_keys_and_values_that_end_with_a_full_stop_are_no_prose(tmp_path: Path) -> None:
    text = "- Licence : MPL.\n- Port : 80.\nÉditeur : Mozilla.\n- Site : celui de la fondation Mozilla.\nUn navigateur."
    asked = _facts(tmp_path, {"title": "Firefox", "text": text})
    assert asked["Qu'est-ce que Firefox ?"] == "Un navigateur."


@pytest.mark.parametrize(
    ("content", "message"), [("", "holds no chunk"), ('{"a": 1}\n[]', "chunks.jsonl:1: a chunk is")]
)
def test_what_is_no_chunk_is_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "chunks.jsonl"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UsageError, match=message):
        list(read_chunks(path))


@given(text=st.text(), title=st.text(min_size=1))
def test_any_text_can_be_asked_about(tmp_path_factory: pytest.TempPathFactory, text: str, title: str) -> None:
    folder = tmp_path_factory.mktemp("chunks")
    for question, answer in _facts(folder, {"title": title.replace("\ud800", ""), "text": text}).items():
        assert question.strip()
        assert answer.strip()


SOURCES = [
    row_source(new_row(f"quel temps fait-il à {city}", city, "Tu es JARVIS.")) for city in ("Paris", "Lyon", "Metz")
]


def _draw(sources: Sequence[RowSource], method: Method, *, count: int | None, seed: int = 1) -> Drawn:
    with draw_rows(sources, method, lambda _: PHRASING, count=count, seed=seed) as drawn:
        return drawn._replace(rows=list(drawn.rows))


def test_simple_takes_each_plain_question_once() -> None:
    drawn = _draw(SOURCES, "simple", count=None)
    assert sorted(row["completion"][0]["content"] for row in drawn.rows) == ["Lyon", "Metz", "Paris"]


def test_augmented_asks_in_other_words_and_misspelt_with_the_same_answer() -> None:
    drawn = _draw(SOURCES, "augmented", count=20)
    kinds = [row.get("kind") for row in drawn.rows]
    assert kinds.count(None) == 3
    assert kinds.count("misspelt") > 10
    assert {row["prompt"][0]["content"] for row in drawn.rows} == {"Tu es JARVIS."}
    asked = [row["prompt"][1]["content"] for row in drawn.rows]
    assert len(set(asked)) == len(asked) == 20


def test_the_rows_are_spread_over_the_sources() -> None:
    answers = [row["completion"][0]["content"] for row in _draw(SOURCES, "augmented", count=9).rows]
    assert {answers.count(city) for city in ("Paris", "Lyon", "Metz")} <= {2, 3, 4}


def test_the_same_seed_draws_the_same_rows() -> None:
    assert _draw(SOURCES, "augmented", count=9) == _draw(SOURCES, "augmented", count=9)
    assert _draw(SOURCES, "augmented", count=9) != _draw(SOURCES, "augmented", count=9, seed=2)


def test_a_repeated_question_is_left_out_and_counted(tmp_path: Path) -> None:
    drawn = _draw([*SOURCES, SOURCES[0]], "simple", count=None)
    assert (len(drawn.rows), drawn.repeated) == (3, 1)


def test_paraphrases_of_a_chunk_use_every_pattern(tmp_path: Path) -> None:
    path = tmp_path / "chunks.jsonl"
    path.write_text('{"title": "A", "text": "Un outil."}', encoding="utf-8")
    sources = [fact_source(fact, None) for chunk in read_chunks(path) for fact in facts_of(chunk, PHRASING, first=True)]
    asked = " ".join(row["prompt"][0]["content"] for row in _draw(sources, "augmented", count=None).rows)
    assert all(pattern.format(title="A") in asked for pattern in PHRASING.definition)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("language: fr", "langue: fr", r"yaml:\d+: unknown key 'langue'; did you mean 'language'"),
        ("openers: [", "opners: [", r"yaml:\d+: unknown key 'opners'; did you mean 'openers'"),
        ("  endings: est", "  endings: [e, s]", r"yaml:\d+: noise: has 'words'"),
        ("Qui héberge {title} ?", "Qui héberge {titre} ?", r"yaml:\d+: field 'host': unknown slot 'titre'.*'title'"),
        ("Qui héberge {title} ?", "Qui héberge {value} ?", r"yaml:\d+: field 'host': unknown slot 'value'.*questions"),
        ("Qui héberge {title} ?", "Qui héberge {title ?", r"field 'host': .* cannot be filled: .*braces"),
        ("« {section} »", "« {section:d} »", r"yaml:\d+: section: .* cannot be filled"),
        ("Qu'est-ce que {title} ?", "Qu'est-ce que {section} ?", r"definition: unknown slot 'section'"),
        ('openers: [""', 'openers: ["{title}"', r"openers: unknown slot 'title' .*none can stand here"),
        ("keys: [version", "keys: version #", r"field 'version': a list of texts, not 'version.*keys"),
        ("['ph', f]", "['ph', '\\1']", r"'ph' is no regular expression: invalid group reference 1"),
        ("['ph', f]", "['(ph', f]", r"yaml:\d+: '\(ph' is no regular expression"),
        (
            '    answer: "La version de {title} est {value}."\n',
            "",
            r"yaml:\d+: field 'version': has exactly these keys",
        ),
    ],
)
def test_a_wrong_phrasing_file_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = FRENCH.read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "mine.yaml"
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(UsageError, match=message):
        phrasing_of(read_language(path))
