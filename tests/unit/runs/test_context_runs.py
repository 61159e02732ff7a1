"""Context runs on disk: saved among other runs, found again, and refused where they are none."""

from __future__ import annotations

import subprocess
from pathlib import Path

import jsonschema
import pytest
from support.context_documents import document, several_contexts, target
from support.report_runs import built, full_run
from support.schemas import schema

from pytest_llmbench.core.errors import MissingRunError, UsageError
from pytest_llmbench.runs.context_runs import context_run, found_context, read_context, save_context
from pytest_llmbench.runs.history import find_run
from pytest_llmbench.runs.history import save as save_benchmark


def git(*words: str) -> str:
    done = subprocess.run(
        ["git", "-c", "user.name=Ada", "-c", "user.email=ada@example.org", *words],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.strip()


def test_a_document_obeys_its_schema_and_comes_back_as_it_was(tmp_path: Path) -> None:
    found = several_contexts()
    jsonschema.validate(found.model_dump(mode="json"), schema("context"))
    folder = save_context(found, tmp_path, "accepted")
    assert read_context(folder / "context.json") == found


def test_context_runs_share_their_numbers_with_others_and_are_found_by_what_people_call_them(tmp_path: Path) -> None:
    save_benchmark(built(full_run(cases=1)), tmp_path, "accepted")
    folder = save_context(document(target(probes=())), tmp_path, "accepted")
    assert folder.name == "0002_accepted"
    file = folder / "context.json"
    for reference in ("latest", "2", "0002", "0002_accepted", "accepted", str(folder), str(file)):
        assert found_context(reference, tmp_path).path == file
    assert find_run("accepted", tmp_path).name == "0001_accepted"
    assert context_run("1", tmp_path) is None


def test_a_copy_under_another_name_is_known_by_its_kind(tmp_path: Path) -> None:
    copy = tmp_path / "before.json"
    copy.write_text(document(target(probes=())).as_json(), encoding="utf-8")
    assert found_context(str(copy), tmp_path).document.targets[0].name == "qwen3-4b-instruct"


def test_a_commit_stands_for_the_newest_run_made_from_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    git("init", "--quiet", "--initial-branch=main")
    git("commit", "--quiet", "--allow-empty", "-m", "first")
    made = document(target(probes=()))
    here = made.metadata.model_copy(
        update={"provenance": {"git": {"commit": git("rev-parse", "HEAD"), "dirty": False}}}
    )
    file = save_context(made.model_copy(update={"metadata": here}), tmp_path, "here") / "context.json"
    save_context(made, tmp_path, "elsewhere")
    for reference in ("HEAD", "main", git("rev-parse", "--short", "HEAD")):
        assert found_context(reference, tmp_path).path == file
    git("add", "--force", file.as_posix())
    git("commit", "--quiet", "-m", "keep it")
    committed = found_context(f"main:{file.relative_to(tmp_path).as_posix()}", tmp_path)
    assert (committed.path, committed.document.targets) == (None, made.targets)
    with pytest.raises(MissingRunError, match="nor a git reference that one was made from"):
        found_context("HEAD", tmp_path)


def test_a_missing_run_of_another_kind_is_told_with_the_context_runs_that_there_are(tmp_path: Path) -> None:
    save_context(document(target(probes=())), tmp_path, "accepted")
    with pytest.raises(MissingRunError, match=r"\(no benchmark yet; context runs: 0001_accepted\)"):
        find_run("other", tmp_path)


def test_a_run_that_is_not_there_is_told_with_those_that_are(tmp_path: Path) -> None:
    save_context(document(target(probes=())), tmp_path, "accepted")
    with pytest.raises(MissingRunError, match=r"no context run 'other'.*0001_accepted"):
        found_context("other", tmp_path)


def test_a_document_that_was_edited_is_refused_with_its_line(tmp_path: Path) -> None:
    text = document(target(probes=())).as_json().replace('"tokens": 8191', '"tokens": "many"', 1)
    line = next(place for place, one in enumerate(text.splitlines(), 1) if '"many"' in one)
    file = tmp_path / "context.json"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(
        UsageError, match=rf"context.json:{line}: targets.0.limits.accepted.tokens: .many. is not valid"
    ):
        read_context(file)
