"""The assistant's two releases as what is compared: the older one is the base."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import assistant

from pytest_llmbench.api import Backend, Case, Completion, Settings

RELEASES = {"base": "1.0", "finetuned": "2.0"}


class Releases:
    """Has the methods of `pytest_llmbench.api.Backend`."""

    variants: tuple[str, ...] = tuple(RELEASES)

    def identity(self, variant: str) -> Mapping[str, str]:
        return {"assistant": RELEASES[variant], "rules": repr(assistant.RULES[RELEASES[variant]])}

    def weight(self, case: Case) -> int:
        return len(case.prompt)

    def batch_size(self) -> int:
        return 1

    def complete(self, cases: Sequence[Case], variant: str) -> Iterator[Completion]:
        for case in cases:
            started = time.perf_counter()
            text = assistant.answer(case.prompt, RELEASES[variant])
            took = time.perf_counter() - started
            yield Completion(case.name, case.epoch, variant, text, finish="stop", latency_s=took)

    def embed(self, pairs: Sequence[tuple[Case, Completion]]) -> list[Completion]:
        return [completion for _, completion in pairs]  # no hidden states: similarity stays unscored

    def describe(self) -> Mapping[str, Any]:
        return {"base_model": "assistant 1.0", "device": "cpu"}

    def close(self) -> None:
        """Nothing is open."""


def pytest_llmbench_backend(settings: Settings) -> Backend | None:
    if settings.server.url:  # `--llmbench-server` asks a server all the same
        return None
    return Releases()
