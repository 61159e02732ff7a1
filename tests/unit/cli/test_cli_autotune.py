"""`llmbench autotune`: what is asked, what is told, and how it ends."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

import pytest
from support.command_line import llmbench
from support.serving_findings import users_finding

from pytest_llmbench.autotune import model_limits, targets
from pytest_llmbench.autotune import server as under_test
from pytest_llmbench.autotune.document import Finding, Server
from pytest_llmbench.autotune.progress_events import Look
from pytest_llmbench.core.errors import NotReadyError, ServerError

URL = "http://127.0.0.1:9/v1"


class ServerDouble:
    """Answers each question at once; `asked` are (question, url, model) of all, `settings` those of the last."""

    asked: list[tuple[str, str, str | None]] = []  # noqa: RUF012  # emptied for each test
    settings: Any = None
    resume = False

    def __init__(self, settings: Any, target: Any, *, resume: bool = False, progress: Any = None) -> None:
        type(self).settings, type(self).resume = settings, resume
        self.target, self.findings, self._tell = target, dict[str, Any](), progress

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    @property
    def about(self) -> Server:
        model = self.target.model or "the-only-one"
        return Server(name=model, url=self.target.url, model_name=model, engine=None)

    def __getattr__(self, name: str) -> Any:
        question = name.removeprefix("max_")

        async def answer() -> Any:
            self.asked.append((question, self.target.url, self.target.model))
            self._tell(
                Look(
                    "users", "it", 8.0, "users", "held, 24 of 24", "11 users (9 to 12)", 24, 1976, over=True, kept=True
                )
            )
            if question == "tokens":
                self._tell(Look("max_tokens", "it", 16.0, "tokens", "begins", "", 0, 2000))
                raise ServerError("it went away; start it again")
            if question == "history":
                self._tell(Look("history", "it", 2.0, "messages", "begins", "", 24, 1976, kept=True))
                raise KeyboardInterrupt
            found = {**users_finding(), "question": question, "chance_required": 0.5}
            self.findings[question] = Finding.model_validate(found)
            return self.findings[question]

        return answer


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder with settings that draw nothing, and a stand-in for the server."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/llmbench.yaml").write_text("output: {png: false}\n")
    monkeypatch.setattr(under_test, "ServerUnderTest", ServerDouble)
    monkeypatch.setattr(ServerDouble, "asked", [])
    return tmp_path


def searched(*words: str) -> dict[str, Any]:
    done = llmbench("autotune", "--server", URL, "--json", *words)
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_the_answer_goes_to_standard_output_and_the_trials_to_standard_error(project: Path) -> None:
    done = llmbench("autotune", "--server", URL, "--model", "small")
    assert done.exit_code == 0
    assert done.stdout.startswith("11 users")
    assert (
        done.stderr
        == "users | begins: 2000 requests at most\nusers | at 8: held, 24 of 24 | 11 users (9 to 12) | 1976 left\n"
    )
    assert ServerDouble.asked == [("users", URL, "small")]
    assert json.loads((project / "configs/model_limits.json").read_text())["max_concurrent_users"] == 11
    assert (project / "reports/autotune.html").is_file()


def test_json_is_the_report_with_its_paths() -> None:
    document = searched()
    assert document["targets"][0]["findings"]["users"]["value"] == 11
    assert document["paths"]["limits"] == "configs/model_limits.json"
    assert document["requirements"] == {}


def test_options_are_settings(project: Path) -> None:
    text = (
        "max-users=20 latency=2.5 quantile=0.9 messages=5 history=6 cooldown=7.5 budget=400 max-tokens=64 "
        "max-history=8 max-rate=9.0 users=3 processes=2 arrivals=burst measured=first_token out=limits.json "
        "conversations=talks.jsonl"
    )
    words = dict(word.split("=") for word in text.split())
    llmbench("autotune", "--server", URL, *(f"--{name}={value}" for name, value in words.items()), "--seed", "7")
    load = ServerDouble.settings.load.model_dump(mode="json")
    assert {name: str(load[name.replace("-", "_")]) for name in words} == words
    assert ServerDouble.settings.generation.seed == 7
    assert (project / "limits.json").is_file()


def test_strict_allows_no_late_answer_and_no_share() -> None:
    searched("--strict")
    assert ServerDouble.settings.load.quantile == "strict"
    done = llmbench("autotune", "--server", URL, "--strict", "--quantile", "0.9")
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)


def test_questions_are_asked_in_the_order_in_which_one_gives_to_the_next() -> None:
    searched("--questions", "rate,users")
    assert [question for question, *_ in ServerDouble.asked] == ["users", "rate"]
    ServerDouble.asked.clear()
    searched("--rate")
    assert [question for question, *_ in ServerDouble.asked] == ["users", "rate"]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--server", URL, "--questions", "speed"), "there is no 'speed'"),
        (("--server", URL, "--questions", "rate", "--require-users", "5"), "add it to --questions"),
        (("--server", URL, "--latency", "soon"), "--latency: load.latency:"),
        (("--server", URL, "--users", "0"), "--users: load.users:"),
        (("--server-model", "a", "--server-model", "b"), "--server"),
        (("--server", URL, "--server", URL, "--model", "a", "--model", "b", "--model", "c"), "do not pair"),
    ],
)
def test_wrong_words_are_one_line_and_ask_nothing(words: tuple[str, ...], named: str) -> None:
    done = llmbench("autotune", *words)
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert named in done.stderr
    assert ServerDouble.asked == []


def test_servers_and_models_pair_into_one_comparison() -> None:
    other = "http://127.0.0.1:10/v1"
    document = searched("--server", other, "--model", "a", "--model", "b")
    assert ServerDouble.asked == [("users", URL, "a"), ("users", other, "b")]
    assert [target["name"] for target in document["targets"]] == ["a", "b"]
    ServerDouble.asked.clear()
    searched("--model", "a", "--model", "b")
    assert ServerDouble.asked == [("users", URL, "a"), ("users", URL, "b")]


def test_a_server_on_the_command_line_takes_the_place_of_targets_in_the_file(project: Path) -> None:
    (project / "mine.yaml").write_text(
        "output: {png: false}\nload: {targets: [{url: 'http://a/v1'}, {url: 'http://b/v1'}]}\n"
    )
    searched("--config", "mine.yaml")
    assert [url for _, url, _ in ServerDouble.asked] == [URL]


def test_a_model_alone_is_one_of_the_targets_in_the_file(project: Path) -> None:
    targets = "[{url: 'http://a/v1', model: small}, {url: 'http://b/v1', model: large}]"
    (project / "mine.yaml").write_text(f"output: {{png: false}}\nload: {{targets: {targets}}}\n")
    assert llmbench("autotune", "--config", "mine.yaml", "--server-model", "large").exit_code == 0
    assert ServerDouble.asked == [("users", "http://b/v1", "large")]
    done = llmbench("autotune", "--config", "mine.yaml", "--server-model", "huge")
    assert (done.exit_code, len(ServerDouble.asked)) == (2, 1)
    assert "no target of the model 'huge', only small, large" in done.stderr


def test_users_that_the_file_requires_do_not_hinder_other_questions(project: Path) -> None:
    (project / "mine.yaml").write_text("output: {png: false}\nload: {require_users: 20}\n")
    done = llmbench("autotune", "--config", "mine.yaml", "--server", URL, "--questions", "rate")
    assert (done.exit_code, ServerDouble.asked) == (0, [("rate", URL, None)])


def test_what_is_required_and_not_surely_held_is_exit_code_1() -> None:
    done = llmbench("autotune", "--server", URL, "--require-users", "11")
    assert done.exit_code == 1
    assert "FAIL: the-only-one: the server holds 11 users" in done.stderr
    assert "11 users" in done.stdout


def test_a_lost_server_leaves_what_was_found(project: Path) -> None:
    done = llmbench("autotune", "--server", URL, "--questions", "users,max_tokens")
    assert done.exit_code == 3
    assert done.stdout.startswith("11 users")
    assert done.stderr.endswith("error: it went away; start it again\n")
    assert "stopped in mid-search" not in done.stderr  # no trial of it was over
    assert (project / "configs/model_limits.json").is_file()


@pytest.mark.parametrize("out", ["configs", "configs/llmbench.yaml"])
def test_a_place_where_no_limits_can_be_written_is_refused_before_anything_is_asked(project: Path, out: str) -> None:
    before = (project / "configs/llmbench.yaml").read_text()
    done = llmbench("autotune", "--server", URL, "--output", out)
    assert (done.exit_code, ServerDouble.asked) == (2, [])
    assert out in done.stderr
    assert (project / "configs/llmbench.yaml").read_text() == before


def test_the_answer_is_told_where_the_disk_refuses_the_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise NotReadyError("cannot write: the disk is full")

    monkeypatch.setattr(model_limits, "write_text", full)
    done = llmbench("autotune", "--server", URL)
    assert done.exit_code == 3
    assert done.stdout.startswith("11 users")
    assert done.stderr.endswith("error: cannot write: the disk is full\n")


def test_ctrl_c_leaves_what_was_found_and_says_how_to_go_on() -> None:
    done = llmbench("autotune", "--server", URL, "--questions", "users,history")
    assert done.exit_code == 130
    assert done.stdout.startswith("11 users")
    assert "stopped in mid-search: history | at 2: begins" in done.stderr
    assert "--resume" in done.stderr


def test_resume_is_handed_on() -> None:
    searched("--resume")
    assert ServerDouble.resume


def test_without_a_server_the_usual_ports_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    servers: list[targets.FoundServer] = []

    async def find() -> list[targets.FoundServer]:
        return servers

    monkeypatch.setattr(targets, "find_servers", find)
    done = llmbench("autotune")
    assert (done.exit_code, done.stdout) == (3, "")
    assert "8080 llama.cpp" in done.stderr
    servers.append(targets.FoundServer("http://127.0.0.1:8080", "llama.cpp", ("small",)))
    assert llmbench("autotune").exit_code == 0
    assert ServerDouble.asked == [("users", "http://127.0.0.1:8080", None)]
    servers.append(targets.FoundServer("http://127.0.0.1:8000", "vLLM", ("large",)))
    done = llmbench("autotune")
    assert (done.exit_code, "several servers" in done.stderr) == (2, True)


def test_french_is_spoken_on_request() -> None:
    done = llmbench("autotune", "--server", URL, "--language", "fr")
    assert done.stdout.startswith("11 utilisateurs")


def test_its_help_imports_nothing_heavy() -> None:
    heavy = ("asyncio", "aiohttp", "numpy", "matplotlib", "rich", "yaml")  # typer itself needs pydantic
    code = (
        "import atexit, sys; from pytest_llmbench.cli import main; sys.argv = ['llmbench', 'autotune', '--help']\n"
        f"atexit.register(lambda: print('imported:', [name for name in {heavy} if name in sys.modules]))\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--require-users" in done.stdout
    assert done.stdout.endswith("imported: []\n")
