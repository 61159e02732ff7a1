"""What an actor tells of its engine, without a cluster."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from support.scripted_engines import scripted_case

from pytest_llmbench.core.errors import NotReadyError
from pytest_llmbench.core.records import BASE, Completion
from pytest_llmbench.core.settings import Settings
from pytest_llmbench.generation.backend import OutOfMemoryError
from pytest_llmbench.generation.ray.actor import EngineActor, Opened
from pytest_llmbench.generation.ray.assignments import Asked

CASE = scripted_case(0, "a")


class Failing:
    """An engine that cannot embed."""

    variants = (BASE,)

    def __init__(self, error: Exception) -> None:
        self.error = error

    def identity(self, variant: str) -> dict[str, str]:
        return {"variant": variant}

    def batch_size(self) -> int:
        return 1

    def describe(self) -> dict[str, Any]:
        return {}

    def embed(self, _pairs: Sequence[tuple[Any, Completion]]) -> list[Completion]:
        raise self.error


@pytest.fixture
def actor() -> Iterator[EngineActor]:
    log = logging.getLogger("pytest_llmbench")
    before = [*log.handlers]
    yield EngineActor()
    log.handlers = before


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OutOfMemoryError("CUDA out of memory", at_once=2), (True, 2, None)),
        (NotReadyError("gone"), (False, None, "gone")),
    ],
)
def test_what_ends_an_embedding_is_told_and_not_raised(
    actor: EngineActor, error: Exception, expected: tuple[bool, int | None, str | None]
) -> None:
    opened = actor.open(lambda *_: Failing(error), Settings(), [])  # type: ignore[arg-type]
    assert isinstance(opened, Opened)
    done = Completion(CASE.name, 0, BASE, "text", "stop")
    (told,) = actor.embed([Asked(CASE, BASE, done)])
    assert (told.out_of_memory, told.at_once, told.fault.message if told.fault else None) == expected


def test_what_a_machine_keeps_of_a_pair_is_told_with_what_was_announced_meanwhile(actor: EngineActor) -> None:
    def recollect(*_: Any) -> dict[str, Any]:
        logging.getLogger("pytest_llmbench").warning("near the training rows")
        return {"about": {"device": "cuda"}}

    told = actor.recollected(recollect, Settings(), [])
    assert told is not None
    assert (told.kept["about"]["device"], [one.said for one in told.announced]) == ("cuda", ["near the training rows"])
    assert "cpu" in told.kept["about"]["machine"]


@pytest.mark.parametrize("fault", [NotReadyError("no such base"), None])
def test_a_pair_that_is_not_known_or_not_there_is_left_to_its_opening(
    actor: EngineActor, fault: Exception | None
) -> None:
    def recollect(*_: Any) -> None:
        if fault:
            raise fault

    assert actor.recollected(recollect, Settings(), []) is None


def test_a_text_is_read_as_answers_are_where_the_engine_knows_how(actor: EngineActor) -> None:
    class Marking(Failing):
        def unmarked(self, texts: Sequence[str]) -> list[str]:
            return [text.removeprefix("[TOOL_CALLS]") for text in texts]

    read = []
    for engine in (Marking(ValueError()), Failing(ValueError())):
        actor.open(lambda *_, engine=engine: engine, Settings(), [])
        read.append(actor.unmarked(["[TOOL_CALLS]open"]))
    assert read == [["open"], ["[TOOL_CALLS]open"]]
