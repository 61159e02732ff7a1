from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from support.report_runs import full_run

from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.runs.document import build_document
from pytest_llmbench.runs.storage import read_document, read_head, run_schema, write_json


@pytest.fixture
def document() -> dict[str, Any]:
    return build_document(full_run(cases=2), answer_chars=500)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.json"


def edited(document: dict[str, Any], path: Path) -> Path:
    path.write_text(json.dumps(document, indent=2), encoding="utf-8")
    return path


def test_the_schema_is_a_valid_draft_2020_12_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(run_schema())


def test_a_document_reads_back_equal(document: dict[str, Any], path: Path) -> None:
    write_json(document, path)
    assert read_document(path) == document


def test_a_cut_off_file_names_the_line(document: dict[str, Any], path: Path) -> None:
    write_json(document, path)
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join(lines[:40]), encoding="utf-8")
    with pytest.raises(UsageError, match=r"run\.json:\d+: .*cut off or edited"):
        read_document(path)


def test_a_hand_edited_value_names_its_line_and_key_path(document: dict[str, Any], path: Path) -> None:
    document["results"][1]["scores"]["relevance"]["base"] = "good"
    with pytest.raises(UsageError, match=r"run\.json:\d+: results\[1\]\.scores\.relevance\.base: 'good' is not of"):
        read_document(edited(document, path))


def test_an_unknown_key_is_refused(document: dict[str, Any], path: Path) -> None:
    document["results"][0]["verdict"] = "fine"
    with pytest.raises(UsageError, match=r"results\[0\]: .*'verdict' was unexpected"):
        read_document(edited(document, path))


@pytest.mark.parametrize(("value", "name"), [(float("nan"), "NaN"), (float("-inf"), "-Infinity")])
def test_what_is_not_a_number_is_refused_with_its_line(
    document: dict[str, Any], path: Path, value: float, name: str
) -> None:
    document["results"][0]["prompt"] = 'la réponse "NaN", vers Infinity\n'
    document["statistics"]["avg_relevance_base"] = value
    edited(document, path)
    lines = path.read_text(encoding="utf-8").splitlines()
    line = next(number for number, text in enumerate(lines, start=1) if "avg_relevance_base" in text)
    with pytest.raises(UsageError, match=rf"run\.json:{line}: {name} is not a number; write null"):
        read_document(path)
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(document, path)


def test_a_newer_schema_asks_for_an_upgrade(document: dict[str, Any], path: Path) -> None:
    document["schema_version"] = 99
    with pytest.raises(UsageError, match=r"schema 99.*upgrade pytest-llmbench"):
        read_document(edited(document, path))


def test_a_case_that_is_there_twice_is_refused(document: dict[str, Any], path: Path) -> None:
    document["results"].append(document["results"][1])
    last = len(document["results"]) - 1
    with pytest.raises(
        UsageError, match=rf"run\.json:\d+: results\[{last}\]: .* is there twice, first as results\[1\]"
    ):
        read_document(edited(document, path))
    document["results"][last] = {**document["results"][1], "epoch": 1}
    read_document(edited(document, path))


def test_a_head_is_the_document_without_its_results(document: dict[str, Any], path: Path) -> None:
    document["results"][0]["prompt"] = '  "results": ['
    write_json(document, path)
    assert read_head(path) == document | {"results": []}
    path.write_text(json.dumps(document), encoding="utf-8")
    assert read_head(path) == document | {"results": []}


@pytest.mark.parametrize("content", ["[]", "{}", '{"schema_version": "1"}'])
def test_other_json_is_not_a_run_file(content: str, path: Path) -> None:
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UsageError, match="not a run file"):
        read_document(path)


def test_a_message_does_not_carry_the_whole_run(document: dict[str, Any], path: Path) -> None:
    document["by_category"] = document["results"]
    with pytest.raises(UsageError) as raised:
        read_document(edited(document, path))
    assert "is not of type 'object'" in str(raised.value)
    assert len(str(raised.value)) < 400 + len(str(path))
