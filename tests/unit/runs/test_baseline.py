"""Baselines: what of a run is committed, and one shape for both when they are compared."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from support.report_runs import full_run

from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.runs.baseline import Comparable, baseline_lines, comparable, write_baseline
from pytest_llmbench.runs.document import build_document
from pytest_llmbench.runs.result_parts import ResultParts, write_part
from pytest_llmbench.runs.storage import baseline_schema, read_document, read_saved, write_json

MakeRun = Callable[..., dict[str, Any]]


def comparable_at(path: Path, name: str = "") -> Comparable:
    return comparable(read_saved(path), name, path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "baselines/accepted.json"


def test_the_schema_is_a_valid_draft_2020_12_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(baseline_schema())


def test_a_real_run_of_thirty_cases_stays_small_and_without_its_texts(make_run: MakeRun, path: Path) -> None:
    document = make_run()
    write_baseline(document, path, "0007_accepted")
    text = path.read_text(encoding="utf-8")
    assert len(document["results"]) == 30
    assert path.stat().st_size < 20_000
    for row in document["results"]:
        assert row["prompt"] not in text
        assert row["finetuned_response"] not in text


def test_one_changed_score_changes_one_line(make_run: MakeRun, path: Path) -> None:
    document = make_run()
    write_baseline(document, path, "a")
    before = path.read_text(encoding="utf-8").splitlines()
    document["results"][4]["scores"]["relevance"]["base"] = 0.123456789
    write_baseline(document, path, "a")
    changed = [
        new for old, new in zip(before, path.read_text(encoding="utf-8").splitlines(), strict=True) if old != new
    ]
    assert len(changed) == 1
    assert '"base": 0.123457' in changed[0]


def test_a_run_equals_its_own_baseline(make_run: MakeRun, tmp_path: Path, path: Path) -> None:
    document = make_run(commit="c" * 40)
    write_json(document, tmp_path / "run.json")
    write_baseline(document, path, "0007_accepted")
    run, baseline = comparable_at(tmp_path / "run.json", "0007_accepted"), comparable_at(path)
    assert (run.name, run.metadata, run.rows) == (baseline.name, baseline.metadata, baseline.rows)
    assert (run.path, baseline.path) == ((tmp_path / "run.json").as_posix(), path.as_posix())


def test_what_a_comparison_needs_to_know_of_a_run_is_kept(make_run: MakeRun) -> None:
    document = make_run(commit="c" * 40, metrics={"relevance": {"higher_is_better": True, "unit": None}})
    known = comparable(document, "0007_accepted").metadata
    about, backend = document["metadata"], document["metadata"]["backend"]
    for key in ("base_model", "seed", "epochs", "variants", "git", "versions", "vocabulary", "timestamp", "metrics"):
        assert known[key] == about[key]
    for key in ("base_weights_sha256", "adapters", "quantization"):
        assert known[key] == backend[key]
    assert known["name"] == "0007_accepted"
    assert known["generation"]["temperature"] == about["settings"]["generation"]["temperature"]
    assert known["spelling"] == {"case_sensitive": False, "accent_sensitive": False, "call_form": "auto"}
    assert known["hardware"]["cpu"] == about["cpu"]


@pytest.mark.parametrize(
    ("key", "value"), [("prompt", "autre"), ("keywords_expected", ["x"]), ("tool", None), ("reference", "x")]
)
def test_a_case_that_asks_or_expects_something_else_is_known_by_its_hash(
    make_run: MakeRun, key: str, value: object
) -> None:
    document = make_run(cases=1)
    (row,) = comparable(document, "a").rows
    document["results"][0]["completions"]["base"]["text"] = "another answer"
    assert comparable(document, "a").rows[0]["prompt_sha"] == row["prompt_sha"]
    document["results"][0][key] = value
    assert comparable(document, "a").rows[0]["prompt_sha"] != row["prompt_sha"]


def test_the_group_of_a_case_is_kept_and_older_files_have_none(make_run: MakeRun, path: Path) -> None:
    document = make_run(cases=2)
    document["results"][0]["group"] = "lights"
    assert [row.get("group") for row in comparable(document, "a").rows] == ["lights", None]
    write_baseline(document, path, "a")
    path.write_text(path.read_text(encoding="utf-8").replace('"group": null, ', ""), encoding="utf-8")
    assert [row.get("group") for row in comparable_at(path).rows] == ["lights", None]


def test_a_run_that_says_little_of_itself_has_a_baseline_too(path: Path) -> None:
    document = build_document(full_run(cases=1), answer_chars=500)
    for key in ("git", "versions", "settings", "cpu", "gpus"):
        del document["metadata"][key]
    write_baseline(document, path, "bare")
    assert comparable_at(path).metadata["adapters"] == {}


def test_an_empty_run_has_a_readable_baseline(make_run: MakeRun, path: Path) -> None:
    write_baseline(make_run(cases=0), path, "empty")
    assert read_saved(path)["results"] == []


def test_only_one_variants_scores_can_be_taken(make_run: MakeRun) -> None:
    tuned = comparable(make_run(cases=2), "a").only("finetuned")
    assert tuned.metadata["variants"] == ["finetuned"]
    assert {variant for row in tuned.rows for of in row["scores"].values() for variant in of} == {"finetuned"}


def test_a_baseline_is_no_run(make_run: MakeRun, path: Path) -> None:
    write_baseline(make_run(cases=1), path, "a")
    with pytest.raises(UsageError, match="holds no answers; give the run that it was made from"):
        read_document(path)


def test_what_a_baseline_can_show_is_its_means(make_run: MakeRun, path: Path) -> None:
    document = make_run()
    write_baseline(document, path, "a")
    lines = baseline_lines(read_saved(path))
    assert [lines[0], lines[lines.index("") + 1]] == ["base", "finetuned"]
    relevance = document["statistics"]["metrics"]["relevance"]["finetuned"]["mean"]
    assert f"{relevance:.3f}" in lines[-1]
    assert lines[-1].split()[:2] == ["all", "30"]


Edit = Callable[[dict[str, Any]], object]
FAULTS: list[tuple[Edit, str]] = [
    (lambda file: file.update(schema_version=99), "newer pytest-llmbench .*upgrade"),
    (lambda file: file["results"][1]["scores"]["relevance"].update(base="good"), r"'good' is not of type"),
    (lambda file: file["results"][1].update(prompt_sha="short"), r"results\[1\]\.prompt_sha: .*does not match"),
    (lambda file: file["results"][1]["scores"]["relevance"].update(base=float("nan")), "NaN is not a number"),
    (
        lambda file: file["results"].append(file["results"][0]),
        r"results\[2\]: the case .* there twice, first as results\[0\]",
    ),
    (lambda file: file["metadata"].pop("name"), "'name' is a required property"),
]


@pytest.mark.parametrize(("edit", "message"), FAULTS)
def test_an_edited_baseline_is_refused_with_its_line(make_run: MakeRun, path: Path, edit: Edit, message: str) -> None:
    write_baseline(make_run(cases=2), path, "a")
    file = json.loads(path.read_text(encoding="utf-8"))
    edit(file)
    path.write_text(json.dumps(file, indent=1), encoding="utf-8")
    with pytest.raises(UsageError, match=message) as told:
        read_saved(path)
    assert "\n" not in str(told.value)


def test_the_answers_of_a_large_run_are_known_again_as_those_of_a_small_one(make_run: MakeRun, tmp_path: Path) -> None:
    document = make_run()
    document["results"][7]["completions"]["finetuned"]["cached"] = True
    write_part(tmp_path / "parts", 0, document["results"])
    small, large = (
        comparable({**document, "results": rows}, "run").answers
        for rows in (document["results"], ResultParts(tmp_path / "parts"))
    )
    for variant in ("base", "finetuned"):
        assert large.of[variant].numbers == small.of[variant].numbers
        assert large.of[variant].made == small.of[variant].made
    for answers in (small, large):
        assert [place for place, cached in enumerate(answers.of["finetuned"].cached) if cached] == [7]
