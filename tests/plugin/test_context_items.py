"""`pytest -m context` on a server of known context: its items, its reports, its gates, and going on."""

from __future__ import annotations

import importlib
import json
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.context_server import ContextServer, context_server
from support.known_context import KnownContext
from support.plugin_project import Project

SUITE = Path(__file__).parents[1] / "suites" / "test_context.py"
SETTINGS = {
    "context": {"depths": [0.5], "languages": "en", "kinds": ["one"], "probes": 5, "answer_tokens": 8},
    "load": {"latency": 1.0, "measured": "first_token", "scrape": False},
    "output": {"png": False, "html": False},
}


@pytest.fixture
def context_project(project: Project) -> Project:
    for name in ("context.context_run", "context.session", "reports.writing.context", "reports.renderers.layout"):
        importlib.import_module(f"pytest_llmbench.{name}")  # in-process runs forget what they imported
    for file in ("test_suite.py", "conftest.py"):
        (project.path / file).unlink()
    shutil.copy(SUITE, project.path / "test_how_long.py")
    project.write("configs/llmbench.yaml", json.dumps(SETTINGS))
    return project


@pytest.fixture(scope="module")
def server() -> Iterator[ContextServer]:
    with context_server(KnownContext(limit=600), announced=601) as running:
        yield running


def test_three_items_share_one_test_of_the_server(context_project: Project, server: ContextServer) -> None:
    server.prompts.clear()
    result = context_project.run("-m", "context", "--llmbench-server", server.url, "--llmbench-save", "first")
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(["*llmbench context*", "*Accepted: 600 (exact)*"])
    document = json.loads((context_project.path / "reports/context.json").read_text(encoding="utf-8"))
    (target,) = document["targets"]
    assert target["limits"]["accepted"]["tokens"] == 600
    assert len(server.prompts) == len(target["probes"]) + 2  # and two by which counting is checked
    assert context_project.runs() == ["0001"]


def test_what_is_required_fails_the_items_whose_limits_are_shorter(
    context_project: Project, server: ContextServer
) -> None:
    asked = ("-m", "context", "--llmbench-server", server.url, "--llmbench-require-context", "601")
    result = context_project.run(*asked, "-k", "accepted")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*accepted: 600 tokens (95 % interval 600 to 600); 601 tokens are required: surely not*"]
    )


def test_a_run_to_compare_with_that_is_not_there_is_told_before_anything_is_asked(
    context_project: Project, server: ContextServer
) -> None:
    server.prompts.clear()
    result = context_project.run("-m", "context", "--llmbench-server", server.url, "--llmbench-compare", "gone")
    assert result.ret == 2
    assert "no context run 'gone'" in result.stdout.str() + result.stderr.str()
    assert not server.prompts


def test_a_gate_without_a_run_to_compare_with_is_told_before_anything_is_asked(
    context_project: Project, server: ContextServer
) -> None:
    server.prompts.clear()
    result = context_project.run("-m", "context", "--llmbench-server", server.url, "--llmbench-gate", "regression")
    assert result.ret == 2
    told = result.stdout.str() + result.stderr.str()
    assert "name it (gate.baseline) (--llmbench-gate, --llmbench-compare)" in told
    assert not server.prompts


def test_lengths_that_cannot_be_end_the_session_with_one_message(
    context_project: Project, server: ContextServer
) -> None:
    result = context_project.run("-m", "context", "--llmbench-server", server.url, "--llmbench-lengths", "512,9000")
    assert result.ret == 2
    told = result.stdout.str() + result.stderr.str()
    assert "context.lengths: 9000 is beyond the 601 tokens that the server announces" in told
    assert "(--llmbench-lengths)" in told
    assert "Traceback" not in told


@pytest.mark.parametrize("lengths", ["0", "1024,512", "512,512", "many"])
def test_lengths_that_are_none_are_refused_as_settings(context_project: Project, lengths: str) -> None:
    result = context_project.run("-m", "context", "--llmbench-lengths", lengths)
    assert result.ret == 2
    assert "--llmbench-lengths: context.lengths:" in result.stdout.str() + result.stderr.str()


def test_a_limit_that_fell_is_a_failed_test_for_ci(context_project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(context_project.path / "summary.md"))
    sections = "def pytest_llmbench_report_sections(document, kind, language):\n"
    sections += "    assert (kind, document['targets'][0]['name']) == ('context', 'known')\n"
    context_project.write("conftest.py", sections)
    asked = ("-m", "context", "--llmbench-save", "one")
    for limit in (600, 500):
        gate = () if limit == 600 else ("--llmbench-gate", "regression", "--llmbench-compare", "one")
        with context_server(KnownContext(limit=limit), announced=limit + 1) as running:
            result = context_project.run(*asked, "--llmbench-server", running.url, *gate, "--junit-xml", "junit.xml")
    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines(["::error title=llmbench%3A fail%3A known::Limit: Accepted: 600, now 500 (-16.7%25)"])
    result.stdout.fnmatch_lines(["FAILED llmbench::gate[[]context-regression[]] - fail: known: Limit: Accepted*"])
    assert "Limit: Accepted" in (context_project.path / "summary.md").read_text(encoding="utf-8")
    suite = ET.parse(context_project.path / "junit.xml").getroot().find("testsuite")  # noqa: S314  # written by pytest
    assert suite is not None
    failure = suite.find("testcase[@name='gate[context-regression]']/failure")
    assert failure is not None
    assert "Limit: Accepted" in (failure.text or "")
