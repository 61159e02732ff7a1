"""`llmbench report` and `llmbench compare` on context runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.command_line import llmbench
from support.context_documents import Known, document, limit, limits, target
from support.report_runs import built, full_run

from pytest_llmbench.runs.context_runs import save_context
from pytest_llmbench.runs.history import save as save_benchmark


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a benchmark run, and two context runs of which the later one holds less."""
    monkeypatch.chdir(tmp_path)
    reports = tmp_path / "reports"
    save_benchmark(built(full_run(cases=1)), reports, "benchmark")
    fell = limits(Known(), accepted=limit(4095, 4095, 4095, "refused", length=4096))
    save_context(document(target(probes=())), reports, "before")
    save_context(document(target(probes=(), limits=fell)), reports, "after")
    return tmp_path


def test_a_context_run_is_reported_with_its_answer_first() -> None:
    told = llmbench("report", "before", "--format", "markdown").stdout
    assert told.startswith("### ✅ 6,680 tokens (95 % interval 4,096 to 6,760) is the longest context at which")
    assert "le plus long contexte" in llmbench("report", "before", "--language", "fr").stdout
    assert json.loads(llmbench("report", "latest", "--format", "json").stdout)["kind"] == "context"


def test_a_page_is_written_where_it_is_wanted(project: Path) -> None:
    told = llmbench("report", "before", "--format", "html", "--output", project / "page.html")
    assert "6,680 tokens" in (project / told.stdout.strip()).read_text(encoding="utf-8")


def test_formats_that_context_runs_do_not_have_are_refused() -> None:
    told = llmbench("report", "before", "--format", "routing", "--output", "x.png")
    assert told.exit_code == 2
    assert "is a context run; take text, json, html, markdown or png" in told.stderr


def test_of_runs_of_both_kinds_with_one_name_the_newest_is_meant(project: Path) -> None:
    save_benchmark(built(full_run(cases=1)), project / "reports", "before")
    assert "kind" not in json.loads(llmbench("report", "before", "--format", "json").stdout)
    assert "kind" not in json.loads(llmbench("report", "latest", "--format", "json").stdout)
    save_context(document(target(probes=())), project / "reports", "before")
    assert json.loads(llmbench("report", "before", "--format", "json").stdout)["kind"] == "context"


def test_a_limit_that_fell_fails_where_that_was_asked() -> None:
    compared = llmbench("compare", "before", "after")
    assert compared.exit_code == 0
    assert "WORSE: compared with 0002_before" in compared.stdout
    failed = llmbench("compare", "before", "after", "--fail-on", "regression", "--json")
    assert failed.exit_code == 1
    verdicts = json.loads(failed.stdout)["runs"][0]["comparison"]["verdicts"]
    assert [one["outcome"] for one in verdicts if one["about"] == "accepted"] == ["fail"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("before", "benchmark"), "0002_before is a context run, and benchmark is none; compare runs of one kind"),
        (("before", "after", "--metrics", "relevance"), "it has no metrics and variants to choose from"),
    ],
)
def test_what_cannot_be_compared_is_refused(arguments: tuple[str, ...], told: str) -> None:
    refused = llmbench("compare", *arguments)
    assert refused.exit_code == 2
    assert told in refused.stderr
