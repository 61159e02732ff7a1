"""`llmbench context`: what is told, what is written, and how it ends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.command_line import llmbench
from support.context_server import ContextServer, context_server
from support.known_context import KnownContext

SMALL = ("--languages", "en", "--kinds", "one", "--depths", "0.5", "--probes", "5", "--answer-tokens", "8")
QUICK = {"LLMBENCH_LOAD__SCRAPE": "false", "LLMBENCH_OUTPUT__PNG": "false", "LLMBENCH_OUTPUT__HTML": "false"}


@pytest.fixture(scope="module")
def server() -> Iterator[ContextServer]:
    with context_server(KnownContext(limit=600), announced=601) as running:
        yield running


@pytest.fixture(autouse=True)
def _in_a_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_answer_the_limits_and_the_files_are_told(server: ContextServer) -> None:
    result = llmbench("context", "--server", server.url, *SMALL, "--save", "first", **QUICK)
    assert result.exit_code == 0
    assert "Accepted: 600 (exact)" in result.stdout
    assert "accepted | 600 tokens: the longest" in result.stderr
    assert {path.name for path in Path("reports").glob("context.*")} == {"context.json", "context.md", "context.txt"}
    assert Path("reports/runs/0001_first/context.json").is_file()


def test_json_has_the_document_the_requirement_and_the_paths(server: ContextServer) -> None:
    result = llmbench("context", "--server", server.url, *SMALL, "--require-context", "601", "--json", **QUICK)
    assert result.exit_code == 1
    told = json.loads(result.stdout)
    assert told["targets"][0]["limits"]["accepted"]["tokens"] == 600
    assert told["requirements"]["known"]["outcome"] == "missed"
    assert "FAIL: known: accepted: 600 tokens" in result.stderr
    assert told["paths"]["json"] == "reports/context.json"


def test_two_servers_of_one_model_are_judged_and_journaled_apart(server: ContextServer) -> None:
    with context_server(KnownContext(limit=500), announced=501) as shorter:
        both = ("context", "--server", shorter.url, "--server", server.url, *SMALL, "--require-context", "550")
        result = llmbench(*both, "--json", **QUICK)
        again = llmbench(*both, "--resume", "--json", **QUICK)
    names = [f"known at {one.url}" for one in (shorter, server)]
    for told in (json.loads(result.stdout), json.loads(again.stdout)):
        assert [target["name"] for target in told["targets"]] == names
        assert [told["requirements"][name]["outcome"] for name in names] == ["missed", "unsure"]
    assert f"FAIL: {names[0]}: accepted: 500 tokens" in result.stderr
    assert result.exit_code == again.exit_code == 1
    resumed = [target["resumed_probes"] for target in json.loads(again.stdout)["targets"]]
    assert resumed == [len(target["probes"]) for target in json.loads(result.stdout)["targets"]]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--lengths", "512,9000"), "context.lengths: 9000 is beyond the 601 tokens that the server announces"),
        (("--lengths", "2048,1024"), "give rising lengths, each once, such as 512,1024,2048"),
        (("--depths", "2"), "context.depths: "),
        (("--compare", "gone"), "no context run 'gone'"),
        (("--gate", "regression"), "and none is named; name it (gate.baseline) (--gate, --compare)"),
    ],
)
def test_what_cannot_be_is_one_message(words: tuple[str, ...], message: str, server: ContextServer) -> None:
    result = llmbench("context", "--server", server.url, *words, **QUICK)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_a_name_that_no_folder_can_have_is_refused_before_a_server_is_asked() -> None:
    done = llmbench("context", "--server", "http://127.0.0.1:9", "--save", "a" * 300)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.endswith("… has 300; give a shorter one (--save)\n")
