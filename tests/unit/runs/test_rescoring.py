"""New scores over stored answers."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from support.gates import gate

from pytest_llmbench.cases.case import asked_sha256
from pytest_llmbench.cases.suites import Case, Vocabulary
from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.core.settings import Settings
from pytest_llmbench.metrics import MetricRegistry, default_metrics
from pytest_llmbench.runs.rescoring import Judges, journal_of, rescore
from pytest_llmbench.runs.storage import run_schema

MakeRun = Callable[..., dict[str, Any]]
EMBEDDING = base64.b64encode(struct.pack("<2f", 1.0, 0.0)).decode()
OTHER = base64.b64encode(struct.pack("<2f", 0.6, 0.8)).decode()


@pytest.fixture
def document(make_run: MakeRun) -> dict[str, Any]:
    """A run of two cases with the answers "abcdef" of the base and "uvwxyz" of the fine-tune, cut to three letters."""
    run = make_run(cases=2)
    run["metadata"]["settings"]["output"]["answer_chars"] = 3
    for row in run["results"]:
        for variant, text in (("base", "abc"), ("finetuned", "uvw")):
            row["completions"][variant] |= {"text": text, "text_cut": True, "finish": "stop"}
    return run


def journal(folder: Path, document: dict[str, Any], **changed: Any) -> Path:
    """A journal with the whole answers."""
    path = folder / "completions.jsonl"
    whole = {"base": ("abcdef", EMBEDDING), "finetuned": ("uvwxyz", OTHER)}
    with path.open("a", encoding="utf-8") as file:
        for row in document["results"]:
            for variant, (text, embedding) in whole.items():
                known = {
                    "text": text,
                    "embedding": embedding,
                    "finish": "stop",
                    "latency_s": 1.5,
                    "completion_tokens": 3,
                }
                place = {"key": f"{row['case']}{variant}", "case": row["case"], "epoch": 0, "variant": variant}
                file.write(json.dumps(place | known | changed) + "\n")
    return path


def judges(
    cases: list[Case] | None = None, *, own: bool = True, tools: dict[str, tuple[str, ...]] | None = None
) -> Judges:
    """The length of an answer as a metric, or the built-in ones."""
    settings = Settings()
    vocabulary = Vocabulary(tools or {"volume_up": ("son", "volume"), "volume_down": ("son",)}, path=Path("tools.yaml"))
    registry = MetricRegistry() if own else default_metrics(settings.metrics, vocabulary)
    if own:
        registry.add("length", lambda _, completion: len(completion.text), higher_is_better=False, unit="letters")
    return Judges(registry, cases or [], vocabulary, settings, "mine.py" if own else None)


def scores(document: dict[str, Any], metric: str) -> list[dict[str, float | None]]:
    return [row["scores"][metric] for row in document["results"]]


def test_whole_answers_come_from_the_journal(document: dict[str, Any], tmp_path: Path) -> None:
    scored = rescore(document, "0001_a", journal(tmp_path, document), judges())
    assert scores(scored, "length") == [{"base": 6.0, "finetuned": 6.0}] * 2
    assert (
        scored["results"][0]["completions"]["base"] | {"text": "abc", "text_cut": True}
        == (scored["results"][0]["completions"]["base"])
    )


def test_the_result_is_a_whole_run_with_the_old_scores_kept(document: dict[str, Any], tmp_path: Path) -> None:
    document["gate"] = gate()
    scored = rescore(document, "0001_a", journal(tmp_path, document), judges())
    jsonschema.validate(scored, run_schema())
    assert scores(scored, "relevance") == scores(document, "relevance")
    assert scored["statistics"]["metrics"]["length"]["base"] == {"mean": 6.0, "scored": 2, "unscored": 0}
    assert scored["gate"] is None
    about = scored["metadata"]
    assert (about["timestamp"], about["seed"]) == (document["metadata"]["timestamp"], 42)
    assert about["metrics"]["length"] == {"higher_is_better": False, "unit": "letters"}
    assert (about["rescored"]["run"], about["rescored"]["metrics"]) == ("0001_a", ["length"])
    assert about["rescored"]["metrics_from"] == "mine.py"


def test_a_run_that_recorded_no_settings_is_scored_too(document: dict[str, Any]) -> None:
    document["metadata"]["settings"] = None
    assert rescore(document, "0001_run", None, judges())["metadata"]["settings"].keys() == {"metrics"}


def test_without_a_journal_cut_answers_are_scored_aloud(
    document: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    document["results"][0]["completions"]["base"]["text_cut"] = False
    scored = rescore(document, "0001_a", None, judges())
    assert scores(scored, "length") == [{"base": 3.0, "finetuned": 3.0}] * 2
    assert "3 answers are cut in the run's file and not in a journal" in caplog.text
    cut = [[answer["text_cut"] for answer in row["completions"].values()] for row in scored["results"]]
    assert cut == [[False, True], [True, True]]


def test_answers_of_another_attempt_in_the_journal_are_not_taken(document: dict[str, Any], tmp_path: Path) -> None:
    whole = journal(tmp_path, document)
    journal(tmp_path, document, text="of a resumed run with other settings")
    journal(tmp_path, document, text="abcd", finish="length")
    whole.write_text(whole.read_text() + '{"case": "torn', encoding="utf-8")
    scored = rescore(document, "0001_a", whole, judges())
    assert scores(scored, "length") == [{"base": 6.0, "finetuned": 6.0}] * 2


def test_adapters_that_are_equal_share_the_answer_that_the_journal_has_of_one(
    document: dict[str, Any], tmp_path: Path
) -> None:
    whole = journal(tmp_path, document)
    same = {"weights_sha256": "a", "config_sha256": "c"}
    alike = {"finetuned": same, "copy": same, "other": same | {"weights_sha256": "b"}}
    document["metadata"]["backend"] |= {"adapters": alike}
    for row in document["results"]:
        answers = row["completions"]
        answers |= dict.fromkeys(("copy", "other"), answers["finetuned"])
    scored = rescore(document, "0001_a", whole, judges())
    assert scores(scored, "length") == [{"base": 6.0, "finetuned": 6.0, "copy": 6.0, "other": 3.0}] * 2


def test_cases_are_judged_as_the_suites_have_them_now(document: dict[str, Any], tmp_path: Path) -> None:
    row = document["results"][0]
    now = Case(row["category"], row["prompt_id"], row["prompt"], (), keywords=("abcdef", "uvw"), tool=row["tool"])
    row["messages_sha256"] = asked_sha256(now)
    scored = rescore(document, "0001_a", journal(tmp_path, document), judges([now], own=False))
    assert scored["results"][0]["keywords_expected"] == ["abcdef", "uvw"]
    assert scores(scored, "keywords")[0] == {"base": 0.5, "finetuned": 0.0}
    assert scored["results"][1]["keywords_expected"] == document["results"][1]["keywords_expected"]


def test_cases_that_changed_or_are_gone_are_announced(
    document: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = document["results"]
    changed = Case(first["category"], first["prompt_id"], "autre chose", (), keywords=("autre",), tool=None)
    scored = rescore(document, "0001_a", journal(tmp_path, document), judges([changed], own=False))
    assert scored["results"][0]["keywords_expected"] == first["keywords_expected"]
    assert f"1 cases have another prompt now and are judged as the run recorded them: {first['case']}" in caplog.text
    assert f"1 cases are in no suite any more and are judged as the run recorded them: {second['case']}" in caplog.text


def test_answers_to_another_system_prompt_are_not_judged_by_the_new_case(
    document: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    row = document["results"][0]
    user = {"role": "user", "content": row["prompt"]}
    known, now = (
        Case(row["category"], row["prompt_id"], row["prompt"], (*system, user), keywords=("new",))
        for system in ((), ({"role": "system", "content": "Answer in verse."},))
    )
    row["messages_sha256"] = asked_sha256(known)
    scored = rescore(document, "0001_a", journal(tmp_path, document), judges([now], own=False))
    assert scored["results"][0]["keywords_expected"] == row["keywords_expected"]
    assert "1 cases have another system prompt, other turns or other tools now and are judged" in caplog.text


def test_cosine_similarity_comes_from_stored_embeddings(
    document: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scored = rescore(document, "0001_a", journal(tmp_path, document), judges(own=False))
    assert scores(scored, "cosine_similarity") == [{"finetuned": pytest.approx(0.6)}] * 2
    assert "embeddings" not in caplog.text


def test_without_embeddings_cosine_similarity_is_not_made_up(
    document: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    before = scores(document, "cosine_similarity")[0]
    del document["results"][1]["scores"]["cosine_similarity"]
    scored = rescore(document, "0001_a", None, judges(own=False))
    assert scores(scored, "cosine_similarity") == [before, {"finetuned": None}]
    assert "2 results have no stored embeddings: their cosine_similarity keeps its old score" in caplog.text


def test_a_failed_answer_stays_unscored(document: dict[str, Any]) -> None:
    document["results"][0]["completions"]["base"] |= {"text": "", "finish": "error", "error": "gone"}
    scored = rescore(document, "0001_a", None, judges())
    assert scores(scored, "length")[0] == {"base": None, "finetuned": 3.0}


def test_a_tool_that_the_vocabulary_lacks_is_refused(document: dict[str, Any]) -> None:
    told = r"tools\.yaml: lacks tools .*volume_.*; give the vocabulary that has them"
    with pytest.raises(UsageError, match=told) as raised:
        rescore(document, "0001_a", None, judges(tools={"lights_on": ("lumière",)}))
    assert raised.value.names == ("vocabulary",)


def test_a_journal_is_looked_for_beside_the_run(document: dict[str, Any], tmp_path: Path) -> None:
    assert journal_of(tmp_path / "run.json") is None
    assert journal_of(None) is None
    path = journal(tmp_path, document)
    assert journal_of(tmp_path / "run.json") == path
