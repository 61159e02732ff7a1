"""The actors of a session as it sees them, without a cluster."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from support.scripted_engines import open_scripted, scripted_case

from pytest_llmbench.cases.suites import Case
from pytest_llmbench.core.errors import NotReadyError
from pytest_llmbench.core.settings import Settings
from pytest_llmbench.generation.ray import backend as backend_module
from pytest_llmbench.generation.ray.actor import Opened
from pytest_llmbench.generation.ray.backend import RayBackend
from pytest_llmbench.generation.ray.cluster import Cluster
from pytest_llmbench.generation.ray.engines import Engines, _Engine
from pytest_llmbench.generation.ray.resources import Division, Node


class ActorDiedError(Exception):
    """Ray's own."""


def engines(alive: Sequence[bool]) -> Engines:
    """Actors of which some have died without anybody's knowing."""

    def told(remote: Any) -> Any:
        if remote:
            return "no tools"
        raise ActorDiedError("The node was lost")

    made = object.__new__(Engines)
    made._ray = SimpleNamespace(get=told, exceptions=SimpleNamespace(RayActorError=ActorDiedError))
    actors = (SimpleNamespace(tools_left_out=SimpleNamespace(remote=lambda lives=lives: lives)) for lives in alive)
    made._idle, made._streams = deque(_Engine(actor) for actor in actors), {}
    return made


def tool(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


def test_one_that_died_is_passed_over_for_the_next() -> None:
    assert engines([False, True]).ask_one("tools_left_out") == "no tools"


@pytest.mark.parametrize(("alive", "why"), [((False, False), ": The node was lost"), ((), "")])
def test_where_none_is_left_that_is_told(alive: Sequence[bool], why: str) -> None:
    with pytest.raises(NotReadyError, match=f"no actor is left that could answer{why}; start again"):
        engines(alive).ask_one("tools_left_out")


def test_an_actor_is_asked_once_for_all_cases_of_the_same_tools() -> None:
    asked: list[tuple[str, str]] = []

    def ask_one(_method: str, case: Case, variant: str) -> str:
        asked.append((case.name, variant))
        return variant

    to: Any = SimpleNamespace(ask_one=ask_one)
    backend = RayBackend(to, Opened(("base", "finetuned"), {}, 4, {}, ()), to, 3)
    cases = [dataclasses.replace(scripted_case(number, "open"), tools=(tool("open"),)) for number in range(3)]
    cases.append(dataclasses.replace(cases[0], id="other", tools=(tool("close"),)))
    assert [backend.tools_left_out(case, "base") for case in cases] == ["base"] * 4
    assert backend.tools_left_out(cases[0], "finetuned") == "finetuned"
    assert asked == [("suite/0000", "base"), ("suite/other", "base"), ("suite/0000", "finetuned")]


@pytest.mark.parametrize(("most", "wanted"), [(1, Division(1, 16, 0)), (None, Division(5, 16, 0))])
def test_one_engine_for_one_question_is_no_larger_than_each_of_many(
    monkeypatch: pytest.MonkeyPatch, most: int | None, wanted: Division
) -> None:
    found: list[Division] = []

    class Refuses:
        def __init__(self, _cluster: Any, division: Division, _opening: Any) -> None:
            found.append(division)
            raise NotReadyError("that is enough")

    nodes = [Node("small", 16, 0), Node("large", 64, 0)]
    cluster = SimpleNamespace(nodes=lambda: nodes, close=lambda: None)
    monkeypatch.setattr(Cluster, "joined", lambda _: cluster)
    monkeypatch.setattr(backend_module, "Engines", Refuses)
    with pytest.raises(NotReadyError, match="enough"):
        RayBackend.opened(Settings(), (), open_scripted, most=most)
    assert found == [wanted]
