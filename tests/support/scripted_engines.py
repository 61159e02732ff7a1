"""An engine for actors of Ray that answers at once, sleeps, or kills its process, as the prompt says."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_llmbench.cases.suites import Case
from pytest_llmbench.core.errors import AdapterError
from pytest_llmbench.core.records import Completion
from pytest_llmbench.core.settings import Settings
from pytest_llmbench.generation.backend import OutOfMemoryError


class ScriptedEngine:
    """Answers with its prompt in capitals, in shares of the settings' batch size.

    A prompt's words are orders: `sleep=S` seconds, `die` whenever it is asked, `die=FILE` unless the file is there,
    `large` does not fit beside another one.
    """

    variants: tuple[str, ...] = ("base", "finetuned")

    def __init__(self, settings: Settings) -> None:
        self._size = int(settings.generation.batch_size) if settings.generation.batch_size != "auto" else 4

    def identity(self, variant: str) -> Mapping[str, str]:
        return {"script": variant}

    def weight(self, case: Case) -> int:
        return len(case.prompt)

    def batch_size(self) -> int:
        return self._size

    def complete(self, cases: Sequence[Case], variant: str) -> Iterator[Completion]:
        if len(cases) > 1 and any("large" in case.prompt for case in cases):
            raise OutOfMemoryError("too large")
        for case in cases:
            for order in case.prompt.split():
                _follow(order)
            yield Completion(case.name, case.epoch, variant, f"{variant}: {case.prompt.upper()}", "stop")

    def embed(self, pairs: Sequence[tuple[Case, Completion]]) -> list[Completion]:
        return [Completion(**{**done.to_json(), "embedding": f"of {case.id}"}) for case, done in pairs]

    def describe(self) -> Mapping[str, Any]:
        return {"backend": "scripted"}

    def close(self) -> None:
        pass


def open_scripted(settings: Settings, cases: Sequence[Case] = ()) -> ScriptedEngine:
    """What an actor is given to open."""
    if settings.model.adapter == "missing":
        raise AdapterError("adapters/missing: no such folder")
    return ScriptedEngine(settings)


def recollect_scripted(_settings: Settings, cases: Sequence[Case]) -> Mapping[str, Any]:
    """What a machine keeps of the engine."""
    identity = {name: {"script": name} for name in ScriptedEngine.variants}
    return {"identity": identity, "about": {"cases": len(cases)}}


def recollect_unlike(_settings: Settings, cases: Sequence[Case]) -> Mapping[str, Any]:
    """What machines keep of which each has an adapter of its own."""
    import ray

    kept = recollect_scripted(_settings, cases)
    return {**kept, "identity": {**kept["identity"], "finetuned": {"adapter": ray.get_runtime_context().get_node_id()}}}


def scripted_case(number: int, prompt: str) -> Case:
    """A case whose prompt gives the orders."""
    return Case("suite", f"{number:04}", prompt, ({"role": "user", "content": prompt},))


def _follow(order: str) -> None:
    word, _, value = order.partition("=")
    if word == "sleep":
        time.sleep(float(value))
    elif word == "die" and not (value and Path(value).exists()):
        if value:
            Path(value).touch()
        os.kill(os.getpid(), signal.SIGKILL)
