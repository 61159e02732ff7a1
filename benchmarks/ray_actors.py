"""How near to linear actors of Ray are: 1, 2 and 4 of them answer the same cases, in three interleaved rounds.

The engine is scripted: a batch sleeps for its time, as a GPU would compute, so that the cores are left to what is
measured, which is all between the planner and the engines: shares, actors, streams, journal.

    python benchmarks/ray_actors.py
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from measuring import machine, save

from pytest_llmbench.cases.suites import Case
from pytest_llmbench.core.records import Completion
from pytest_llmbench.core.settings import RaySettings, Settings, load_settings
from pytest_llmbench.generation.completion_store import CompletionJournal
from pytest_llmbench.generation.planner import Planner
from pytest_llmbench.generation.ray.backend import RayBackend
from pytest_llmbench.generation.ray.cluster import Cluster

_ACTORS = (1, 2, 4)
_ROUNDS = 3
_BATCH, _BATCH_S = 16, 1.0
_CASES = 16 * 40


class SleepingEngine:
    """Takes a second for a batch of 16 cases, of both variants."""

    variants: tuple[str, ...] = ("base", "finetuned")

    def identity(self, variant: str) -> Mapping[str, str]:
        """Always the same."""
        return {"engine": "sleeping", "variant": variant}

    def weight(self, case: Case) -> int:
        """All are alike."""
        return len(case.prompt)

    def batch_size(self) -> int:
        """Cases of a batch."""
        return _BATCH

    def complete(self, cases: Sequence[Case], variant: str) -> Iterator[Completion]:
        """One variant after the other, half of the time each."""
        time.sleep(_BATCH_S / 2 * len(cases) / _BATCH)
        for case in cases:
            yield Completion(case.name, case.epoch, variant, f"{variant} {case.id}", "stop", completion_tokens=3)

    def embed(self, pairs: Sequence[tuple[Case, Completion]]) -> list[Completion]:
        """Nothing of it is asked for."""
        return [done for _, done in pairs]

    def describe(self) -> Mapping[str, Any]:
        """What it is."""
        return {"backend": "sleeping"}

    def close(self) -> None:
        """Nothing is held."""


def open_sleeping(settings: Settings, cases: Sequence[Case] = ()) -> SleepingEngine:  # noqa: ARG001  # as openers are
    """What each actor opens."""
    return SleepingEngine()


class _Silent:
    def planned(self, answers: int) -> None:
        pass

    def answered(self, completion: Completion) -> None:
        pass


def measured(actors: int, cases: Sequence[Case]) -> dict[str, float]:
    """Seconds for all cases, with actors that are there already, and CPU seconds of this process."""
    given = {"ray.address": "local", "ray.actors": str(actors), "ray.cpus": "0.25"}
    settings = load_settings(None, {key: (value, "here") for key, value in given.items()}, {})
    import ray_actors  # so that actors find the opener by its module's name

    backend = RayBackend.opened(settings, cases, ray_actors.open_sleeping)
    with tempfile.TemporaryDirectory() as folder:
        planner = Planner(
            backend,
            cases,
            CompletionJournal(Path(folder)),
            None,
            question=lambda case: {"case": case.name},
            embed=False,
            progress=_Silent(),
        )
        started, cpu = time.monotonic(), time.process_time()
        texts = {one.text for case in cases for one in planner.answers(case).values()}
        found = {"wall_s": time.monotonic() - started, "cpu_s": time.process_time() - cpu}
    backend.close()
    if len(texts) != 2 * len(cases):
        raise RuntimeError(f"{len(texts)} answers instead of {2 * len(cases)}")
    return found


def main() -> None:
    """Measure, and write the results."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    cases = [Case("sleep", f"{at:04}", "x", ({"role": "user", "content": "x"},)) for at in range(_CASES)]
    before = os.getloadavg()[0]
    cluster = Cluster.joined(RaySettings(address="local"))
    rounds: dict[int, list[dict[str, float]]] = {actors: [] for actors in _ACTORS}
    for _ in range(_ROUNDS):
        for actors in _ACTORS:
            rounds[actors].append(measured(actors, cases))
            print(actors, rounds[actors][-1], flush=True)
    cluster.close()
    walls = {actors: statistics.median(one["wall_s"] for one in found) for actors, found in rounds.items()}
    cpus = {actors: statistics.median(one["cpu_s"] for one in found) for actors, found in rounds.items()}
    alone_s = _CASES / _BATCH * _BATCH_S
    about = f"{_CASES} cases as 2 variants, batches of {_BATCH} cases that take {_BATCH_S:g} s in an actor"
    table = [
        f"{about}; the engine alone would take {alone_s:g} s. Medians of {_ROUNDS} interleaved rounds.",
        "",
        "| actors | seconds | CPU seconds of the session | of linear (one actor / N) | of the engine alone / N |",
        "| --- | --- | --- | --- | --- |",
    ]
    table += [
        f"| {actors} | {walls[actors]:.2f} | {cpus[actors]:.2f} | {walls[1] / actors / walls[actors]:.3f} | "
        f"{alone_s / actors / walls[actors]:.3f} |"
        for actors in _ACTORS
    ]
    result = {
        "machine": machine(),
        "load": [before, os.getloadavg()[0]],
        "cases": _CASES,
        "batch": _BATCH,
        "batch_s": _BATCH_S,
        "rounds": {str(actors): found for actors, found in rounds.items()},
        "of_linear": {str(actors): walls[1] / actors / walls[actors] for actors in _ACTORS},
    }
    save("ray_actors", result, "\n".join(table))


if __name__ == "__main__":
    main()
