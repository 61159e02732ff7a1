"""The projects in `examples/`: every command that their pages show is run, and does what the page says."""

from __future__ import annotations

import asyncio
import csv
import json
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from support.fake_chat_server import FakeChatServer, well

EXAMPLES = Path(__file__).parents[2] / "examples"
IGNORANT = "I have no idea what you are talking about."


class Example:
    """A copy of one example, and the server that its page speaks of."""

    def __init__(self, name: str, folder: Path, server: FakeChatServer) -> None:
        self.path = shutil.copytree(EXAMPLES / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        self.server = server
        page = (self.path / "README.md").read_text(encoding="utf-8")
        self.commands = re.findall(r"^\$ (.+)$", page, re.MULTILINE)
        settings = self.path / "configs/llmbench.yaml"
        if settings.exists():
            settings.write_text(settings.read_text(encoding="utf-8").replace(PORT, server.url), encoding="utf-8")

    def run(self, command: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """Run one command as the page has it; each setting is one of the environment."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("LLMBENCH_")}
        own = {
            "LLMBENCH_CACHE_DIR": str(self.path / "cache"),
            "LLMBENCH_OUTPUT__PNG": "false",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        light = {f"LLMBENCH_{name}": value for name, value in settings.items()}
        return subprocess.run(
            ["bash", "-ec", command.replace(PORT, self.server.url)],
            cwd=self.path,
            env={**inherited, **own, **light},
            capture_output=True,
            text=True,
            check=False,
        )

    def run_all(self, **settings: str) -> str:
        """Run all commands in order; each ends well."""
        assert self.commands
        done = [self.run(command, **settings) for command in self.commands]
        assert all(one.returncode == 0 for one in done), "\n".join(one.stdout + one.stderr for one in done)
        return "\n".join(one.stdout for one in done)

    def asked_of_the_server(self) -> dict[str, str]:
        """The settings by which the server answers instead of the embedded model."""
        return {"SERVER__URL": f"{self.server.url}/v1", "SERVER__MODEL": "base", "SERVER__ADAPTER": "finetuned"}

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


PORT = "http://127.0.0.1:8000"


async def knowing(server: FakeChatServer, request: web.Request) -> web.StreamResponse:
    """The fine-tune repeats what was asked, the base has no idea."""
    body = server.bodies[-1]
    text = str(body["messages"][-1]["content"]) if body["model"] == "finetuned" else IGNORANT
    return await well(text)(server, request)


async def soon(server: FakeChatServer, request: web.Request) -> web.StreamResponse:
    """An answer after a moment."""
    await asyncio.sleep(0.05)
    return await well("yes")(server, request)


@pytest.fixture
def example(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Example]:
    server = FakeChatServer(knowing, models=("base", "finetuned"))
    yield Example(request.param, tmp_path, server)
    server.close()


def example_of(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("example", [name], indirect=True)


@example_of("own_metric")
def test_metrics_of_the_project_are_scored_and_expected(example: Example) -> None:
    assert "2 passed" in example.run_all(**example.asked_of_the_server())
    lights = next(row for row in example.results() if row["prompt_id"] == "lights")
    assert lights["scores"]["brevity"] == {"base": 1.0, "finetuned": 1.0}
    assert lights["scores"]["saved_words"] == {"finetuned": len(IGNORANT.split()) - 5}


@example_of("own_metric")
def test_an_answer_that_is_too_long_fails_its_case(example: Example) -> None:
    example.server.behaviours[:] = [well("word " * 30)]
    done = example.run(*example.commands, **example.asked_of_the_server())
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert "1 failed, 1 passed" in done.stdout


@example_of("own_backend")
def test_two_releases_of_a_program_are_compared(example: Example) -> None:
    assert "3 passed" in example.run_all()
    scores = {row["prompt_id"]: row["scores"]["keywords"] for row in example.results()}
    assert scores["weather"] == {"base": 0.0, "finetuned": 1.0}
    assert scores["lights"] == {"base": 1.0, "finetuned": 1.0}
    assert not example.server.bodies


@example_of("own_report")
def test_a_report_of_the_project_has_every_score(example: Example) -> None:
    example.run_all(**example.asked_of_the_server())
    with (example.path / "reports/scores.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    keywords = [row for row in rows if row["metric"] == "keywords"]
    assert [row["case"] for row in keywords] == ["facts/capital", "facts/river"]
    assert {row["case"] for row in rows} == {"facts/capital", "facts/river"}
    assert {row["base"] for row in keywords} == {"0.0"}


@example_of("ci_gate")
def test_the_gate_passes_the_accepted_fine_tune_and_stops_a_forgetful_one(example: Example) -> None:
    example.run_all()
    assert example.failure() == ""
    example.server.behaviours[:] = [well(IGNORANT)]
    done = example.run(f"{example.commands[-1]} --llmbench-no-cache")
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    assert "keywords" in example.failure()


@example_of("capacity_gate")
def test_the_gate_passes_what_a_server_holds_and_stops_what_it_does_not(example: Example) -> None:
    example.server.behaviours[:] = [soon]
    example.run_all(LOAD__COOLDOWN="0", LOAD__MAX_USERS="2", LOAD__PROCESSES="1")
    assert example.failure() == ""


def test_every_example_is_listed_and_run() -> None:
    folders = {path.parent.name for path in EXAMPLES.glob("*/README.md")}
    listed = re.findall(r"\]\((\w+)/README\.md\)", (EXAMPLES / "README.md").read_text(encoding="utf-8"))
    assert sorted(folders) == sorted(listed)
    run = re.findall(r'^@example_of\("(\w+)"\)$', Path(__file__).read_text(encoding="utf-8"), re.MULTILINE)
    assert set(run) == folders
