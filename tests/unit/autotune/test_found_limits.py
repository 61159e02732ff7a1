"""What was found of servers, kept for one process or shared by several."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

import pytest
from support.serving_findings import bare_finding

from pytest_llmbench.autotune.document import Server, TemperatureGrid
from pytest_llmbench.autotune.found_limits import FoundLimit, FoundLimits
from pytest_llmbench.autotune.limit_search import LimitSearch
from pytest_llmbench.autotune.server import Target
from pytest_llmbench.core.errors import NotReadyError, ServerError
from pytest_llmbench.core.settings import Settings

URL = "http://127.0.0.1:9/v1"
GRID = TemperatureGrid(metrics=(), points=(), best=None, reason="")


def answer(question: str = "users", url: str = URL, model: str | None = None, name: str = "small") -> FoundLimit:
    about = Server(name=name, url=url, model_name=name, engine=None)
    known = GRID if question == "temperature" else bare_finding(8, question=question)
    return FoundLimit(url=url, model=model, question=question, answer=known, server=about)


def test_answers_of_a_target_make_one_document() -> None:
    found = FoundLimits()
    for question in ("users", "temperature", "history"):
        found.add(answer(question))
    (document,) = found.documents()
    assert set(document["findings"]) == {"users", "history"}
    assert document["temperature"] == GRID
    assert (document["name"], document["url"]) == ("small", URL)


def test_targets_of_one_model_are_named_with_their_servers() -> None:
    found = FoundLimits()
    found.add(answer())
    found.add(answer(url="http://other/v1"))
    found.add(answer(model="large", name="large"))
    assert [one["name"] for one in found.documents()] == [f"small at {URL}", "small at http://other/v1", "large"]


def test_an_answer_is_known_by_server_model_and_question(tmp_path: Path) -> None:
    here, there = FoundLimits(tmp_path / "session.jsonl"), FoundLimits(tmp_path / "session.jsonl")
    here.add(answer(model="small"))
    assert there.find(Target(URL, "small"), "users") == bare_finding(8)
    assert there.find(Target(URL, "small"), "history") is None
    assert there.find(Target(URL), "users") is None
    there.forget()
    assert not list(tmp_path.iterdir())


def test_who_asks_waits_for_the_other_and_a_killed_process_lets_go(tmp_path: Path) -> None:
    shared = tmp_path / "session.jsonl"
    code = (
        "import asyncio, pathlib, sys, time\n"
        "from pytest_llmbench.autotune.found_limits import FoundLimits\n"
        "async def hold():\n"
        "    async with FoundLimits(pathlib.Path(sys.argv[1])).asking():\n"
        "        print('asking', flush=True)\n"
        "        time.sleep(60)\n"
        "asyncio.run(hold())\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(shared)], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        assert asyncio.run(waited(shared, other)) == ["killed", "asking"]


async def waited(shared: Path, other: subprocess.Popen[Any]) -> list[str]:
    """What happened, in its order."""
    seen: list[str] = []

    def kill() -> None:
        seen.append("killed")
        other.kill()

    asyncio.get_running_loop().call_later(0.3, kill)
    async with FoundLimits(shared).asking():
        seen.append("asking")
    return seen


def test_who_gives_up_gives_up_for_all_with_the_same_words(tmp_path: Path) -> None:
    here, there = FoundLimits(tmp_path / "session.jsonl"), FoundLimits(tmp_path / "session.jsonl")
    here.add(answer())
    here.give_up(ServerError("it went away; start it again"))
    with pytest.raises(NotReadyError, match="it went away; start it again") as caught:
        asyncio.run(asked(there))
    assert caught.value.exit_code == 3
    assert len(there.all()) == 1


def test_a_folder_that_cannot_be_written_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(NotReadyError, match=r"cannot write .*taken"):
        asyncio.run(asked(FoundLimits(tmp_path / "taken" / "session.jsonl")))


async def asked(found: FoundLimits) -> None:
    async with found.asking():
        pass


def test_what_a_server_says_may_hold_any_line_end(tmp_path: Path) -> None:
    here, there = FoundLimits(tmp_path / "session.jsonl"), FoundLimits(tmp_path / "session.jsonl")
    here.add(answer(name="a\u2028b\x85c"))
    assert [one.server and one.server.name for one in there.all()] == ["a\u2028b\x85c"]


def test_half_a_line_of_a_killed_process_hides_no_other(tmp_path: Path) -> None:
    shared = tmp_path / "session.jsonl"
    here = FoundLimits(shared)
    here.add(answer())
    with shared.open("ab") as file:
        file.write(b'{"url": "h\xc3')
    assert len(here.all()) == 1
    here.add(answer("history"))
    assert [one.question for one in here.all()] == ["users", "history"]
    assert [one.question for one in FoundLimits(shared).all()] == ["users", "history"]


def test_a_server_that_is_open_hears_of_users_that_another_process_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    class Opened:
        """A server of which nothing is known yet."""

        def __init__(self, *_: object, **__: object) -> None:
            self.findings: dict[str, Any] = {}

        async def __aenter__(self) -> Self:
            return self

        async def __aexit__(self, *_: object) -> None:
            """Nothing is open."""

    async def held() -> list[Any]:
        found, target = FoundLimits(), Target(url=URL)
        nobody: Any = None
        async with LimitSearch(Settings(), found, resume=False, scoring=nobody, tell=nobody) as search:
            before = dict((await search._server(target)).findings)
            found.add(answer("users"))
            return [before, (await search._server(target)).findings["users"].value]

    monkeypatch.setattr("pytest_llmbench.autotune.server.ServerUnderTest", Opened)
    assert asyncio.run(held()) == [{}, 8]
