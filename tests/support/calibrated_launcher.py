"""A launcher whose servers hold a known number of users by their settings, measured with a known noise."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from pytest_llmbench.context.serving.argv import argv
from pytest_llmbench.context.serving.launch_settings import LaunchSettings
from pytest_llmbench.context.tuning.known_questions import QUESTIONS, RightAnswers
from pytest_llmbench.context.tuning.launching import Launched
from pytest_llmbench.context.tuning.measuring import Measured
from pytest_llmbench.context.tuning.search import Tuner
from pytest_llmbench.context.tuning.space import Candidate, SearchSpace, Value
from pytest_llmbench.core.errors import NotReadyError

CONTEXT = 2048
FACTORS: Mapping[str, Mapping[Value, float]] = {
    "slots": {1: 0.2, 2: 0.4, 4: 0.62, 8: 0.85, 16: 1.0, 32: 0.7},
    "unified_kv": {False: 1.0, True: 0.85},
    "kv_type": {"f16": 0.87, "q8_0": 1.0, "q4_0": 0.6},
    "batch_tokens": {512: 0.8, 1024: 0.9, 2048: 1.0},
    "micro_batch": {64: 0.7, 128: 0.88, 256: 1.0, 512: 0.85},
    "threads": {1: 0.6, 2: 1.0, 4: 0.7},
}
"""What each value leaves of the users that the best settings hold."""

BEST: Mapping[str, Value] = {
    "slots": 16,
    "unified_kv": False,
    "kv_type": "q8_0",
    "batch_tokens": 2048,
    "micro_batch": 256,
    "threads": 2,
}
BASELINE: Mapping[str, Value] = {
    "slots": 4,
    "unified_kv": True,
    "kv_type": "f16",
    "batch_tokens": 2048,
    "micro_batch": 512,
    "threads": 4,
}
MOST_USERS = 30.0


def calibrated_space(vary: Mapping[str, tuple[Value, ...]] | None = None) -> SearchSpace:
    """All of the calibrated settings, or some with the others as in the baseline."""
    launch = LaunchSettings(engine="llamacpp", model="calibrated.gguf", max_context=CONTEXT, device="cpu")
    return SearchSpace(launch, vary or {name: tuple(values) for name, values in FACTORS.items()}, BASELINE)


def true_users(candidate: Candidate) -> float:
    """What the server of a candidate holds."""
    known = candidate.launch.model_dump() | {"kv_type": candidate.launch.kv_type_k}
    return MOST_USERS * float(np.prod([values[known[name]] for name, values in FACTORS.items()]))


@dataclass
class CalibratedLauncher:
    """Starts nothing; a `fault` of a candidate's is why it does not start. `open` counts what was not ended."""

    space: SearchSpace = field(default_factory=calibrated_space)
    seed: int = 0
    noise: float = 0.03
    faults: Mapping[str, str] = field(default_factory=dict)
    wrong: frozenset[str] = frozenset()
    contexts: Mapping[str, int] = field(default_factory=dict)
    open: int = 0
    started: list[str] = field(default_factory=list)
    firsts: list[int] = field(default_factory=list)
    name: str = "calibrated"
    own_names: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        self._random = np.random.default_rng(self.seed)
        self._running: Candidate = self.space.baseline

    def served(self, launch: LaunchSettings) -> LaunchSettings:
        return launch

    def check(self, space: SearchSpace, given: Collection[str] = ()) -> None:
        pass

    def command(self, candidate: Candidate) -> list[str]:
        return argv(candidate.launch)

    @contextlib.contextmanager
    def launch(self, candidate: Candidate) -> Iterator[Launched]:
        self.started.append(candidate.key)
        if why := self.faults.get(str(candidate.values["slots"])):
            raise NotReadyError(why)
        self._running = candidate
        self.open += 1
        try:
            yield Launched("http://127.0.0.1:1/v1", 0, lambda: None)
        finally:
            self.open -= 1

    def asked(self, _url: str) -> RightAnswers:
        slots = str(self._running.values["slots"])
        right = range(1) if slots in self.wrong else range(len(QUESTIONS))
        return RightAnswers(frozenset(right), self.contexts.get(slots, CONTEXT))

    def measure(self, _server: Launched, _name: str, /, *, first: int = 1, bar: int | None = None) -> Measured:
        """What a search finds that is right within its own uncertainty; ended early where it would be."""
        users = true_users(self._running)
        found = max(0.0, users * (1 + self.noise * self._random.standard_normal()))
        reach = 2 * self.noise * found
        stopped = bar is not None and found + reach < bar
        ends = round(found), math.floor(found - reach), math.ceil(found + reach)
        self.firsts.append(first)
        return Measured(
            *ends, mean=found, deviation=self.noise * found, more=False, decided=not stopped, stopped=stopped,
            sent=0, seconds=0.0,
        )  # fmt: skip

    def tuner(self) -> Tuner:
        """A tuner on it."""
        return Tuner(self, self.space, self.asked, self.measure, CONTEXT, lambda _line, _stays: None)
