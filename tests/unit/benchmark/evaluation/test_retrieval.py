"""Which passages a question finds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_llmbench.benchmark.evaluation.retrieval import Method, Passage, Retriever, read_passages
from pytest_llmbench.core.errors import UsageError

PASSAGES = [
    Passage("GIDAF gère les ressources humaines.", "a:1"),
    Passage("6Tzen suit les demandes des usagers.", "a:2"),
    Passage("La cantine ouvre à midi.", "a:3"),
]


def write(folder: Path, *records: object) -> Path:
    path = folder / "passages.jsonl"
    path.write_text("\n".join(json.dumps(record) for record in records), encoding="utf-8")
    return path


@pytest.mark.parametrize("method", ["bm25", "hybrid"])
def test_the_passage_that_shares_words_comes_first_whatever_their_accents_and_case(method: Method) -> None:
    found = Retriever(PASSAGES, method).find(["qui GERE les ressources ?", "à quelle heure ouvre la cantine"], 2)
    assert [passages[0].source for passages in found] == ["a:1", "a:3"]


def test_embeddings_find_what_is_said_in_other_words() -> None:
    found = Retriever(PASSAGES, "embedding").find(["où déjeuner ?"], 1)
    assert [passage.source for passage in found[0]] == ["a:3"]


def test_a_question_without_a_word_in_common_finds_nothing() -> None:
    assert Retriever(PASSAGES).find(["xyzzy", "!"], 3) == [[], []]


def test_fewer_passages_than_asked_for_are_no_error() -> None:
    assert len(Retriever(PASSAGES[:1]).find(["gidaf"], 5)[0]) == 1


def test_a_chunk_is_headed_by_the_title_that_its_text_does_not_name(tmp_path: Path) -> None:
    chunks = [{"text": "Elle ouvre à midi.", "title": "Cantine"}, {"text": "Le Parking est plein.", "title": "parking"}]
    path = write(tmp_path, *chunks)
    assert [passage.text for passage in read_passages(path)] == ["Cantine\nElle ouvre à midi.", "Le Parking est plein."]
    assert read_passages(path)[1].source == f"{path}:2"


def test_rows_are_passages_too_each_once(tmp_path: Path) -> None:
    row = {"prompt": "plus fort", "completion": "Je monte le son."}
    other = {"prompt": "moins fort", "completion": "Je baisse le son."}
    found = read_passages(write(tmp_path, row, row, other))
    assert [passage.text for passage in found] == ["plus fort → Je monte le son.", "moins fort → Je baisse le son."]


def test_an_empty_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no passage to find"):
        read_passages(write(tmp_path))


def test_words_are_found_in_scripts_that_are_written_without_spaces() -> None:
    passages = [Passage("今天天气很好。", "a:1"), Passage("我喜欢吃苹果。", "a:2")]
    assert [[one.source for one in found] for found in Retriever(passages).find(["天气", "苹果"], 1)] == [
        ["a:1"],
        ["a:2"],
    ]
