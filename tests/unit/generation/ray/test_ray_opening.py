"""What must be alike on all machines of one run, and what each is given."""

from __future__ import annotations

import pytest

from pytest_llmbench.core.settings import load_settings
from pytest_llmbench.generation.ray.actor import Opened, Whereabouts, versions
from pytest_llmbench.generation.ray.opening import Opening, other_answers, other_versions, reason
from pytest_llmbench.generation.ray.resources import Division


def opened(**identity: str) -> Opened:
    return Opened(("base",), {"base": identity}, 4, {}, ())


def test_engines_that_would_answer_differently_are_told_by_what_differs() -> None:
    first = opened(weights="a", device="cpu", hold="dequantized")
    assert other_answers(opened(weights="a", device="cpu", hold="dequantized"), first) is None
    fault = other_answers(opened(weights="a", device="cuda:0"), first)
    assert fault
    assert "differently from the first one (device, hold)" in fault.message
    assert fault.names == ("model.hold", "model.device")


def test_machines_with_other_versions_are_told_by_them() -> None:
    pytest.importorskip("ray")
    there = {**versions(), "Python": "3.9"}
    assert other_versions(Whereabouts("n", "10.0.0.7", versions(), shares_folder=True)) is None
    fault = other_versions(Whereabouts("n", "10.0.0.7", there, shares_folder=True))
    assert fault
    assert fault.message.startswith("Python 3.9 is there, here Python 3.")


@pytest.mark.parametrize(
    ("division", "threads"),
    [(Division(3, 0.6666, 0), 1), (Division(2, 4, 0), 4), (Division(2, 4, 1), "auto")],
)
def test_an_actor_answers_alone_with_the_threads_it_has(division: Division, threads: object) -> None:
    settings = load_settings(None, {"ray": ("auto", "the test")}, {})
    alone = Opening(lambda *_: pytest.fail("opened"), settings, ()).alone(division)
    assert alone.ray.address is None
    assert alone.generation.threads == threads


def test_what_ray_reports_is_told_without_its_identifiers() -> None:
    died = "The actor died.\n\tclass_name: EngineActor\n\tpid: 7\nIts node has died. Some common causes include: x"
    assert reason(RuntimeError(died)) == "The actor died. Its node has died."
    assert reason(RuntimeError("a\nTraceback (most recent call last):\n  x\nKeyError: 1")) == "KeyError: 1"


def test_engines_that_fit_their_context_to_the_cases_are_all_told_of_them() -> None:
    told = {
        engine: Opening(
            lambda *_: pytest.fail("opened"), load_settings(None, {"model.engine": (engine, "the test")}, {}), ()
        ).told_to_all
        for engine in ("transformers", "llamacpp", "vllm")
    }
    assert told == {"transformers": False, "llamacpp": True, "vllm": True}
