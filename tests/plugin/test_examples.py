"""The projects in `examples/`: every command that their pages show is run, and does what the page says."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from support.command_line import llmbench
from support.fake_chat_server import FakeChatServer, well
from support.limits_project import LimitsProject

EXAMPLES = Path(__file__).parents[2] / "examples"
IGNORANT = "I have no idea what you are talking about."


PORT = "http://127.0.0.1:8000"


class Example:
    """A copy of one example, and the server that its page speaks of."""

    def __init__(self, name: str, pytester: pytest.Pytester, server: FakeChatServer) -> None:
        self.path, self.server, self._pytester = pytester.path, server, pytester
        left = shutil.ignore_patterns("__pycache__", ".pytest_cache", "cache", "reports")
        shutil.copytree(EXAMPLES / name, self.path, dirs_exist_ok=True, ignore=left)
        page = (self.path / "README.md").read_text(encoding="utf-8")
        self.commands = re.findall(r"^\$ (.+)$", page, re.MULTILINE)
        for settings in self.path.glob("configs/*.yaml"):
            settings.write_text(settings.read_text(encoding="utf-8").replace(PORT, server.url), encoding="utf-8")

    def run(self, command: str) -> tuple[int, str]:
        """Run one command of the page in this process: its exit code and what it printed."""
        program, *words = shlex.split(command.replace(PORT, self.server.url))
        if program == "pytest":
            done = self._pytester.runpytest_inprocess("-p", "no:randomly", *words, no_reraise_ctrlc=True)
            return int(done.ret), str(done.stdout) + str(done.stderr)
        assert program == "llmbench"
        told = llmbench(*words)
        return told.exit_code, told.output

    def run_all(self) -> str:
        """Run all commands in order; each ends well."""
        assert self.commands
        done = [self.run(command) for command in self.commands]
        printed = "\n".join(printed for _, printed in done)
        assert [code for code, _ in done] == [0] * len(done), printed
        return printed

    def results(self) -> list[dict[str, Any]]:
        """The cases of the JSON report."""
        rows: list[dict[str, Any]] = json.loads((self.path / "reports/benchmark.json").read_text())["results"]
        return rows

    def failure(self) -> str:
        """What the one failure in the JUnit file says; empty where nothing failed."""
        root = ET.parse(self.path / "reports/junit.xml").getroot()  # noqa: S314  # written by pytest
        (suite,) = root.iter("testsuite")
        failures = list(root.iter("failure"))
        assert suite.get("failures") == str(len(failures))
        return " ".join(failure.get("message") or "" for failure in failures)


async def knowing(server: FakeChatServer, request: web.Request) -> web.StreamResponse:
    """The fine-tune repeats what was asked, the base has no idea."""
    body = server.bodies[-1]
    text = str(body["messages"][-1]["content"]) if body["model"] == "finetuned" else IGNORANT
    return await well(text)(server, request)


@pytest.fixture
def server() -> Iterator[FakeChatServer]:
    made = FakeChatServer(knowing, models=("base", "finetuned"))
    yield made
    made.close()


@pytest.fixture
def example(
    request: pytest.FixtureRequest,
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    server: FakeChatServer,
    _imported_once: None,
) -> Example:
    """The example that a test names, with nothing inherited from the environment."""
    for variable in [name for name in os.environ if name.startswith("LLMBENCH_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("LLMBENCH_CACHE_DIR", str(pytester.path / "cache"))
    monkeypatch.setenv("LLMBENCH_OUTPUT__PNG", "false")
    return Example(request.param, pytester, server)


@pytest.fixture
def _asked_of_the_server(monkeypatch: pytest.MonkeyPatch, example: Example) -> None:
    """The server answers in the place of the embedded model, which takes longer."""
    monkeypatch.setenv("LLMBENCH_SERVER__URL", f"{example.server.url}/v1")
    monkeypatch.setenv("LLMBENCH_SERVER__MODEL", "base")
    monkeypatch.setenv("LLMBENCH_SERVER__ADAPTER", "finetuned")


def example_of(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("example", [name], indirect=True)


@pytest.mark.usefixtures("_asked_of_the_server")
@example_of("own_metric")
def test_metrics_of_the_project_are_scored_and_expected(example: Example) -> None:
    assert "2 passed" in example.run_all()
    lights = next(row for row in example.results() if row["prompt_id"] == "lights")
    assert lights["scores"]["brevity"] == {"base": 1.0, "finetuned": 1.0}
    assert lights["scores"]["saved_words"] == {"finetuned": len(IGNORANT.split()) - 5}


@pytest.mark.usefixtures("_asked_of_the_server")
@example_of("own_metric")
def test_an_answer_that_is_too_long_fails_its_case(example: Example) -> None:
    example.server.behaviours[:] = [well("word " * 30)]
    code, printed = example.run(*example.commands)
    assert code == pytest.ExitCode.TESTS_FAILED
    assert "1 failed, 1 passed" in printed


@example_of("own_backend")
def test_two_releases_of_a_program_are_compared(example: Example) -> None:
    assert "3 passed" in example.run_all()
    scores = {row["prompt_id"]: row["scores"]["keywords"] for row in example.results()}
    assert scores["weather"] == {"base": 0.0, "finetuned": 1.0}
    assert scores["lights"] == {"base": 1.0, "finetuned": 1.0}
    assert not example.server.bodies


@pytest.mark.usefixtures("_asked_of_the_server")
@example_of("own_report")
def test_a_report_of_the_project_has_every_score(example: Example) -> None:
    example.run_all()
    with (example.path / "reports/scores.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    keywords = [row for row in rows if row["metric"] == "keywords"]
    assert [row["case"] for row in keywords] == ["facts/capital", "facts/river"]
    assert {row["case"] for row in rows} == {"facts/capital", "facts/river"}
    assert {row["base"] for row in keywords} == {"0.0"}


@pytest.mark.usefixtures("_asked_of_the_server")
@pytest.mark.parametrize(("language", "title"), [("en", "Length of the prompts"), ("fr", "Longueur des prompts")])
@example_of("own_renderer")
def test_a_section_is_in_every_format_and_a_format_has_every_section(
    example: Example, language: str, title: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMBENCH_OUTPUT__LANGUAGE", language)
    example.run_all()
    reports = example.path / "reports"
    outline = json.loads((reports / "benchmark.outline.json").read_text(encoding="utf-8"))
    assert title in outline["sections"]
    assert outline["sections"][0] != title
    for ending in ("txt", "md", "html"):
        report = (reports / f"benchmark.{ending}").read_text(encoding="utf-8")
        assert title in report, ending
        assert "facts/river" in report, ending


@example_of("ci_gate")
def test_the_gate_passes_the_accepted_fine_tune_and_stops_a_forgetful_one(example: Example) -> None:
    example.run_all()
    assert example.failure() == ""
    example.server.behaviours[:] = [well(IGNORANT)]
    code, printed = example.run(f"{example.commands[-1]} --llmbench-no-cache")
    assert code == pytest.ExitCode.TESTS_FAILED, printed
    assert "Keywords found (share) of finetuned" in example.failure()


@example_of("capacity_gate")
def test_the_gate_passes_what_a_server_holds_and_stops_what_it_does_not(
    limits: LimitsProject, example: Example
) -> None:
    (limits.path / "test_autotune.py").unlink()
    finding = json.loads((limits.path / "finding.json").read_text())
    limits.write("finding.json", json.dumps({**finding, "chances_at_least": {"2": 0.999, "20": 0.0}}))
    example.run_all()
    assert example.failure() == ""
    code, printed = example.run(example.commands[0].replace("users 2", "users 20"))
    assert code == pytest.ExitCode.TESTS_FAILED, printed
    assert "20 are required" in example.failure()


def test_every_example_is_listed_and_run() -> None:
    folders = {path.parent.name for path in EXAMPLES.glob("*/README.md")}
    listed = re.findall(r"\]\((\w+)/README\.md\)", (EXAMPLES / "README.md").read_text(encoding="utf-8"))
    assert sorted(folders) == sorted(listed)
    run = re.findall(r'^@example_of\("(\w+)"\)$', Path(__file__).read_text(encoding="utf-8"), re.MULTILINE)
    assert set(run) == folders
